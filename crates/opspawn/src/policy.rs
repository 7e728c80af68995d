//! The policy file: `policy.toml` in the data folder, or the file that the setting `policy` names.

use std::{fs, io::ErrorKind, path::PathBuf, sync::Arc};

use agentkit::{ToolSpec, policy::PolicyFile};
use anyhow::{Context as _, Result};

use crate::{
    config::Config,
    exit::{self, Exit},
};

/// The policy and where it was read.
#[derive(Default)]
pub(crate) struct Loaded {
    /// What it says; without a file, nothing.
    pub(crate) file: PolicyFile,
    /// The file, if there is one.
    pub(crate) path: Option<PathBuf>,
}

/// Reads the policy. That there is none is fine unless the setting names one.
pub(crate) fn load(config: &Config) -> Result<Loaded> {
    read(config).map_err(|error| exit::error(Exit::Usage, format!("{error:#}")))
}

/// The text of the policy file, if there is one.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn text(config: &Config) -> Result<Option<String>> {
    Ok(find(config)?.map(|(_, text)| text))
}

fn find(config: &Config) -> Result<Option<(PathBuf, String)>> {
    let named = config.optional("policy").map(PathBuf::from);
    let path = named
        .clone()
        .unwrap_or_else(|| config.data_dir().join("policy.toml"));
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path, text))),
        // What is wrong with a data folder that is none, its database tells better.
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
                && named.is_none() =>
        {
            Ok(None)
        }
        Err(error) => {
            Err(error).with_context(|| format!("cannot read the policy file {}", path.display()))
        }
    }
}

fn read(config: &Config) -> Result<Loaded> {
    let Some((path, text)) = find(config)? else {
        return Ok(Loaded::default());
    };
    let cannot = || format!("the policy file {} cannot be used", path.display());
    let file = PolicyFile::parse(&text).with_context(cannot)?;
    let tools = crate::tools::all(config, &agentkit_tools::http::Listeners::default())?;
    let mut specs: Vec<_> = tools
        .iter()
        .map(|tool| Arc::new(tool.spec().clone()))
        .collect();
    specs.extend(crate::mcp::rule_targets(config, &file));
    let idle = file.idle_rules(&specs);
    if !idle.is_empty() {
        return Err(anyhow::anyhow!(idle.join("; "))).with_context(cannot);
    }
    let path = Some(path);
    Ok(Loaded { file, path })
}

impl Loaded {
    /// One line about it, for these tools.
    pub(crate) fn summary(&self, tools: &[Arc<ToolSpec>]) -> String {
        let profile = self.file.profile.as_str();
        let Some(path) = &self.path else {
            return format!("profile `{profile}`; no policy.toml in the data folder");
        };
        let rules = self.file.rules.len();
        let passed_over: Vec<String> = self
            .file
            .rules
            .iter()
            .filter_map(|rule| match rule.passes_over(tools).as_slice() {
                [] => None,
                tools => Some(format!(
                    "; the rule for `{}` does not bind {}, whose `path` or `url` it says nothing of: to \
                     bind each tool that touches it, leave `tool` out and write `when = {{ touches.path = .. }}` or \
                     `touches.url`",
                    rule.tool,
                    tools.join(", ")
                )),
            })
            .collect();
        let count = if rules == 1 { "rule" } else { "rules" };
        format!(
            "profile `{profile}`, {rules} {count} from {}{}",
            path.display(),
            passed_over.concat()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_tools_that_a_rule_passes_over() {
        let spec = |name: &str| {
            let properties = serde_json::json!({"path": {"type": "string"}});
            let schema = serde_json::json!({"type": "object", "properties": properties});
            Arc::new(ToolSpec::new(name, "", schema))
        };
        let text = "[[rule]]\ntool = \"*_file\"\naction = \"deny\"\nwhen = { path = \"a/*\" }";
        let loaded = Loaded {
            file: PolicyFile::parse(text).unwrap(),
            path: Some(PathBuf::from("p.toml")),
        };
        assert_eq!(
            loaded.summary(&[spec("write_file"), spec("search_files")]),
            "profile `default`, 1 rule from p.toml; the rule for `*_file` does not bind search_files, \
             whose `path` or `url` it says nothing of: to bind each tool that touches it, leave `tool` out and \
             write `when = { touches.path = .. }` or `touches.url`"
        );
        assert_eq!(
            Loaded::default().summary(&[]),
            "profile `default`; no policy.toml in the data folder"
        );
    }
}
