//! Schemas that say less than their authors mean.

use serde_json::Value;

use super::document::subschemas;

/// Keywords that constrain a value, of all drafts.
const CONSTRAIN: [&str; 46] = [
    "$dynamicRef",
    "$recursiveRef",
    "$ref",
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "contains",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "if",
    "items",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "propertyNames",
    "required",
    "then",
    "type",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
];
/// Keywords with another meaning.
const DESCRIBE: [&str; 20] = [
    "$anchor",
    "$comment",
    "$defs",
    "$dynamicAnchor",
    "$id",
    "$recursiveAnchor",
    "$schema",
    "$vocabulary",
    "default",
    "definitions",
    "deprecated",
    "description",
    "discriminator",
    "example",
    "examples",
    "id",
    "nullable",
    "readOnly",
    "title",
    "writeOnly",
];

/// The schema itself, where it stands in the wrapper in which a provider's interface takes one:
/// `{"name": .., "strict": .., "schema": {..}}`, alone or as `json_schema` of a `response_format`.
#[must_use]
pub fn unwrapped(value: &Value) -> &Value {
    const WRAPPER: [&str; 5] = ["description", "name", "schema", "strict", "type"];
    let Value::Object(map) = value else {
        return value;
    };
    let is_format = map.get("type").is_some_and(|kind| kind == "json_schema");
    if is_format && let Some(wrapper @ Value::Object(_)) = map.get("json_schema") {
        return unwrapped(wrapper);
    }
    let is_wrapper = map.keys().all(|key| WRAPPER.contains(&key.as_str()));
    match map.get("schema").filter(|schema| schema.is_object()) {
        Some(schema) if is_wrapper && (is_format || !map.contains_key("type")) => schema,
        _ => value,
    }
}

/// A part of a schema without a meaning, if there is such a part: a keyword that is like a known
/// one, or no keyword at all where some were meant. The place as a JSON Pointer, and a sentence.
#[must_use]
pub fn meaningless(schema: &Value) -> Option<(String, String)> {
    let mut left = vec![(String::new(), schema)];
    while let Some((at, value)) = left.pop() {
        let Value::Object(map) = value else {
            continue;
        };
        if let Some(wrong) = map.keys().find_map(|key| misspelt(key)) {
            return Some((at, wrong));
        }
        if at.is_empty()
            && !map.is_empty()
            && !map.keys().any(|key| CONSTRAIN.contains(&key.as_str()))
        {
            let keys: Vec<&str> = map.keys().take(5).map(String::as_str).collect();
            let message = format!(
                "it constrains nothing, so that any JSON would match: none of its keys (`{}`) is a \
                 keyword that does; write {{\"type\": \"object\", \"properties\": {{..}}}}, or {{}} if any \
                 JSON is right",
                keys.join("`, `")
            );
            return Some((at, message));
        }
        subschemas(map, &mut |way, inner| {
            left.push((format!("{at}/{way}"), inner))
        });
    }
    None
}

fn misspelt(key: &str) -> Option<String> {
    let known = || CONSTRAIN.into_iter().chain(DESCRIBE);
    if known().any(|other| other == key) || key.starts_with("x-") {
        return None;
    }
    let near = known().filter_map(|other| Some((distance(key, other)?, other)));
    let (_, near) = near.min()?;
    let shown: String = key.chars().take(80).collect();
    Some(format!(
        "there is no keyword `{shown}`; did you mean `{near}`?"
    ))
}

/// The typing errors between a key and a keyword, case apart, if it is much like it. Annotations of
/// all kinds stand in schemas, and a short name is like many others by chance.
fn distance(key: &str, keyword: &str) -> Option<usize> {
    let plain = |name: &str| name.to_lowercase().replace(['-', '_'], "");
    if key.len() > 40 || keyword.len() < 4 {
        return None;
    }
    let (key, keyword) = (plain(key), plain(keyword));
    let most = if keyword.len() > 6 { 2 } else { 1 };
    Some(strsim::osa_distance(&key, &keyword)).filter(|distance| *distance <= most)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// tools/T11
    #[test]
    fn what_means_nothing_is_named() {
        for (schema, says) in [
            (
                json!({"propertes": {"a": {}}, "type": "object"}),
                "did you mean `properties`?",
            ),
            (
                json!({"type": "object", "properties": {"a": {"typ": "string"}}}),
                "did you mean `type`?",
            ),
            (
                json!({"type": "object", "require": ["a"]}),
                "did you mean `required`?",
            ),
            (
                json!({"type": "object", "additional_properties": false}),
                "did you mean `additionalProperties`?",
            ),
            (
                json!({"anyOf": [{"min_length": 1}]}),
                "did you mean `minLength`?",
            ),
            (json!({"answer": "string"}), "it constrains nothing"),
            (
                json!({"title": "T", "description": "d"}),
                "it constrains nothing",
            ),
        ] {
            let (_, said) = meaningless(&schema).unwrap_or_default();
            assert!(said.contains(says), "{schema}: {said}");
        }
        let (at, _) = meaningless(&json!({"properties": {"a/b": {"propertes": {}}}})).unwrap();
        assert_eq!(at, "/properties/a~1b");
        for schema in [
            json!({}),
            json!({"type": "object", "properties": {"propertes": {"type": "string"}, "typ": {}}}),
            json!({"type": "object", "x-order": 1, "nullable": true, "propertyOrdering": ["a"], "name": "n"}),
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"enum": [1]}}}),
        ] {
            assert_eq!(meaningless(&schema), None, "{schema}");
        }
    }

    /// tools/T11
    #[test]
    fn a_providers_wrapper_is_taken_off() {
        let schema = json!({"type": "object"});
        for wrapped in [
            json!({"name": "answer", "strict": true, "schema": schema}),
            json!({"name": "answer", "schema": schema, "description": "d"}),
            json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}),
            json!({"type": "json_schema", "name": "answer", "schema": schema, "strict": true}),
            json!({"schema": schema}),
        ] {
            assert_eq!(unwrapped(&wrapped), &schema, "{wrapped}");
        }
        for plain in [
            schema,
            json!({"type": "object", "name": "n", "schema": {"type": "string"}}),
            json!({"name": "answer"}),
            json!({"schema": "x"}),
        ] {
            assert_eq!(unwrapped(&plain), &plain);
        }
    }
}
