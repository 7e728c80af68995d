//! The configuration file, and the `.env` of version 1.

use std::{collections::BTreeMap, io::ErrorKind, path::Path};

use anyhow::{Context as _, Result, bail};

use super::{
    Kind, SETTINGS,
    commands::{self, DeclaredCommand},
    databases, unknown_key,
};

/// What a TOML file holds.
pub(super) struct File {
    /// Its settings, as text by key.
    pub(super) values: Vec<(&'static str, String)>,
    /// Its rows of the model table.
    pub(super) models: toml::Table,
    /// Its queues.
    pub(super) queues: toml::Table,
    /// Its budgets.
    pub(super) budgets: toml::Table,
    /// What it says of places that `http_request` writes to.
    pub(super) writes: Vec<toml::Value>,
    /// Its command tools.
    pub(super) commands: Vec<DeclaredCommand>,
    /// The databases that its agents may ask.
    pub(super) databases: Vec<agentkit_sql::Declared>,
}

/// Reads a TOML file.
pub(super) fn toml(path: &Path) -> Result<File> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
    let mut table: toml::Table = toml::from_str(&text).with_context(|| {
        format!(
            "the configuration file {} is not valid TOML",
            path.display()
        )
    })?;
    let test_dir = path.display().to_string();
    let mut tables = |name: &str, example: &str| match table.remove(name) {
        Some(toml::Value::Table(rows)) => Ok(rows),
        Some(_) => bail!("`{name}` in {test_dir} must hold tables, such as `{example}`"),
        None => Ok(toml::Table::new()),
    };
    let models = tables("models", "[models.\"openai/gpt-5\"]")?;
    let queues = tables("queues", "[queues.reports]")?;
    let budgets = tables("budgets", "[budgets.team]")?;
    let writes = writes(&mut table, &test_dir)?;
    let commands = commands::read(&text, &test_dir)?;
    let databases = databases::read(&text, &test_dir)?;
    if let Some(toml::Value::Table(tools)) = table.get_mut("tools") {
        tools.remove("command");
        tools.remove("wasm");
        tools.remove("sql");
    }
    let mut values = Vec::new();
    flatten("", &table, &test_dir, &mut values)?;
    Ok(File {
        values,
        models,
        queues,
        budgets,
        writes,
        commands,
        databases,
    })
}

/// Takes `[[tools.http.writes]]` out of a file's table.
fn writes(table: &mut toml::Table, test_dir: &str) -> Result<Vec<toml::Value>> {
    let tools = table.get_mut("tools").and_then(toml::Value::as_table_mut);
    let http = tools
        .and_then(|tools| tools.get_mut("http"))
        .and_then(toml::Value::as_table_mut);
    match http.and_then(|http| http.remove("writes")) {
        Some(toml::Value::Array(rows)) => Ok(rows),
        Some(_) => {
            bail!("`tools.http.writes` in {test_dir} must be a list: `[[tools.http.writes]]`")
        }
        None => Ok(Vec::new()),
    }
}

fn flatten(
    prefix: &str,
    table: &toml::Table,
    test_dir: &str,
    values: &mut Vec<(&'static str, String)>,
) -> Result<()> {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        if let toml::Value::Table(inner) = value {
            flatten(&key, inner, test_dir, values)?;
            continue;
        }
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
            return unknown_key(&key, test_dir);
        };
        let text = match value {
            toml::Value::String(text) => text.clone(),
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Float(number) => number.to_string(),
            toml::Value::Boolean(switch) => switch.to_string(),
            toml::Value::Array(items) if setting.kind == Kind::Networks => {
                let words: Option<Vec<_>> = items.iter().map(toml::Value::as_str).collect();
                words
                    .with_context(|| {
                        format!("setting `{key}` in {test_dir} must be a list of texts")
                    })?
                    .join(", ")
            }
            toml::Value::Array(items) if matches!(setting.kind, Kind::List | Kind::Secret) => {
                texts(items).with_context(|| {
                    format!("setting `{key}` in {test_dir} must be a list of texts")
                })?
            }
            toml::Value::Array(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => {
                bail!("setting `{key}` in {test_dir} must be text, a number or a switch")
            }
        };
        values.push((setting.key, text));
    }
    Ok(())
}

/// The texts of a list, one a line.
fn texts(items: &[toml::Value]) -> Option<String> {
    let texts: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
    Some(texts?.join("\n"))
}

/// The variables of a `.env` file; none if there is no such file. Lines are `NAME=value`, with an
/// optional `export`, quotes around the value, and `#` comments.
pub(super) fn dotenv(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    Ok(parse_dotenv(&text))
}

/// The variables of a text like a `.env` file.
pub(crate) fn parse_dotenv(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| {
            let line = line.trim();
            let line = line.strip_prefix("export ").unwrap_or(line);
            let (name, value) = line.split_once('=').filter(|_| !line.starts_with('#'))?;
            let value = value.trim();
            let quoted = ['"', '\''].into_iter().find_map(|quote| {
                value
                    .strip_prefix(quote)
                    .and_then(|rest| rest.split_once(quote))
                    .map(|(v, _)| v)
            });
            let plain = || {
                value
                    .split_once(" #")
                    .map_or(value, |(value, _)| value.trim_end())
            };
            Some((
                name.trim().to_owned(),
                quoted.unwrap_or_else(plain).to_owned(),
            ))
        })
        .collect()
}
