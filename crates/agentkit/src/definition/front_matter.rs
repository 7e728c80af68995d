//! The ways to write a definition, as one JSON value.

use serde_json::{Map, Value};

use super::{
    DefinitionError, Parsed,
    braces::{self, Braces},
    foreign,
};

/// TOML as JSON.
pub(super) fn toml(text: &str) -> Result<Value, DefinitionError> {
    let table: toml::Table =
        toml::from_str(text).map_err(|error| syntax("TOML", error.to_string().trim_end()))?;
    serde_json::to_value(table).map_err(|error| syntax("TOML", &error.to_string()))
}

/// JSON.
pub(super) fn json(text: &str) -> Result<Value, DefinitionError> {
    let text = text.trim_start_matches('\u{feff}');
    serde_json::from_str(text).map_err(|error| syntax("JSON", &error.to_string()))
}

/// A Markdown file with settings.
pub(super) struct Markdown {
    settings: Map<String, Value>,
    is_yaml: bool,
    /// The text after the settings, without white space around it.
    body: String,
    /// The line of the file on which it begins.
    body_line: usize,
    notes: Vec<String>,
}

/// The settings between two fences, and the text after them. `stem` is the name of the file without its extension.
pub(super) fn markdown(text: &str, stem: Option<&str>) -> Result<Markdown, DefinitionError> {
    let whole = text.trim_start_matches('\u{feff}');
    let has_fence = ["+++", "---", "```"]
        .iter()
        .any(|fence| whole.trim_start().starts_with(fence));
    if !has_fence && stem.is_some_and(foreign::is_agent_file) && !whole.trim().is_empty() {
        let lead = &whole[..whole.len() - whole.trim_start().len()];
        return Ok(Markdown {
            settings: Map::new(),
            is_yaml: true,
            body: whole.trim().to_owned(),
            body_line: 1 + lead.matches('\n').count(),
            notes: vec!["settings: none, the whole text is the instructions".to_owned()],
        });
    }
    let text = unwrapped(whole);
    let blank_lines = whole[..whole.len() - text.len()].matches('\n').count();
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
    let mut settings = "\n".repeat(blank_lines + 1);
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
    let mut body: String = lines.collect();
    if whole.trim_start().starts_with("```") {
        let end = body.trim_end().trim_end_matches(['`', '\n', '\r']).len();
        body.truncate(end);
    }
    let lead = &body[..body.len() - body.trim_start().len()];
    let body_line = settings.matches('\n').count() + 2 + lead.matches('\n').count();
    let is_yaml = fence == "---";
    let mut notes = Vec::new();
    let settings = match is_yaml {
        false => match toml(&settings)? {
            Value::Object(settings) => settings,
            _ => Map::new(),
        },
        true => match yaml(&settings) {
            Ok(settings) => settings,
            Err(error) => {
                let by_line = by_line(&settings).filter(foreign::may_be_read_by_line);
                let by_line = by_line.ok_or(error)?;
                notes.push("settings: read line by line, as they are no YAML".to_owned());
                by_line
            }
        },
    };
    Ok(Markdown {
        settings,
        is_yaml,
        body: body.trim().to_owned(),
        body_line,
        notes,
    })
}

/// The text within fences of a kind such as ` ```chatagent `, which some tools write around the whole.
fn unwrapped(text: &str) -> &str {
    let mut rest = text.trim_start();
    while let Some((fence, inner)) = rest.split_once('\n') {
        let kind = fence.trim().trim_start_matches('`');
        let is_fence = fence.starts_with("```") && kind.chars().all(char::is_alphanumeric);
        if !is_fence {
            break;
        }
        rest = inner.trim_start();
    }
    rest
}

impl Markdown {
    /// The definition, of our own making or mapped.
    pub(super) fn parsed(self, stem: Option<&str>) -> Result<Parsed, DefinitionError> {
        let Self {
            mut settings,
            body,
            body_line,
            mut notes,
            ..
        } = self;
        let is_foreign = self.is_yaml && foreign::is_foreign(&settings);
        if is_foreign {
            let (mapped, told) = foreign::map(&settings, stem);
            settings = mapped;
            notes.extend(told);
        }
        let mut line = 1;
        if !body.is_empty() {
            if settings.contains_key("instructions") {
                return Err(syntax(
                    "Markdown with settings",
                    "it has `instructions` among its settings and text after them, which is the \
                     instructions: leave out one",
                ));
            }
            line = body_line;
            if !settings.contains_key("template") {
                notes.extend(choose(&mut settings, &body, body_line, is_foreign));
            }
            settings.insert("instructions".to_owned(), body.into());
        }
        let definition = super::read::definition(&Value::Object(settings), line)?;
        Ok(Parsed { definition, notes })
    }
}

/// Chooses whether a text is a template, and says so where it has braces.
fn choose(
    settings: &mut Map<String, Value>,
    body: &str,
    line: usize,
    is_foreign: bool,
) -> Option<String> {
    let mut text = |why: &str| {
        settings.insert("template".to_owned(), false.into());
        format!("instructions: text as it is, {why} (`template: true` for a template)")
    };
    match braces::of(body, line) {
        Braces::None => None,
        _ if is_foreign => Some(text("as another tool has no templates")),
        Braces::Template => {
            Some("instructions: a template (`template: false` takes the text as it is)".to_owned())
        }
        Braces::Text(why) => Some(text(&format!("as a template would be wrong: {why}"))),
    }
}

/// Lines `key: value` whose values may have colons and quotes as they are; the lines that follow belong to
/// the value. None where a key is there twice.
fn by_line(text: &str) -> Option<Map<String, Value>> {
    let mut found: Vec<(&str, String)> = Vec::new();
    for line in text.lines() {
        let is_key = |key: &str| {
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            !key.is_empty() && key.chars().all(is_word)
        };
        match (line.split_once(':'), found.last_mut()) {
            (Some((key, value)), _) if is_key(key) => found.push((key, value.trim().to_owned())),
            (_, Some((_, value))) => {
                value.push('\n');
                value.push_str(line.trim());
            }
            // Templates of such files begin with comments.
            (_, None) if line.trim().is_empty() || line.starts_with('#') => {}
            (_, None) => return None,
        }
    }
    let mut map = Map::new();
    for (key, value) in found {
        let value = value.trim();
        let quoted = ['"', '\''].iter().find_map(|quote| {
            let inner = value.strip_prefix(*quote)?.strip_suffix(*quote)?;
            Some(inner.replace("\\n", "\n").replace("\\\"", "\""))
        });
        let value = match value.strip_prefix(['|', '>']) {
            Some(block) => block.trim_start_matches(['-', '+']).trim().to_owned(),
            None => quoted.unwrap_or_else(|| value.to_owned()),
        };
        if map.insert(key.to_owned(), value.into()).is_some() {
            return None;
        }
    }
    Some(map)
}

fn syntax(format: &'static str, message: &str) -> DefinitionError {
    DefinitionError::Syntax {
        format,
        message: message.to_owned(),
    }
}

/// YAML 1.2 as JSON.
pub(super) fn yaml(text: &str) -> Result<Map<String, Value>, DefinitionError> {
    // Its text would show the source again, on many lines.
    let wrong = |error: serde_saphyr::Error| {
        let message = error.without_snippet().to_string();
        // Its advice is for the programmer.
        let message = message.replace(", set DuplicateKeyPolicy in Options if acceptable", "");
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
