//! The MCP servers of this configuration: `mcp_servers.yaml` in the data folder, or the file that the setting
//! `mcp.config` names.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use agentkit::{ToolSpec, policy::PolicyFile};
use agentkit_mcp::{
    HostSettings, Questions, Reach, Records, names,
    oauth::{FileTokens, NoBrowser},
};
use agentkit_tools::http::Listeners;
use anyhow::{Context as _, Result};
use ops_agents::{McpSources, records_folder};

use crate::{
    config::{Config, Kind, Setting, setting},
    exit::{self, Exit},
    secrets::FileAndEnvironment,
};

/// Where the file is.
pub(crate) const SETTING: Setting = setting(
    "mcp.config",
    "OPSPAWN_MCP_CONFIG",
    Kind::Text,
    None,
    "the file of MCP servers; `mcp_servers.yaml` in the data folder, if it is there",
);

/// Names of the file in the data folder; the first that is there counts.
const FILES: [&str; 3] = ["mcp_servers.yaml", "mcp_servers.yml", "mcp_servers.json"];

/// The servers and where they were read.
#[derive(Default)]
pub(crate) struct Loaded {
    /// The servers; without a file, none.
    pub(crate) config: agentkit_mcp::Config,
    /// The file, if there is one.
    pub(crate) path: Option<PathBuf>,
}

/// Reads the file of servers. That there is none is fine unless the setting names one. A server that is wrong
/// costs itself only; a file that cannot be read at all is an error that names the line.
pub(crate) fn load(config: &Config) -> Result<Loaded> {
    read(config).map_err(|error| exit::error(Exit::Usage, format!("{error:#}")))
}

fn read(config: &Config) -> Result<Loaded> {
    let Some((path, text)) = find(config)? else {
        return Ok(Loaded::default());
    };
    let base = path.parent().unwrap_or(Path::new("."));
    let base = std::path::absolute(base).unwrap_or_else(|_| base.to_owned());
    let secrets = FileAndEnvironment::new(config);
    let lookup = |name: &str| secrets.lookup(name);
    let read = agentkit_mcp::config::read(&text, &base, &lookup);
    let read =
        read.with_context(|| format!("the file of MCP servers {} cannot be used", path.display()))?;
    Ok(Loaded {
        config: read,
        path: Some(path),
    })
}

/// The text of the file of MCP servers, if there is one.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn text(config: &Config) -> Result<Option<String>> {
    Ok(find(config)?.map(|(_, text)| text))
}

fn find(config: &Config) -> Result<Option<(PathBuf, String)>> {
    let cannot = |path: &Path| format!("cannot read the file of MCP servers {}", path.display());
    if let Some(path) = config.optional("mcp.config").map(PathBuf::from) {
        let text = fs::read_to_string(&path).with_context(|| cannot(&path))?;
        return Ok(Some((path, text)));
    }
    for name in FILES {
        let path = config.data_dir().join(name);
        match fs::read_to_string(&path) {
            Ok(text) => return Ok(Some((path, text))),
            // What is wrong with a data folder that is none, its database tells better.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(error).with_context(|| cannot(&path)),
        }
    }
    Ok(None)
}

/// The tools of MCP servers that rules of a policy speak of, for the check of its rules: which tools a server has is
/// not known before it is asked, so a name with a server's name before it counts as a tool, and so does a pattern.
pub(crate) fn rule_targets(config: &Config, policy: &PolicyFile) -> Vec<Arc<ToolSpec>> {
    // A file that cannot be read is told by whoever starts the servers.
    let loaded = read(config).unwrap_or_default().config;
    let servers = loaded.servers.keys().chain(loaded.refused.keys());
    let prefixes: Vec<String> = servers.map(|server| names::prefix(server)).collect();
    if prefixes.is_empty() {
        return Vec::new();
    }
    let patterns = policy.rules.iter().map(|rule| rule.tool.to_string());
    let of_servers = patterns.filter(|pattern| {
        let named = prefixes.iter().any(|prefix| pattern.starts_with(prefix));
        named || pattern.contains('*')
    });
    let ways = [
        "mcp_proxy_tool",
        "mcp_list",
        "mcp_read_resource",
        "mcp_get_prompt",
    ];
    let any = serde_json::json!({"type": "object"});
    of_servers
        .chain(ways.map(str::to_owned))
        .map(|name| Arc::new(ToolSpec::new(&name, "", any.clone())))
        .collect()
}

