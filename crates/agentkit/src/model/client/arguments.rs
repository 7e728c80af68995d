//! The arguments of a call as a model wrote them: JSON, with what some models and servers put around
//! it taken off.

use std::borrow::Cow;

use serde_json::{Value, value::RawValue};

use super::{fields::Fields, text::without_halves};

/// The arguments without what is around them: JSON in a JSON string, in a fence, or before the mark
/// that ends a call. What holds no object stays as it is, so that the model can be told.
pub(super) fn unwrapped(arguments: String) -> String {
    if is_object(&arguments) {
        return match without_halves(&arguments) {
            Cow::Owned(fixed) => fixed,
            Cow::Borrowed(_) => arguments,
        };
    }
    let inner = arguments.trim();
    let written = serde_json::from_str::<String>(inner);
    let inner = written.as_deref().map_or(inner, str::trim);
    let inner = unfenced(inner);
    if is_object(inner) {
        return inner.to_owned();
    }
    match before_end_mark(inner) {
        Some(object) => object.to_owned(),
        None => arguments,
    }
}

fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{') && Fields::read(text).is_some()
}

/// The content of a fence that is all of the text.
fn unfenced(text: &str) -> &str {
    let inner = text
        .strip_prefix("```")
        .and_then(|text| text.trim_end().strip_suffix("```"));
    let inner = inner.map(|inner| inner.strip_prefix("json").unwrap_or(inner));
    inner.map_or(text, str::trim)
}

/// The object before marks that end a call, if nothing else follows it.
fn before_end_mark(text: &str) -> Option<&str> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let object = values.next()?.ok()?.get();
    let rest = text[values.byte_offset()..].trim();
    let is_mark = |mark: &str| {
        (mark.starts_with("</") || mark.starts_with("<|")) && mark.find('>') == Some(mark.len() - 1)
    };
    (object.starts_with('{') && rest.split_whitespace().all(is_mark)).then_some(object)
}

/// The value of a parameter that was written as text, by the schema of its tool: a text stays one.
pub(super) fn parameter(schema: &Value, name: &str, text: &str) -> Value {
    let kind = schema
        .get("properties")
        .and_then(|properties| properties.get(name)?.get("type"));
    match kind.and_then(Value::as_str) {
        Some("string") => Value::from(text),
        Some(_) | None => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_around_arguments_is_taken_off_once() {
        let plain = r#"{"path": "."}"#;
        for (written, arguments) in [
            (plain, plain),
            (" {\"a\":1}\n", " {\"a\":1}\n"),
            (r#""{\"path\": \".\"}""#, plain),
            ("```json\n{\"path\": \".\"}\n```", plain),
            ("```\n{\"path\": \".\"}```", plain),
            (r#""```json\n{\"path\": \".\"}\n```""#, plain),
            ("{\"path\": \".\"}</tool_call>", plain),
            ("{\"path\": \".\"}\n</tool_call> <|im_end|>\n", plain),
            (r#"{"a":"\ud83d"}"#, r#"{"a":"\ufffd"}"#),
            // Nothing of these is guessed.
            (r#""\"{}\"""#, r#""\"{}\"""#),
            (r#"{"a":1}{"a":2}"#, r#"{"a":1}{"a":2}"#),
            (r#"{"a":1} and more"#, r#"{"a":1} and more"#),
            (r#"{"a":1}<b>"#, r#"{"a":1}<b>"#),
            ("{\"path\": ", "{\"path\": "),
            ("\"text\"", "\"text\""),
            ("[{}]", "[{}]"),
            ("", ""),
        ] {
            assert_eq!(unwrapped(written.to_owned()), arguments, "{written}");
        }
    }

    #[test]
    fn a_parameter_is_of_the_type_that_its_schema_says() {
        let schema = serde_json::json!({"properties": {
            "text": {"type": "string"}, "count": {"type": "integer"}, "any": {}}});
        for (name, text, value) in [
            ("text", "5", Value::from("5")),
            ("count", "5", Value::from(5)),
            ("count", "five", Value::from("five")),
            ("any", "[1]", serde_json::json!([1])),
            ("none", "true", Value::from(true)),
        ] {
            assert_eq!(parameter(&schema, name, text), value, "{name} {text}");
        }
    }
}
