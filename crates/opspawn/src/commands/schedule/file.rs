//! The file of `opspawn schedule apply`: one schedule, or a list `[[schedule]]`.

use std::{io::Read as _, path::Path};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::exit::{self, Exit};

/// A schedule as the file has it.
pub(super) struct ScheduleEntry {
    /// Its name.
    pub(super) name: String,
    /// The body that stores it.
    pub(super) body: Value,
}

/// Reads a file; `-` is standard input. What a schedule may hold is the server's to say.
pub(super) fn read(path: &Path) -> Result<Vec<ScheduleEntry>> {
    let text = match path.to_str() {
        Some("-") => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("cannot read standard input")?;
            text
        }
        _ => std::fs::read_to_string(path).map_err(|error| {
            let message = format!("cannot read {}: {error}", path.display());
            exit::error(Exit::Usage, message)
        })?,
    };
    parse(&text)
        .map_err(|message| exit::error(Exit::Usage, format!("{}: {message}", path.display())))
}

/// An error of one schedule of the file.
pub(super) fn in_file(path: &Path, name: &str, error: &anyhow::Error) -> anyhow::Error {
    exit::about(&format!("{}: schedule `{name}`", path.display()), error)
}

fn parse(text: &str) -> Result<Vec<ScheduleEntry>, String> {
    let mut table: toml::Table =
        toml::from_str(text).map_err(|error| format!("is not valid TOML\n{error}"))?;
    let tables = match table.remove("schedule") {
        None => vec![table],
        Some(toml::Value::Array(list)) if table.is_empty() => list
            .into_iter()
            .map(|one| match one {
                toml::Value::Table(table) => Ok(table),
                _ => Err("`schedule` must be a list of tables, `[[schedule]]`".to_owned()),
            })
            .collect::<Result<_, _>>()?,
        Some(_) => {
            return Err(
                "holds either one schedule at its top, or only tables `[[schedule]]`".to_owned(),
            );
        }
    };
    tables.into_iter().map(entry).collect()
}

fn entry(table: toml::Table) -> Result<ScheduleEntry, String> {
    let Some(name) = table.get("name").and_then(toml::Value::as_str) else {
        return Err("a schedule has no `name`; write name = \"nightly\"".to_owned());
    };
    let name = name.to_owned();
    let body = json(toml::Value::Table(table))?;
    Ok(ScheduleEntry { name, body })
}

/// TOML as JSON. Dates have no form there: they are written as text.
fn json(value: toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => serde_json::Number::from_f64(number)
            .ok_or_else(|| format!("`{number}` is no number of JSON"))?
            .into(),
        toml::Value::Boolean(switch) => switch.into(),
        toml::Value::Datetime(date) => {
            return Err(format!("write the date {date} in quotes, as text"));
        }
        toml::Value::Array(list) => {
            Value::Array(list.into_iter().map(json).collect::<Result<_, _>>()?)
        }
        toml::Value::Table(table) => {
            let pair = |(key, value)| json(value).map(|value| (key, value));
            Value::Object(table.into_iter().map(pair).collect::<Result<_, _>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_one_schedule_or_a_list() {
        let one = "name = \"a\"\ncron = \"@daily\"\n[task]\ntask_type = \"agent_run\"\n\
                   input_data = { prompt = \"hi\", n = [1, 2.5, true] }\n";
        let entries = parse(one).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(entries[0].name, "a");
        assert_eq!(
            entries[0].body,
            serde_json::json!({"name": "a", "cron": "@daily", "task": {"task_type": "agent_run",
                "input_data": {"prompt": "hi", "n": [1, 2.5, true]}}})
        );
        let two = "[[schedule]]\nname = \"a\"\n[[schedule]]\nname = \"b\"\n";
        let names: Vec<_> = parse(two)
            .unwrap_or_default()
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn mistakes_say_what_mends_them() {
        for (text, says) in [
            ("cron = ", "is not valid TOML"),
            ("cron = \"@daily\"", "has no `name`"),
            ("name = 5", "has no `name`"),
            (
                "name = \"a\"\n[[schedule]]\nname = \"b\"",
                "either one schedule",
            ),
            ("schedule = [1]", "must be a list of tables"),
            ("name = \"a\"\nx = 2026-01-01", "in quotes"),
            ("name = \"a\"\nx = inf", "no number of JSON"),
        ] {
            let said = parse(text).err().unwrap_or_default();
            assert!(said.contains(says), "{text}: {said}");
        }
    }
}
