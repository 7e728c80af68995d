//! `opspawn config`: the settings and where each value comes from.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    config::{Config, Kind, SETTINGS},
    exit::Exit,
    output::{self, Table},
};

/// Prints every setting.
pub(super) fn show(config: &Config, as_json: bool) -> Result<Exit> {
    let mut rows: Vec<Value> = Vec::new();
    for setting in SETTINGS {
        let value = match (setting.kind, config.optional(setting.key)) {
            (Kind::Secret, Some(_)) if !units::mutant!("opspawn.config_shows_secrets") => {
                Some("[secret]".to_owned())
            }
            (_, value) => value.map(without_credentials),
        };
        let source = config.source(setting.key).unwrap_or("default");
        let variables: Vec<_> = std::iter::once(&setting.env)
            .chain(setting.legacy)
            .collect();
        rows.push(json!({
            "key": setting.key,
            "value": value,
            "source": source,
            "variables": variables,
            "doc": setting.doc,
        }));
    }
    rows.extend(declared(config));
    if as_json {
        output::json(&Value::from(rows));
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["SETTING", "VALUE", "FROM", "VARIABLES", "WHAT IT DOES"]);
    for row in &rows {
        let variables: Vec<_> = row["variables"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        table.add_row([
            output::plain(&row["key"]),
            output::plain(&row["value"]),
            output::plain(&row["source"]),
            variables.join(" "),
            output::plain(&row["doc"]),
        ]);
    }
    table.print();
    Ok(Exit::Ok)
}

/// Tables of the file that are no settings: queues, command tools, and places that are written to.
fn declared(config: &Config) -> Vec<Value> {
    let file = config.file().display().to_string();
    let row = |key: String, value: String, doc: &str| json!({"key": key, "value": without_credentials(&value), "source": file, "variables": [], "doc": doc});
    let queues = config.queues().values().map(|queue| {
        let key = format!("queues.{}", queue.name);
        let runs = queue.concurrency.map(|runs| format!("concurrency {runs}"));
        let rate = queue.rate.as_ref().map(|_| "with a rate".to_owned());
        let value: Vec<String> = runs.into_iter().chain(rate).collect();
        row(key, value.join(", "), "a queue that is served")
    });
    // Without a table, the queue of tasks that name none is served as well.
    let queues = queues.filter(|row| row["key"] != "queues.default" || row["value"] != "");
    let commands = config.commands().iter().map(|tool| {
        let key = format!("tools.{}.{}", tool.definition.kind(), tool.name);
        row(
            key,
            tool.definition.program(),
            tool.definition.description(),
        )
    });
    let writes = config.writes().iter().map(|rule| {
        row(
            "tools.http.writes".to_owned(),
            rule.url.clone(),
            "a place that `http_request` writes to",
        )
    });
    queues.chain(commands).chain(writes).collect()
}

/// A value without the users, passwords and query values of the URLs in it.
fn without_credentials(value: &str) -> String {
    let pieces = value.split_inclusive(|c: char| c == ',' || c.is_whitespace());
    pieces.map(shown).collect()
}

fn shown(piece: &str) -> String {
    let Some((scheme, rest)) = piece.split_once("://") else {
        return piece.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("[secret]@{host}"),
        None => authority.to_owned(),
    };
    let rest = match rest.split_once('?') {
        Some((path, query)) => format!("{path}?{}", masked(query)),
        None => rest.to_owned(),
    };
    format!("{scheme}://{authority}{rest}")
}

/// A query whose names are kept and whose values are not.
fn masked(query: &str) -> String {
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) => format!("{name}=[secret]"),
        None => "[secret]".to_owned(),
    });
    pairs.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    // security/S9: credentials that stand in URLs.
    #[test]
    fn urls_are_shown_without_credentials() {
        for (value, expected) in [
            ("https://api.openai.com/v1", "https://api.openai.com/v1"),
            (
                "https://ann:pa55@proxy:8080/v1",
                "https://[secret]@proxy:8080/v1",
            ),
            ("https://tok@en@host", "https://[secret]@host"),
            (
                "https://h/v1?key=abc&x",
                "https://h/v1?key=[secret]&[secret]",
            ),
            ("a, http://u:p@h/, b", "a, http://[secret]@h/, b"),
            ("http://h/@path", "http://h/@path"),
            ("127.0.0.1:7717", "127.0.0.1:7717"),
        ] {
            assert_eq!(without_credentials(value), expected);
        }
    }
}
