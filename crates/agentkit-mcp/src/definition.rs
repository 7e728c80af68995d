//! Definitions that servers list, judged one by one: an odd tool costs itself and no other.

mod schema;

use std::{collections::BTreeMap, sync::Arc};

use agentkit::tool::digest_hex;
use bounded::schema::Schema;
use serde_json::{Map, Value, json};

pub use self::schema::differences;
use crate::{headers, text::shown};

/// The longest raw name of a tool, in bytes.
const MAX_NAME: usize = 256;
/// The longest description that a model is sent, in bytes.
const MAX_DESCRIPTION: usize = 8 * 1024;

/// A definition that a server lists under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A tool.
    Tool,
    /// A prompt.
    Prompt,
    /// The server's instructions; their name is empty.
    Instructions,
}

impl Kind {
    /// Its name in stores and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Instructions => "instructions",
        }
    }

    /// The kind of a name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Tool, Self::Prompt, Self::Instructions]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

/// Something that a server lists, as it gave it: what is pinned.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Kind of the definition.
    pub kind: Kind,
    /// Its raw name.
    pub name: String,
    /// The object as the server gave it, without what nobody sees (`_meta`, `icons`).
    pub raw: Value,
    /// SHA-256 of it in canonical form, in hex.
    pub digest: String,
}

/// A tool that can be called.
#[derive(Clone)]
pub struct Definition {
    /// The pinned definition.
    pub listed: Listed,
    /// Description for the model.
    pub description: String,
    /// The schema of its arguments as models are sent it: an object, and no reference leaves it.
    pub input_schema: Value,
    /// The schema of its structured result.
    pub output_schema: Option<Value>,
    /// Checks arguments.
    pub input: Schema,
}

impl std::fmt::Debug for Definition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Definition")
            .field("listed", &self.listed)
            .finish_non_exhaustive()
    }
}

/// The lists of a server, judged.
#[derive(Debug, Clone, Default)]
pub struct Judged {
    /// Usable definitions, by kind and raw name.
    pub listed: Vec<Listed>,
    /// Definitions that cannot be used, each with the reason.
    pub refused: Vec<(String, String)>,
    /// Why lists may not be whole.
    pub notes: Vec<String>,
}

impl Listed {
    /// The pinned form of an object of a list.
    #[must_use]
    pub fn of(kind: Kind, name: &str, raw: &Value) -> Self {
        let mut raw = raw.clone();
        if let Some(fields) = raw.as_object_mut() {
            fields.remove("_meta");
            fields.remove("icons");
        }
        let digest = digest(&raw);
        Self {
            kind,
            name: name.to_owned(),
            raw,
            digest,
        }
    }

    /// The instructions of a server.
    #[must_use]
    pub fn instructions(text: &str) -> Self {
        Self::of(Kind::Instructions, "", &Value::String(text.to_owned()))
    }
}

impl Definition {
    /// A tool as it was pinned.
    ///
    /// # Errors
    /// The reason why the tool cannot be called.
    pub fn of(listed: &Listed) -> Result<Self, String> {
        let raw = &listed.raw;
        let input_schema = schema::of_arguments(&raw["inputSchema"])?;
        let input =
            Schema::compile(&input_schema).map_err(|error| format!("its inputSchema: {error}"))?;
        let output_schema = raw
            .get("outputSchema")
            .filter(|schema| schema.is_object())
            .cloned();
        let text = |value: &Value| value.as_str().unwrap_or_default().trim().to_owned();
        let title = [&raw["title"], &raw["annotations"]["title"]]
            .into_iter()
            .map(text)
            .find(|text| !text.is_empty());
        let description = match (text(&raw["description"]), title) {
            (description, _) if !description.is_empty() => description,
            (_, Some(title)) => title,
            (_, None) => format!("The tool `{}`.", listed.name),
        };
        Ok(Self {
            listed: listed.clone(),
            description: shown(&description, MAX_DESCRIPTION),
            input_schema,
            output_schema,
            input,
        })
    }

    /// The arguments that are sent for what a model wrote: nothing is `{}`, and an object that was written as
    /// text is unwrapped once where the schema wants an object.
    ///
    /// # Errors
    /// The arguments that do not fit the schema.
    pub fn arguments(&self, written: Value) -> Result<Value, String> {
        let arguments = match written {
            Value::Null => json!({}),
            Value::Array(items) if items.is_empty() => json!({}),
            Value::String(text) if text.trim().is_empty() || text.trim() == "null" => json!({}),
            Value::String(text) => match serde_json::from_str(&text) {
                Ok(Value::Object(fields)) => Value::Object(fields),
                Ok(_) | Err(_) => return Err("the arguments are not an object".to_owned()),
            },
            other => other,
        };
        let Value::Object(mut fields) = arguments else {
            return Err("the arguments are not an object".to_owned());
        };
        self.unwrap(&mut fields);
        let arguments = Value::Object(fields);
        match self.input.check_blocking(&arguments) {
            Ok(()) => Ok(arguments),
            Err(error) => Err(format!("the arguments do not match the schema: {error}")),
        }
    }

