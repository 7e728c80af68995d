//! The two ways to write a definition as one JSON value.

use serde_json::{Map, Value};

use super::DefinitionError;

/// TOML as JSON.
pub(super) fn toml(text: &str) -> Result<Value, DefinitionError> {
    let table: toml::Table =
        toml::from_str(text).map_err(|error| syntax("TOML", error.to_string().trim_end()))?;
    serde_json::to_value(table).map_err(|error| syntax("TOML", &error.to_string()))
}

/// The settings between two fences, and the text after them as `instructions`.
pub(super) fn markdown(text: &str) -> Result<Value, DefinitionError> {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let (fence, rest) = match text.split_once('\n') {
        Some((fence, rest)) if ["+++", "---"].contains(&fence.trim_end()) => {
            (fence.trim_end(), rest)
        }
        _ => {
            return Err(syntax(
                "Markdown with settings",
                "it must begin with a line `+++` (TOML) or `---` (YAML), then the settings, and \
                 the same line again",
            ));
        }
    };
    // With a line for the fence, so that mistakes are named with their lines in the file.
    let mut settings = "\n".to_owned();
    let mut lines = rest.split_inclusive('\n');
    let closed = lines.by_ref().any(|line| {
        let end = line.trim_end() == fence;
        if !end {
            settings.push_str(line);
        }
        end
    });
    if !closed {
        let message = format!("the settings have no end: write a line `{fence}` after them");
        return Err(syntax("Markdown with settings", &message));
    }
    let body: String = lines.collect();
    let mut value = match fence {
        "+++" => toml(&settings)?,
        _ => Value::Object(yaml(&settings)?),
    };
    let body = body.trim();
    if let (Value::Object(map), false) = (&mut value, body.is_empty()) {
        if map.contains_key("instructions") {
            return Err(syntax(
                "Markdown with settings",
                "it has `instructions` among its settings and text after them, which is the \
                 instructions: leave out one",
            ));
        }
        map.insert("instructions".to_owned(), body.into());
    }
    Ok(value)
}

fn syntax(format: &'static str, message: &str) -> DefinitionError {
    DefinitionError::Syntax {
        format,
        message: message.to_owned(),
    }
}

/// YAML 1.2 as JSON.
fn yaml(text: &str) -> Result<Map<String, Value>, DefinitionError> {
    // Its text would show the source again, on many lines.
    let wrong = |error: serde_saphyr::Error| {
        let message = error.without_snippet().to_string();
        syntax("YAML", message.trim_end())
    };
    match serde_saphyr::from_str(text).map_err(wrong)? {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(syntax("YAML", "the settings must be lines of `key: value`"))
        }
    }
}