/// The servers as sources of tools. Nothing is started yet.
pub(crate) fn sources(config: &Config, own: &Listeners) -> Result<Arc<McpSources>> {
    let loaded = load(config)?;
    for note in notes(&loaded.config) {
        tracing::warn!("{note}");
    }
    made(config, own, loaded.config, None)
}

/// The servers of a configuration that was read anew, with sentences about entries that are odd. `before` are those until
/// now.
///
/// # Errors
/// A mistake in the file; and an entry that cannot be used and could before, so that no mistake takes a server away.
pub(crate) fn sources_anew(
    config: &Config,
    own: &Listeners,
    before: &McpSources,
) -> Result<(Arc<McpSources>, Vec<String>)> {
    let Loaded { config: read, path } = load(config)?;
    let known = &before.host().config().refused;
    let new = read
        .refused
        .iter()
        .find(|(name, _)| !known.contains_key(*name));
    if let (Some((name, why)), Some(path)) = (new, &path) {
        let message = format!(
            "the server `{}` of {} cannot be used: {why}",
            agentkit_mcp::text::shown(name, 80),
            path.display()
        );
        return Err(exit::error(Exit::Usage, message));
    }
    let notes = notes(&read);
    Ok((made(config, own, read, Some(before))?, notes))
}

fn made(
    config: &Config,
    own: &Listeners,
    read: agentkit_mcp::Config,
    before: Option<&McpSources>,
) -> Result<Arc<McpSources>> {
    let settings = settings(config, own, read.servers.is_empty())?;
    let policy = crate::policy::load(config)?.file;
    Ok(McpSources::new(read, &settings, policy, before))
}

/// Sentences about entries that cannot be used or are odd.
pub(crate) fn notes(read: &agentkit_mcp::Config) -> Vec<String> {
    let shown = |name: &str| agentkit_mcp::text::shown(name, 80);
    let refused = read.refused.iter();
    let refused = refused
        .map(|(name, why)| format!("the MCP server `{}` cannot be used: {why}", shown(name)));
    let of_file = read.notes.iter();
    let of_file = of_file.map(|note| format!("the file of MCP servers: {note}"));
    let of_servers = read.server_notes.iter().flat_map(|(name, notes)| {
        let notes = notes.iter();
        notes.map(|note| format!("the MCP server `{}`: {note}", shown(name)))
    });
    refused.chain(of_file).chain(of_servers).collect()
}

/// What a host is made with. What an earlier process left is ended first, unless there are no servers.
pub(crate) fn settings(config: &Config, own: &Listeners, is_empty: bool) -> Result<HostSettings> {
    let allow = config.optional("tools.http.allow").unwrap_or_default();
    let folder = records_folder(&config.data_dir());
    let records = match is_empty && !folder.exists() {
        true => Records::default(),
        false => Records::in_folder(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?,
    };
    Ok(HostSettings {
        records,
        answers: Arc::new(Questions::default()),
        reach: Reach {
            // Checked when the configuration was loaded.
            allow: allow.parse().unwrap_or_default(),
            own: own.clone(),
        },
        tokens: Arc::new(FileTokens::new(&config.data_dir().join("mcp-credentials"))),
        browser: Arc::new(NoBrowser {
            remedy: "a person has to allow it: `opspawn mcp login SERVER`".to_owned(),
        }),
        ..HostSettings::default()
    })
}

/// Ends the processes of servers that an earlier process of this data folder left. Only its owner may.
pub(crate) fn sweep(config: &Config) {
    let folder = records_folder(&config.data_dir());
    if !folder.exists() {
        return;
    }
    match Records::in_folder(&folder) {
        Ok(records) => {
            let swept = records.sweep();
            if swept > 0 {
                tracing::warn!(swept, "ended MCP servers that an earlier process had left");
            }
        }
        Err(error) => {
            tracing::warn!(%error, "cannot look for MCP servers that an earlier process left")
        }
    }
}