    /// Arguments that were written as text where the schema wants an object or a list, absent ones that were
    /// written as null, and whole numbers that were written as `3.0`.
    fn unwrap(&self, fields: &mut Map<String, Value>) {
        let properties = &self.input_schema["properties"];
        let required = self.input_schema["required"].as_array();
        let is_required =
            |name: &str| required.is_some_and(|all| all.iter().any(|one| one == name));
        fields.retain(|name, value| {
            let schema = &properties[name.as_str()];
            let kind = schema["type"].as_str().unwrap_or_default();
            !value.is_null() || kind.is_empty() || kind == "null" || is_required(name)
        });
        for (name, value) in fields.iter_mut() {
            let kind = properties[name.as_str()]["type"]
                .as_str()
                .unwrap_or_default();
            let unwrapped = match (&*value, kind) {
                (Value::String(text), "object" | "array") => {
                    serde_json::from_str(text).ok().filter(|inner: &Value| {
                        if kind == "object" {
                            inner.is_object()
                        } else {
                            inner.is_array()
                        }
                    })
                }
                (Value::Number(number), "integer") => number
                    .as_f64()
                    .filter(|float| number.is_f64() && float.fract() == 0.0 && float.abs() < 9e15)
                    .map(|float| json!(float as i64)),
                _ => None,
            };
            if let Some(unwrapped) = unwrapped {
                *value = unwrapped;
            }
        }
    }

    /// Checks a structured result; what does not fit, for a note beside the result.
    #[must_use]
    pub fn check_output(&self, value: &Value) -> Option<String> {
        let schema = Schema::compile(self.output_schema.as_ref()?).ok()?;
        schema
            .check_blocking(value)
            .err()
            .map(|error| error.to_string())
    }
}

/// Judges lists of tools and prompts. `has_headers` says whether arguments may be repeated in headers, so that
/// a tool with wrong ones cannot be called.
#[must_use]
pub fn judge(
    tools: &[Value],
    prompts: &[Value],
    instructions: Option<&str>,
    has_headers: bool,
) -> Judged {
    let mut judged = Judged::default();
    let mut by_name: BTreeMap<(Kind, String), Vec<Value>> = BTreeMap::new();
    for (kind, items) in [(Kind::Tool, tools), (Kind::Prompt, prompts)] {
        for (at, item) in items.iter().enumerate() {
            match item["name"].as_str() {
                Some(name) if !name.is_empty() && name.len() <= MAX_NAME => {
                    by_name
                        .entry((kind, name.to_owned()))
                        .or_default()
                        .push(item.clone());
                }
                Some(name) => {
                    let what = format!("{} {:?}", kind.as_str(), shown(name, 60));
                    judged
                        .refused
                        .push((what, "its name has no characters, or too many".to_owned()));
                }
                None => {
                    let what = format!("{} {}", kind.as_str(), at + 1);
                    judged.refused.push((what, "it has no name".to_owned()));
                }
            }
        }
    }
    for ((kind, name), items) in by_name {
        let shown_name = shown(&name, 120);
        let mut refuse = |why: String| judged.refused.push((shown_name.clone(), why));
        let [item] = &items[..] else {
            refuse(format!(
                "the server lists {} of that name: none of them is used",
                items.len()
            ));
            continue;
        };
        let listed = Listed::of(kind, &name, item);
        if kind == Kind::Tool {
            if has_headers && let Err(why) = headers::check(&item["inputSchema"]) {
                refuse(why);
                continue;
            }
            if let Err(why) = Definition::of(&listed) {
                refuse(why);
                continue;
            }
        }
        judged.listed.push(listed);
    }
    judged.listed.extend(instructions.map(Listed::instructions));
    judged
}

/// SHA-256 of a value in canonical form (RFC 8785), lists without a meaning of order sorted.
fn digest(value: &Value) -> String {
    let text = serde_json_canonicalizer::to_vec(&sorted(value, ""));
    digest_hex(&text.unwrap_or_else(|_| value.to_string().into_bytes()))
}

/// The value with the lists sorted that are sets in a JSON Schema.
fn sorted(value: &Value, key: &str) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), sorted(value, key)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(|item| sorted(item, "")).collect();
            if matches!(key, "required" | "type" | "enum") {
                items.sort_by_key(Value::to_string);
            }
            items.into()
        }
        other => other.clone(),
    }
}

/// Definitions by raw name.
pub type Definitions = BTreeMap<String, Arc<Definition>>;

#[cfg(test)]
mod tests;
