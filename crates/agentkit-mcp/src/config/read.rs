//! Reads a file of servers, in either of its forms.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde_json::{Map, Value};

use super::{Config, entry, vars::Variable};

/// The largest file, in bytes.
const MAX_FILE: usize = 1024 * 1024;
/// The most servers.
const MAX_SERVERS: usize = 200;

/// A file that cannot be used at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The text is not YAML or JSON.
    #[error("{0}")]
    Syntax(String),
    /// The file has no servers where they should be.
    #[error(
        "there is neither `servers` nor `mcpServers`; write `servers:` with a name and a `command` or `url` \
         for each"
    )]
    NoServers,
    /// A key of the whole file is wrong.
    #[error("{0}")]
    Invalid(String),
}

/// Reads a file of servers. `base` is the folder that relative paths begin at, and `lookup` knows the variables.
///
/// # Errors
/// A file that is no configuration. A server that is wrong costs itself only: see [`Config::refused`].
pub fn read(
    text: &str,
    base: &Path,
    lookup: &dyn Fn(&str) -> Option<Variable>,
) -> Result<Config, ConfigError> {
    if text.len() > MAX_FILE {
        return Err(ConfigError::Syntax(format!(
            "it has more than {MAX_FILE} bytes"
        )));
    }
    let value = parse(text)?;
    let Value::Object(file) = value else {
        return match value {
            Value::Null => Ok(Config::default()),
            _ => Err(ConfigError::NoServers),
        };
    };
    let servers = ["servers", "mcpServers", "mcp_servers"]
        .iter()
        .find_map(|key| file.get(*key))
        .or_else(|| file.get("mcp").and_then(|mcp| mcp.get("servers")))
        .ok_or(ConfigError::NoServers)?;
    let servers = match servers {
        Value::Object(servers) => servers.clone(),
        Value::Null => Map::new(),
        _ => {
            return Err(ConfigError::Invalid(
                "`servers` is not a table of names".to_owned(),
            ));
        }
    };
    if servers.len() > MAX_SERVERS {
        let text = format!(
            "it names {} servers, and {MAX_SERVERS} is the limit",
            servers.len()
        );
        return Err(ConfigError::Invalid(text));
    }
    let whole = Whole {
        base: match file.get("mcp_server_base_path") {
            None | Some(Value::Null) => base.to_owned(),
            Some(Value::String(path)) => {
                let filled = super::vars::fill(path, lookup);
                let filled = filled.map_err(|error| {
                    ConfigError::Invalid(format!("`mcp_server_base_path`: {error}"))
                })?;
                base.join(filled.text)
            }
            Some(_) => {
                return Err(ConfigError::Invalid(
                    "`mcp_server_base_path` is not a text".to_owned(),
                ));
            }
        },
        timeout: match file.get("mcp_call_tool_timeout_seconds") {
            None | Some(Value::Null) => None,
            Some(value) => Some(
                value
                    .as_f64()
                    .and_then(|seconds| units::duration::from_seconds(seconds).ok())
                    .filter(|timeout| !timeout.is_zero())
                    .ok_or_else(|| {
                        let text =
                            "`mcp_call_tool_timeout_seconds` is not a number of seconds above 0";
                        ConfigError::Invalid(text.to_owned())
                    })?,
            ),
        },
        lookup,
    };
    let mut config = Config::default();
    let known = [
        "servers",
        "mcpServers",
        "mcp_servers",
        "mcp",
        "mcp_server_base_path",
        "mcp_call_tool_timeout_seconds",
        "inputs",
        "$schema",
        "version",
    ];
    for key in file.keys().filter(|key| !known.contains(&key.as_str())) {
        if let Some(near) = units::nearest(key, known) {
            return Err(ConfigError::Invalid(format!(
                "`{}` is not known; did you mean `{near}`?",
                crate::text::shown(key, 60)
            )));
        }
        config.notes.push(format!(
            "the key `{}` is not known",
            crate::text::shown(key, 60)
        ));
    }
    let mut sources = BTreeMap::new();
    for (name, entry) in servers {
        let at = |problem: String| match line_of(text, &name) {
            Some(line) => format!("line {line}: {problem}"),
            None => problem,
        };
        match entry::read(&name, &entry, &whole) {
            Ok(Some(read)) => {
                if let Some(other) = sources.insert(crate::names::source(&name), name.clone()) {
                    config.refused.insert(
                        name.clone(),
                        at(format!("its name is too much like `{other}`")),
                    );
                    continue;
                }
                let source = crate::names::source(&name);
                let mut notes = read.notes;
                if source != name {
                    notes.push(format!(
                        "agents name its tools as `{source}/TOOL`, because the name of a source is made of a-z, \
                         0-9, `_` and `-`"
                    ));
                }
                if !notes.is_empty() {
                    config.server_notes.insert(name.clone(), notes);
                }
                config.servers.insert(name, read.server);
            }
            Ok(None) => {}
            Err(problem) => {
                config.refused.insert(name.clone(), at(problem));
            }
        }
    }
    Ok(config)
}

