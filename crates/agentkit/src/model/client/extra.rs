//! Request fields of a model's row, beside those that the client writes: the effort of reasoning, `top_p`, `seed`.

use serde_json::{Map, Value, value::RawValue};

use super::fields::Fields;

/// Fields that the client writes, or that change how it has to read the answer.
const OWN: &[&str] = &[
    "background",
    "contents",
    "conversation",
    "include",
    "input",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens",
    "messages",
    "model",
    "n",
    "previous_response_id",
    "response_format",
    "store",
    "stream",
    "stream_options",
    "system",
    "systemInstruction",
    "temperature",
    "tools",
];

/// A field that no row may have.
pub(crate) fn own(fields: &Map<String, Value>) -> Option<&str> {
    let mut names = fields.keys().map(String::as_str);
    names.find(|name| OWN.contains(name))
}

/// The body with the fields. Within an object of both, a field of the client wins: the schema of the answer, and the
/// limit of its length. Values of the body keep their text.
pub(super) fn with(body: Vec<u8>, fields: &Map<String, Value>) -> Vec<u8> {
    if fields.is_empty() {
        return body;
    }
    let ours = std::str::from_utf8(&body).ok().and_then(Fields::read);
    match ours {
        Some(ours) => object(&ours, fields).into_bytes(),
        None => body,
    }
}

fn object(ours: &Fields<'_>, fields: &Map<String, Value>) -> String {
    let kept = ours
        .entries()
        .map(|(name, raw)| (name, merged(raw, fields.get(name))));
    let new = fields
        .iter()
        .filter(|(name, _)| !ours.names().any(|ours| ours == *name));
    let new = new.map(|(name, value)| (name.as_str(), value.to_string()));
    let entries = kept.chain(new);
    let entries: Vec<String> = entries
        .map(|(name, value)| format!("{}:{value}", Value::from(name)))
        .collect();
    format!("{{{}}}", entries.join(","))
}

fn merged(ours: &RawValue, field: Option<&Value>) -> String {
    match (Fields::of(ours), field) {
        (Some(ours), Some(Value::Object(field))) => object(&ours, field),
        (Some(_) | None, _) => ours.get().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_stand_beside_those_of_the_client_which_keep_their_text() {
        let fields = json!({"seed": 7, "text": {"verbosity": "low", "format": "none"}, "reasoning": {"effort": "low"}});
        let fields = fields.as_object().unwrap();
        let body = r#"{"model":"m","id":12345678901234567890123,"text":{"format":{"type":"json_schema"}}}"#;
        let merged = with(body.into(), fields);
        let merged = String::from_utf8(merged).unwrap();
        assert!(merged.contains("12345678901234567890123"), "{merged}");
        let mut merged: Map<String, Value> = serde_json::from_str(&merged).unwrap();
        merged.remove("id");
        assert_eq!(
            Value::from(merged),
            json!({
                "model": "m", "seed": 7,
                "text": {"format": {"type": "json_schema"}, "verbosity": "low"},
                "reasoning": {"effort": "low"},
            })
        );
        assert_eq!(with(body.into(), &Map::new()), body.as_bytes());
        assert_eq!(own(fields), None);
        assert_eq!(
            own(json!({"top_p": 1, "stream": true}).as_object().unwrap()),
            Some("stream")
        );
    }
}
