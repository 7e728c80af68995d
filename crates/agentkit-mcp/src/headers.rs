//! Headers that repeat parts of a request of the newer era, for routers (SEP-2243).

use std::collections::BTreeSet;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

/// The keyword of a schema that names a header.
const KEYWORD: &str = "x-mcp-header";

/// The span of a call, by W3C Trace Context: a key of `_meta`, and a header.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// A value as it stands in a header: as it is, or in base64 where a header could not hold it.
pub(crate) fn encode(value: &str) -> String {
    let plain = value.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        && !value.starts_with([' ', '\t'])
        && !value.ends_with([' ', '\t']);
    let seems_encoded = value.starts_with("=?base64?") && value.ends_with("?=");
    match plain && !seems_encoded {
        true => value.to_owned(),
        false => format!("=?base64?{}?=", BASE64_STANDARD.encode(value)),
    }
}

/// The headers of a call: arguments that the tool's schema wants repeated.
pub(crate) fn of_call(schema: &Value, arguments: &Value) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    collect(schema, &mut |path, _, name| {
        let value = path.iter().try_fold(arguments, |value, key| value.get(key));
        let text = match value {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Bool(flag)) => flag.to_string(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => return,
        };
        if let Some(name) = name.as_str() {
            headers.push((format!("Mcp-Param-{name}"), encode(&text)));
        }
    });
    headers
}

/// The mistake of the headers that a schema names, if there is a mistake.
pub(crate) fn check(schema: &Value) -> Result<(), String> {
    let Some(root) = schema.as_object() else {
        return Ok(());
    };
    if is_off_chain(root, true) || root.contains_key(KEYWORD) {
        return Err(format!("`{KEYWORD}` stands where no argument is"));
    }
    let mut seen = BTreeSet::new();
    let mut wrong = None;
    collect(schema, &mut |path, property, name| {
        let at = path.join(".");
        let problem = match name.as_str() {
            None => Some("is no text".to_owned()),
            Some("") => Some("is empty".to_owned()),
            Some(name) if !name.chars().all(is_token) => {
                Some(format!("`{name}` is no name of a header"))
            }
            Some(name) if !seen.insert(name.to_ascii_lowercase()) => {
                Some(format!("`{name}` is named twice"))
            }
            Some(_) => match property["type"].as_str() {
                Some("string" | "integer" | "boolean") => None,
                _ => Some("is of an argument that is neither text, integer nor boolean".to_owned()),
            },
        };
        if let Some(problem) = problem {
            wrong.get_or_insert(format!("`{KEYWORD}` of `{at}` {problem}"));
        }
    });
    wrong.map_or(Ok(()), Err)
}

/// Every property with the keyword that the root reaches through `properties` alone.
fn collect<'a>(schema: &'a Value, found: &mut dyn FnMut(&[&'a str], &'a Value, &'a Value)) {
    fn below<'a>(
        schema: &'a Value,
        path: &mut Vec<&'a str>,
        found: &mut dyn FnMut(&[&'a str], &'a Value, &'a Value),
    ) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return;
        };
        for (name, property) in properties {
            path.push(name);
            if let Some(header) = property.get(KEYWORD) {
                found(path, property, header);
            }
            below(property, path, found);
            path.pop();
        }
    }
    below(schema, &mut Vec::new(), found);
}

/// Whether the keyword stands anywhere else.
fn is_off_chain(schema: &Map<String, Value>, on_chain: bool) -> bool {
    let map = |value: &Value, on_chain: bool| {
        value.as_object().is_some_and(|all| {
            all.values()
                .filter_map(Value::as_object)
                .any(|one| is_off_chain(one, on_chain))
        })
    };
    schema.iter().any(|(key, value)| match key.as_str() {
        KEYWORD => !on_chain,
        "properties" => map(value, on_chain),
        "$defs" | "definitions" | "dependentSchemas" | "patternProperties" => map(value, false),
        "default" | "const" | "enum" | "examples" | "required" => false,
        _ => match value {
            Value::Object(one) => is_off_chain(one, false),
            Value::Array(all) => all
                .iter()
                .filter_map(Value::as_object)
                .any(|one| is_off_chain(one, false)),
            _ => false,
        },
    })
}

/// A character of a header's name (RFC 9110, 5.6.2).
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_that_no_header_holds_are_in_base64() {
        for (value, expected) in [
            ("plain text", "plain text"),
            (" x", "=?base64?IHg=?="),
            ("grün", "=?base64?Z3LDvG4=?="),
            ("a\nb", "=?base64?YQpi?="),
            ("=?base64?eA==?=", "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
            ("", ""),
        ] {
            assert_eq!(encode(value), expected);
        }
    }

    #[test]
    fn arguments_are_repeated_where_the_schema_says_so() {
        let schema = json!({"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "deep": {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
            "off": {"type": "boolean", "x-mcp-header": "Off"},
        }});
        assert_eq!(check(&schema), Ok(()));
        let headers = of_call(
            &schema,
            &json!({"region": "eu west", "deep": {"n": 4}, "off": null}),
        );
        assert_eq!(
            headers,
            [
                ("Mcp-Param-N".to_owned(), "4".to_owned()),
                ("Mcp-Param-Region".to_owned(), "eu west".to_owned())
            ]
        );
    }

    #[test]
    fn wrong_headers_are_refused() {
        for (properties, says) in [
            (
                json!({"a": {"type": "string", "x-mcp-header": ""}}),
                "is empty",
            ),
            (
                json!({"a": {"type": "string", "x-mcp-header": "a b"}}),
                "no name",
            ),
            (
                json!({"a": {"type": "string", "x-mcp-header": 1}}),
                "no text",
            ),
            (
                json!({"a": {"type": "object", "x-mcp-header": "A"}}),
                "neither",
            ),
            (
                json!({"a": {"type": "number", "x-mcp-header": "A"}}),
                "neither",
            ),
            (
                json!({"a": {"type": "string", "x-mcp-header": "A"}, "b": {"type": "string", "x-mcp-header": "a"}}),
                "twice",
            ),
            (
                json!({"a": {"type": "array", "items": {"type": "string", "x-mcp-header": "A"}}}),
                "no argument",
            ),
        ] {
            let error = check(&json!({"type": "object", "properties": properties})).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
