//! One text for each JSON value, so that equal requests have equal digests.

use serde_json::Value;

/// The value with sorted keys and without space.
pub(crate) fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, value);
    out
}

fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.iter().collect();
            keys.sort_unstable_by_key(|(key, _)| *key);
            out.push(b'{');
            for (index, (key, value)) in keys.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                super::write::value(out, key);
                out.push(b':');
                write(out, value);
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(out, item);
            }
            out.push(b']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            super::write::value(out, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_space_do_not_matter() {
        let one =
            serde_json::from_str(r#"{"b": [1, {"y": 1, "x": "\u0041"}], "a": null}"#).unwrap();
        let text = String::from_utf8(canonical(&one)).unwrap();
        assert_eq!(text, r#"{"a":null,"b":[1,{"x":"A","y":1}]}"#);
    }
}
