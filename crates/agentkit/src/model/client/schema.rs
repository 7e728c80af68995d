//! Schemas for an answer: what the surfaces take of JSON Schema.
//!
//! A request with a schema that its surface does not take is refused as a whole, so such a schema is
//! told in words. Sources: the providers' guides to structured outputs, November 2026.

use serde_json::{Map, Value};
use units::ModelName;

use super::{ApiSurface, Provider};
use crate::model::ModelInfo;

/// Formats of text that both OpenAI and Anthropic know.
const FORMATS: [&str; 8] = [
    "date-time",
    "date",
    "time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "uuid",
];
/// What OpenAI's strict mode does not take.
const NOT_STRICT: [&str; 17] = [
    "allOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "patternProperties",
    "propertyNames",
    "unevaluatedProperties",
    "minProperties",
    "maxProperties",
    "contains",
    "uniqueItems",
    "minLength",
    "maxLength",
];

/// Whether a model, by its name with the provider, can be held to a schema for its answer.
pub(crate) fn is_held(name: &str, info: &ModelInfo, schema: &Value, has_tools: bool) -> bool {
    let name = name.parse::<ModelName>().ok();
    let provider = name.and_then(|name| Provider::by_name(name.provider()));
    let surface = info.surface.or(provider.map(Provider::surface));
    let takes = match surface {
        Some(ApiSurface::Chat | ApiSurface::Responses) => is_object(schema),
        Some(ApiSurface::Messages) => is_object(schema) && is_plain(schema),
        Some(ApiSurface::GenerateContent) | None => true,
    };
    takes && info.holds_schema(has_tools)
}

fn is_object(schema: &Value) -> bool {
    schema.get("type").is_some_and(|kind| kind == "object")
}

/// Whether Anthropic takes a schema: every object in it is closed, and bounds of values are left to
/// whoever reads the answer.
fn is_plain(schema: &Value) -> bool {
    let Some(map) = schema.as_object() else {
        return false;
    };
    let all = |value: &Value| {
        value
            .as_object()
            .is_some_and(|map| map.values().all(is_plain))
    };
    let plain = |(key, value): (&String, &Value)| match key.as_str() {
        "type" | "title" | "description" | "default" | "enum" | "const" | "required" => true,
        "format" => is_format(value),
        "minItems" => matches!(value.as_u64(), Some(0 | 1)),
        "additionalProperties" => *value == Value::Bool(false),
        "properties" | "$defs" | "definitions" => all(value),
        "items" => is_plain(value),
        "anyOf" => value.as_array().is_some_and(|all| all.iter().all(is_plain)),
        _ => false,
    };
    let has_members = map.contains_key("properties") || is_object(schema);
    (!has_members || map.contains_key("additionalProperties")) && map.iter().all(plain)
}

fn is_format(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|format| FORMATS.contains(&format))
}

/// Whether OpenAI's strict mode takes the schema: every object in it is closed, and requires all
/// of its properties.
pub(super) fn is_strict(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => {
            (!is_object(schema) || is_closed(map))
                && !NOT_STRICT.iter().any(|key| map.contains_key(*key))
                && map
                    .get("format")
                    .is_none_or(|format| !format.is_string() || is_format(format))
                && map.values().all(is_strict)
        }
        Value::Array(items) => items.iter().all(is_strict),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

fn is_closed(map: &Map<String, Value>) -> bool {
    let names = map.get("properties").and_then(Value::as_object);
    let required = map.get("required").and_then(Value::as_array);
    map.get("additionalProperties") == Some(&Value::Bool(false))
        && names.map_or(0, Map::len) == required.map_or(0, Vec::len)
}
