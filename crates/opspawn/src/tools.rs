//! The tools that agents get, as configured.

use std::sync::{
    Arc, LazyLock, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use agentkit::Tool;
use agentkit_tools::{Quota, QuotaCounts, QuotaLimits, http};
use anyhow::Result;
use ops_core::stats::{Metric, Value};

use crate::{commands_source::commands, config::Config, sql_query};

/// Every tool that is a part of this program. None reaches the addresses that this process listens on.
pub(crate) fn configured(config: &Config, own: &http::Listeners) -> Vec<Arc<dyn Tool>> {
    let mut tools = agentkit_tools::standard_within(&http(config, own), &quota(config));
    tools.extend(agentkit::tool::control::all());
    #[cfg(feature = "failpoints")]
    tools.extend(crate::faults::ledger_tools());
    tools
}

/// Every tool of this configuration: those of the program, and the commands and databases that the file declares.
///
/// # Errors
/// If a command tool or a database cannot be used; the message has its line.
pub(crate) fn all(config: &Config, own: &http::Listeners) -> Result<Vec<Arc<dyn Tool>>> {
    let mut tools = configured(config, own);
    tools.extend(commands(config, own)?);
    tools.extend(sql_query::tool(config)?);
    Ok(tools)
}

/// What tools may reach over HTTP.
pub(crate) fn http(config: &Config, own: &http::Listeners) -> http::Settings {
    let defaults = http::Settings::default();
    let allow = config.optional("tools.http.allow").unwrap_or_default();
    http::Settings {
        // Checked when the configuration was loaded.
        allow: allow.parse().unwrap_or_default(),
        own: own.clone(),
        max_bytes: config
            .number("tools.http.max_bytes")
            .unwrap_or(defaults.max_bytes),
        timeout: config
            .duration("tools.http.timeout")
            .unwrap_or(defaults.timeout),
        writes: config.writes().to_vec(),
        ..defaults
    }
}

/// Counters of every quota of this process.
static QUOTA_COUNTS: LazyLock<Arc<QuotaCounts>> = LazyLock::new(Arc::default);

/// The quota of all tools. Tools that are made anew share the quota, and its count of what workspaces have,
/// unless its limits are others.
pub(crate) fn quota(config: &Config) -> Arc<Quota> {
    static LAST: Mutex<Option<Arc<Quota>>> = Mutex::new(None);
    let limit = |key| {
        config
            .number(key)
            .filter(|most| *most > 0)
            .unwrap_or(u64::MAX)
    };
    let limits = QuotaLimits {
        task_bytes: limit("quota.task_bytes"),
        task_files: limit("quota.task_files"),
        tree_bytes: limit("quota.tree_bytes"),
        total_bytes: limit("quota.total_bytes"),
    };
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = last.take().filter(|quota| quota.limits() == limits);
    let quota = fits.unwrap_or_else(|| Arc::new(Quota::new(limits, Arc::clone(&QUOTA_COUNTS))));
    *last = Some(Arc::clone(&quota));
    quota
}

/// The files of tasks as a part of the server.
pub(crate) struct WorkspacesPart;

impl ops_server::Part for WorkspacesPart {
    fn name(&self) -> &'static str {
        "workspaces"
    }

    fn state(&self) -> String {
        match QUOTA_COUNTS.refused.load(Ordering::Relaxed) {
            0 => "within the quotas".to_owned(),
            refused => format!("writes that quotas refused: {refused}"),
        }
    }

    fn metrics(&self) -> Vec<Metric> {
        let counter = |name, help, count: &AtomicU64| Metric {
            name,
            help,
            value: Value::Counter(count.load(Ordering::Relaxed)),
        };
        vec![
            counter(
                "opspawn_quota_refused",
                "Files that tools could not write, because a disk quota was used up",
                &QUOTA_COUNTS.refused,
            ),
            counter(
                "opspawn_workspace_bytes_written",
                "Bytes of the files that tools wrote to workspaces",
                &QUOTA_COUNTS.bytes,
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use agentkit::ToolSpec;
    use serde_json::Value;

    use super::*;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/tools.md");

    /// cli/C12: `ask_human` and the like were documented nowhere, and two pages disagreed on what writes.
    /// `OPSPAWN_BLESS=1 cargo test` writes the parts anew.
    #[test]
    fn the_page_on_tools_is_that_of_the_tools() {
        let config = Config::load(&[], None).unwrap();
        let tools = configured(&config, &http::Listeners::default());
        let mut specs: Vec<&ToolSpec> = tools.iter().map(|tool| tool.spec()).collect();
        specs.retain(|spec| !spec.name.starts_with("ledger_"));
        specs.sort_by(|one, two| one.name.cmp(&two.name));
        let control: Vec<String> = agentkit::tool::control::all()
            .iter()
            .map(|tool| tool.spec().name.clone())
            .collect();
        let before = std::fs::read_to_string(PAGE).unwrap();
        let page = with_part(&before, "tools", &table(&specs));
        let of_runs: Vec<_> = specs
            .iter()
            .filter(|spec| control.contains(&spec.name))
            .collect();
        let sections: String = of_runs.into_iter().map(|spec| section(spec)).collect();
        let page = with_part(&page, "tools of a run", &sections);
        if std::env::var_os("OPSPAWN_BLESS").is_some() {
            std::fs::write(PAGE, &page).unwrap();
        } else {
            assert!(
                before == page,
                "docs/tools.md is not that of the tools; OPSPAWN_BLESS=1 writes it anew"
            );
        }
        for spec in specs {
            let heading = format!("\n## `{}`\n", spec.name);
            assert!(
                page.contains(&heading),
                "docs/tools.md has no `{}`",
                spec.name
            );
        }
    }

    /// The page with this in a part between two comments.
    fn with_part(page: &str, part: &str, content: &str) -> String {
        let (begin, end) = (
            format!("<!-- {part}: generated -->\n"),
            format!("<!-- end of {part} -->\n"),
        );
        let (before, rest) = page.split_once(&begin).expect("the page has the part");
        let (_, after) = rest.split_once(&end).expect("the part has an end");
        format!("{before}{begin}{content}{end}{after}")
    }

    fn effect(spec: &ToolSpec) -> String {
        let effect = serde_json::to_value(spec.effect).unwrap();
        effect.as_str().unwrap().to_owned()
    }

    fn table(specs: &[&ToolSpec]) -> String {
        let mut table =
            "| Tool | Effect class | What it says to the model |\n| --- | --- | --- |\n".to_owned();
        for spec in specs {
            let first = spec.description.split(". ").next().unwrap_or_default();
            let first = first.trim_end_matches('.').replace('|', "\\|");
            let _ = writeln!(
                table,
                "| [`{0}`](#{0}) | `{1}` | {first} |",
                spec.name,
                effect(spec)
            );
        }
        table
    }

    fn section(spec: &ToolSpec) -> String {
        let mut section = format!(
            "\n## `{}`\n\n{} Effect class: `{}`.\n\n| Argument | Type | What |\n| --- | --- | --- |\n",
            spec.name,
            spec.description,
            effect(spec)
        );
        let schema = &spec.input_schema;
        let required: Vec<&str> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for (name, argument) in schema["properties"].as_object().unwrap() {
            let kind = argument["type"].as_str().unwrap_or("any");
            let required = if required.contains(&name.as_str()) {
                ", required"
            } else {
                ""
            };
            let what = argument["description"].as_str().unwrap_or_default();
            let _ = writeln!(section, "| `{name}` | {kind}{required} | {what} |");
        }
        section
    }
}
