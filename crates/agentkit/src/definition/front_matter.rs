//! The two ways to write a definition as one JSON value. YAML is read as far as settings need it:
//! keys with texts, numbers, truth values and lists, and tables of such one level deep.

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
    let mut settings = String::new();
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

/// A line of YAML: its number, its indentation and the rest.
struct Line<'a> {
    number: usize,
    indent: usize,
    text: &'a str,
}

impl Line<'_> {
    fn wrong(&self, what: &str) -> DefinitionError {
        let message = format!(
            "line {} of the settings {what}; settings of more depth are written as TOML, between \
             lines `+++`",
            self.number
        );
        syntax("YAML", &message)
    }

    fn pair(&self) -> Result<(&str, &str), DefinitionError> {
        let (key, value) = self
            .text
            .split_once(':')
            .filter(|(_, value)| value.is_empty() || value.starts_with(' '))
            .ok_or_else(|| self.wrong("is not like `key: value`"))?;
        Ok((key.trim(), value.trim()))
    }
}

fn yaml(text: &str) -> Result<Map<String, Value>, DefinitionError> {
    let lines: Vec<Line<'_>> = (1..)
        .zip(text.lines())
        .map(|(number, line)| Line {
            number,
            indent: line.len() - line.trim_start().len(),
            text: line.trim(),
        })
        .filter(|line| !line.text.is_empty() && !line.text.starts_with('#'))
        .collect();
    let mut map = Map::new();
    let mut rest = lines.as_slice();
    while let Some((line, after)) = rest.split_first() {
        if line.indent > 0 || line.text.starts_with('\t') {
            return Err(line.wrong("is indented, and nothing above it takes that"));
        }
        let (key, value) = line.pair()?;
        let block = after
            .iter()
            .take_while(|next| next.indent > 0 || next.text.starts_with("- "))
            .count();
        let (inner, after) = after.split_at(block);
        let value = match (value, inner) {
            ("", []) => Value::Null,
            ("", inner) => nested(inner)?,
            (value, []) => scalar(line, value)?,
            (_, [first, ..]) => {
                return Err(first.wrong("is indented, and nothing above it takes that"));
            }
        };
        insert(line, &mut map, key, value)?;
        rest = after;
    }
    Ok(map)
}

/// A list of `- item`, or a table of `key: value`.
fn nested(lines: &[Line<'_>]) -> Result<Value, DefinitionError> {
    if lines.iter().all(|line| line.text.starts_with("- ")) {
        let items = lines.iter().map(|line| scalar(line, line.text[2..].trim()));
        return items.collect::<Result<_, _>>().map(Value::Array);
    }
    let mut map = Map::new();
    let indent = lines.first().map_or(0, |line| line.indent);
    for line in lines {
        if line.indent != indent {
            return Err(line.wrong("is indented otherwise than the one above it"));
        }
        let (key, value) = line.pair()?;
        let value = scalar(line, value)?;
        insert(line, &mut map, key, value)?;
    }
    Ok(Value::Object(map))
}

fn insert(
    line: &Line<'_>,
    map: &mut Map<String, Value>,
    key: &str,
    value: Value,
) -> Result<(), DefinitionError> {
    match map.insert(key.to_owned(), value) {
        None => Ok(()),
        Some(_) => Err(line.wrong(&format!("gives `{key}` once more"))),
    }
}

/// A text, a number, a truth value, or a list `[a, b]` of such.
fn scalar(line: &Line<'_>, text: &str) -> Result<Value, DefinitionError> {
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner
            .strip_suffix(']')
            .ok_or_else(|| line.wrong("opens a list that it does not close"))?;
        let items = inner.split(',').map(str::trim);
        return items
            .filter(|item| !item.is_empty())
            .map(|item| scalar(line, item))
            .collect::<Result<_, _>>()
            .map(Value::Array);
    }
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote) {
            let inner = inner
                .strip_suffix(quote)
                .ok_or_else(|| line.wrong("opens a quote that it does not close"))?;
            return match quote {
                '"' => serde_json::from_str(text)
                    .map_err(|_| line.wrong("has a quoted text with an unknown escape")),
                _ => Ok(inner.replace("''", "'").into()),
            };
        }
    }
    if text.starts_with(['{', '|', '>', '&', '*', '!', '%', '@', '`']) {
        return Err(line.wrong("has a value that is not read here: put it in quotes"));
    }
    let text = text.split(" #").next().unwrap_or_default().trim_end();
    Ok(match text {
        "" | "~" | "null" => Value::Null,
        "true" => true.into(),
        "false" => false.into(),
        _ => match serde_json::from_str::<serde_json::Number>(text) {
            Ok(number) => Value::Number(number),
            Err(_) => text.into(),
        },
    })
}
