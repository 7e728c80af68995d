//! Opaque parts of an answer: what a provider wants back exactly as it sent it.

use serde_json::{Value, json};

/// Makes the value that a log keeps: the model that the parts belong to, and their JSON as text,
/// so that no byte of it changes on the way through a log.
pub(super) fn keep(model: &str, json: String) -> Value {
    json!({ "model": model, "json": json })
}

/// The JSON text, if the parts belong to this model: another one could not read them.
pub(super) fn replay<'a>(parts: Option<&'a Value>, model: &str) -> Option<&'a str> {
    let parts = parts?;
    let of_model = parts.get("model")?.as_str()? == model;
    parts.get("json")?.as_str().filter(|_| of_model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_model_that_sent_them_gets_them_back() {
        let text = r#"[{"b":1.0,"a":"\u00e4"}]"#;
        let parts = keep("anthropic/x", text.to_owned());
        let stored: Value = serde_json::from_str(&parts.to_string()).unwrap();
        assert_eq!(replay(Some(&stored), "anthropic/x"), Some(text));
        assert_eq!(replay(Some(&stored), "anthropic/y"), None);
        assert_eq!(replay(Some(&json!({"opaque": ["AbC="]})), "x"), None);
        assert_eq!(replay(None, "x"), None);
    }
}