/// Settings of every server of a file.
pub(super) struct Whole<'a> {
    pub(super) base: std::path::PathBuf,
    pub(super) timeout: Option<Duration>,
    pub(super) lookup: &'a dyn Fn(&str) -> Option<Variable>,
}

/// YAML, or JSON with comments.
fn parse(text: &str) -> Result<Value, ConfigError> {
    if text
        .trim_start_matches('\u{feff}')
        .trim_start()
        .starts_with(['{', '/'])
    {
        let plain = without_comments(text.trim_start_matches('\u{feff}'));
        return serde_json::from_str(&plain).map_err(|error| {
            ConfigError::Syntax(format!(
                "line {}, column {}: {error}",
                error.line(),
                error.column()
            ))
        });
    }
    // `y`, `no` and `on` are texts, as arguments and names.
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options::<Value>(text, options)
        .map_err(|error| ConfigError::Syntax(error.to_string()))
}

/// JSON without `//` and `/* */` comments and commas before a closing bracket; everything else keeps its place.
fn without_comments(text: &str) -> String {
    let mut out: Vec<char> = text.chars().collect();
    let mut at = 0;
    let mut in_string = false;
    while at < out.len() {
        match (in_string, out[at]) {
            (true, '\\') => at += 1,
            (_, '"') => in_string = !in_string,
            (false, '/') if out.get(at + 1) == Some(&'/') => {
                while at < out.len() && out[at] != '\n' {
                    out[at] = ' ';
                    at += 1;
                }
            }
            (false, '/') if out.get(at + 1) == Some(&'*') => {
                while at < out.len() && !(out[at] == '*' && out.get(at + 1) == Some(&'/')) {
                    if out[at] != '\n' {
                        out[at] = ' ';
                    }
                    at += 1;
                }
                for one in out.iter_mut().skip(at).take(2) {
                    *one = ' ';
                }
            }
            _ => {}
        }
        at += 1;
    }
    let mut in_string = false;
    for at in 0..out.len() {
        match out[at] {
            '"' if at == 0 || !is_escaped(&out, at) => in_string = !in_string,
            ',' if !in_string => {
                let next = out[at + 1..].iter().find(|c| !c.is_whitespace());
                if matches!(next, Some('}' | ']')) {
                    out[at] = ' ';
                }
            }
            _ => {}
        }
    }
    out.into_iter().collect()
}

fn is_escaped(text: &[char], at: usize) -> bool {
    text[..at].iter().rev().take_while(|c| **c == '\\').count() % 2 == 1
}

/// The line that a server's entry begins at, if it is written plainly.
fn line_of(text: &str, name: &str) -> Option<usize> {
    let begins = |line: &str| {
        let line = line.trim_start();
        let rest = line.strip_prefix(name).or_else(|| {
            let quoted = line.strip_prefix(['"', '\''])?;
            quoted.strip_prefix(name)?.strip_prefix(['"', '\''])
        });
        rest.is_some_and(|rest| rest.trim_start().starts_with(':'))
    };
    text.lines().position(begins).map(|at| at + 1)
}

#[cfg(test)]
mod tests;
