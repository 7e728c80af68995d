//! Schemas of arguments, as models and checks take them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// How deep references are followed into themselves before they stand for any value.
const MAX_NESTED: usize = 64;

/// The schema of a tool's arguments: an object, whatever the server left out. References to other documents
/// are never fetched; they stand for anything.
pub(super) fn of_arguments(schema: &Value) -> Result<Value, String> {
    let root = match schema {
        Value::Null | Value::Bool(true) => return Ok(json!({"type": "object"})),
        Value::Object(root) => root,
        _ => return Err("its inputSchema is not an object".to_owned()),
    };
    let mut root = root.clone();
    match root.get("type") {
        None => {}
        Some(Value::String(kind)) if kind == "object" => {}
        Some(Value::Array(kinds)) if kinds.iter().any(|kind| kind == "object") => {}
        Some(kind) => {
            return Err(format!(
                "its inputSchema is of type {kind}, and arguments are an object"
            ));
        }
    }
    root.insert("type".to_owned(), "object".into());
    // A name of a dialect that is not known here would be a reference to another document.
    if root
        .get("$schema")
        .is_some_and(|dialect| !is_known_dialect(dialect))
    {
        root.remove("$schema");
    }
    // Bounds of draft 4 are rewritten below to those of later drafts, the first of which reads the rest as draft 4 does.
    if let Some(dialect) = root.get_mut("$schema")
        && dialect
            .as_str()
            .is_some_and(|text| text.contains("/draft-04/"))
    {
        *dialect = "http://json-schema.org/draft-06/schema#".into();
    }
    let mut schema = Value::Object(root);
    without_strangers(&mut schema, 0);
    Ok(schema)
}

fn is_known_dialect(dialect: &Value) -> bool {
    let text = dialect.as_str().unwrap_or_default().trim_end_matches('#');
    ["draft-04", "draft-06", "draft-07"]
        .iter()
        .any(|draft| text == format!("http://json-schema.org/{draft}/schema"))
        || ["2019-09", "2020-12"]
            .iter()
            .any(|draft| text == format!("https://json-schema.org/draft/{draft}/schema"))
}

/// Takes references to other documents, and names that would make documents of parts, out of a schema.
fn without_strangers(schema: &mut Value, depth: usize) {
    if depth > MAX_NESTED {
        return;
    }
    match schema {
        Value::Object(fields) => {
            for key in ["$ref", "$dynamicRef", "$recursiveRef"] {
                let is_strange = fields.get(key).is_some_and(|reference| {
                    reference
                        .as_str()
                        .is_none_or(|reference| !reference.starts_with('#'))
                });
                if is_strange {
                    fields.remove(key);
                }
            }
            bounds(fields);
            for key in ["$id", "id"] {
                if fields.get(key).is_some_and(Value::is_string) {
                    fields.remove(key);
                }
            }
            for (key, value) in fields.iter_mut() {
                match key.as_str() {
                    "properties" | "$defs" | "definitions" | "patternProperties"
                    | "dependentSchemas" => {
                        for inner in value.as_object_mut().into_iter().flat_map(Map::values_mut) {
                            without_strangers(inner, depth + 1);
                        }
                    }
                    // Data, not schemas.
                    "default" | "const" | "enum" | "examples" | "required" => {}
                    _ => without_strangers(value, depth + 1),
                }
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| without_strangers(item, depth + 1)),
        _ => {}
    }
}

/// Bounds of draft 4, where `exclusiveMinimum` says whether `minimum` is one of the values.
fn bounds(fields: &mut Map<String, Value>) {
    for (exclusive, bound) in [
        ("exclusiveMinimum", "minimum"),
        ("exclusiveMaximum", "maximum"),
    ] {
        let Some(Value::Bool(flag)) = fields.get(exclusive).cloned() else {
            continue;
        };
        fields.remove(exclusive);
        if flag && let Some(value) = fields.remove(bound) {
            fields.insert(exclusive.to_owned(), value);
        }
    }
}

/// The differences of two values, by JSON Pointer: what was there, and what is.
#[must_use]
pub fn differences(
    before: &Value,
    after: &Value,
) -> BTreeMap<String, (Option<Value>, Option<Value>)> {
    let mut found = BTreeMap::new();
    compare("", Some(before), Some(after), &mut found);
    found
}

fn compare(
    at: &str,
    before: Option<&Value>,
    after: Option<&Value>,
    found: &mut BTreeMap<String, (Option<Value>, Option<Value>)>,
) {
    match (before, after) {
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            for key in one
                .keys()
                .chain(other.keys().filter(|key| !one.contains_key(*key)))
            {
                let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                compare(&at, one.get(key), other.get(key), found);
            }
        }
        (one, other) if one == other => {}
        (one, other) => {
            found.insert(at.to_owned(), (one.cloned(), other.cloned()));
        }
    }
}
