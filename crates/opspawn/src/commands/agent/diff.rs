//! What differs between two definitions.

use serde_json::{Value, json};

use crate::output::{field, show};

/// Each key that differs, with its value before and after.
pub(super) fn changes(before: &Value, after: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    walk(String::new(), before, after, &mut found);
    found
}

fn walk(path: String, before: &Value, after: &Value, found: &mut Vec<Value>) {
    if before == after {
        return;
    }
    let (Some(one), Some(two)) = (before.as_object(), after.as_object()) else {
        if let (true, Some(fields)) = (before.is_null(), after.as_object()) {
            let none = Value::Null;
            let fields = fields.iter();
            return fields.for_each(|(key, value)| walk(join(&path, key), &none, value, found));
        }
        found.push(json!({"key": path, "before": before, "after": after}));
        return;
    };
    let mut keys: Vec<&String> = one.keys().chain(two.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let (before, after) = (&before[key.as_str()], &after[key.as_str()]);
        walk(join(&path, key), before, after, found);
    }
}

fn join(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    }
}

/// Prints a change: texts of several lines by their lines.
pub(super) fn print(change: &Value) {
    show!("  {}", field(change, "key"));
    let lines = |value: &Value| match value {
        Value::Null => Vec::new(),
        Value::String(text) => text.lines().map(str::to_owned).collect(),
        other => vec![other.to_string()],
    };
    let (before, after) = (lines(&change["before"]), lines(&change["after"]));
    let head = before
        .iter()
        .zip(&after)
        .take_while(|(one, two)| one == two)
        .count();
    let tail = before[head..]
        .iter()
        .rev()
        .zip(after[head..].iter().rev())
        .take_while(|(one, two)| one == two)
        .count();
    for line in &before[head..before.len() - tail] {
        show!("  - {line}");
    }
    for line in &after[head..after.len() - tail] {
        show!("  + {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named_by_its_key() {
        let before = json!({"name": "a", "limits": {"max_steps": 3, "timeout": 9}, "tools": ["x"]});
        let after =
            json!({"name": "a", "limits": {"max_steps": 4, "timeout": 9}, "planner": "react"});
        assert_eq!(
            changes(&before, &after),
            [
                json!({"key": "limits.max_steps", "before": 3, "after": 4}),
                json!({"key": "planner", "before": null, "after": "react"}),
                json!({"key": "tools", "before": ["x"], "after": null}),
            ]
        );
        assert!(changes(&before, &before).is_empty());
        let new = changes(&Value::Null, &json!({"name": "a"}));
        assert_eq!(new, [json!({"key": "name", "before": null, "after": "a"})]);
    }
}
