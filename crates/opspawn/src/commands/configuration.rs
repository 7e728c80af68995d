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
            (Kind::Secret, Some(_)) => Some("[secret]"),
            (_, value) => value,
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
