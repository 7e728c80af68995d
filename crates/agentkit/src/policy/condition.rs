//! What a rule asks of a call's arguments.

use std::borrow::Cow;

use serde_json::Value;

use super::{pattern::matches, spelling::Kind};

/// A condition on one argument: where it is, and what it has to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    path: Vec<String>,
    /// What the argument is, if its name says so.
    kind: Option<Kind>,
    test: Test,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    /// A text that matches this pattern as a whole.
    Text(String),
    /// This number or truth value.
    Equal(Value),
    /// A number within these bounds, both inclusive.
    Range { min: f64, max: f64 },
    /// Any of these.
    Any(Vec<Test>),
}

/// A condition that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidCondition(String);

impl Condition {
    /// A condition on the argument at `path`: a JSON pointer (`/to/0/address`), or names with dots
    /// between them (`to.address`).
    ///
    /// The value is a text pattern in which `*` stands for any number of characters, a number or a
    /// truth value that the argument has to equal, an array of which one has to hold, or an object
    /// with `min`, `max` or both, between which a number has to be.
    ///
    /// An argument whose name is `path` or `url`, or ends with `_path` or `_url`, is looked at as it is
    /// written and in its plain spelling: a rule that restricts speaks of it if either matches, one
    /// that permits only if both do.
    ///
    /// # Errors
    /// If the path is empty, or the value is none of these.
    pub fn new(path: &str, value: &Value) -> Result<Self, InvalidCondition> {
        let parts: Vec<String> = match path.strip_prefix('/') {
            Some(pointer) => pointer
                .split('/')
                .map(|part| part.replace("~1", "/").replace("~0", "~"))
                .collect(),
            None => path.split('.').map(str::to_owned).collect(),
        };
        if parts.iter().any(String::is_empty) {
            let message = format!("`{path}` names no argument: write `name`, `a.b` or `/a/b`");
            return Err(InvalidCondition(message));
        }
        let kind = parts.last().and_then(|name| Kind::of(name));
        let test = Test::new(value, kind)
            .map_err(|reason| InvalidCondition(format!("the condition on `{path}` {reason}")))?;
        let path = parts;
        Ok(Self { path, kind, test })
    }

    /// Whether it holds for the argument, if there is one. Of a list, for any of its items.
    pub(super) fn holds_for_any(&self, arguments: &Value) -> bool {
        self.values(arguments)
            .into_iter()
            .any(|value| self.spellings(value).any(|value| self.test.holds(&value)))
    }

    /// Whether it holds for the argument, if there is one. Of a list, for each of its items.
    pub(super) fn holds_for_all(&self, arguments: &Value) -> bool {
        let values = self.values(arguments);
        !values.is_empty()
            && values
                .into_iter()
                .all(|value| self.spellings(value).all(|value| self.test.holds(&value)))
    }

    /// The value as it is written and, if that is another one, in its plain spelling.
    fn spellings<'a>(&self, value: &'a Value) -> impl Iterator<Item = Cow<'a, Value>> {
        let plain = self.kind.zip(value.as_str());
        let plain = plain.and_then(|(kind, text)| kind.plain(text));
        let plain = plain.map(|text| Cow::Owned(Value::String(text)));
        std::iter::once(Cow::Borrowed(value)).chain(plain)
    }

    /// What is at the path. A list on the way stands for its items, unless the path counts them.
    fn values<'a>(&self, arguments: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![arguments];
        for part in &self.path {
            found = found
                .into_iter()
                .flat_map(|value| match value {
                    Value::Object(members) => members.get(part).into_iter().collect(),
                    Value::Array(items) => match part.parse::<usize>() {
                        Ok(index) => items.get(index).into_iter().collect(),
                        Err(_) => items.iter().filter_map(|item| item.get(part)).collect(),
                    },
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                        Vec::new()
                    }
                })
                .collect();
        }
        let mut values = Vec::new();
        for value in found {
            match value {
                Value::Array(items) => values.extend(items),
                other => values.push(other),
            }
        }
        values
    }
}

impl Test {
    fn new(value: &Value, kind: Option<Kind>) -> Result<Self, String> {
        match value {
            Value::String(pattern) => {
                let text = Self::Text(pattern.clone());
                Ok(match kind.and_then(|kind| kind.pattern(pattern)) {
                    Some(plain) => Self::Any(vec![text, Self::Text(plain)]),
                    None => text,
                })
            }
            Value::Bool(_) | Value::Number(_) => Ok(Self::Equal(value.clone())),
            Value::Array(items) if items.is_empty() => {
                Err("can never hold: its list is empty".into())
            }
            Value::Array(items) => Ok(Self::Any(
                items
                    .iter()
                    .map(|item| Self::new(item, kind))
                    .collect::<Result<_, _>>()?,
            )),
            Value::Object(bounds) => {
                let bound = |name: &str, without: f64| match bounds.get(name) {
                    None => Ok(without),
                    Some(bound) => bound
                        .as_f64()
                        .ok_or(format!("has a `{name}` that is no number")),
                };
                let known = |name: &&String| matches!(name.as_str(), "min" | "max");
                if let Some(other) = bounds.keys().find(|name| !known(name)) {
                    return Err(format!("has `{other}`, but knows only `min` and `max`"));
                }
                if bounds.is_empty() {
                    return Err("has neither `min` nor `max`".into());
                }
                let (min, max) = (
                    bound("min", f64::NEG_INFINITY)?,
                    bound("max", f64::INFINITY)?,
                );
                if min > max {
                    return Err(format!("can never hold: {min} is above {max}"));
                }
                Ok(Self::Range { min, max })
            }
            Value::Null => Err("has no value".into()),
        }
    }

    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Text(pattern) => value.as_str().is_some_and(|text| matches(pattern, text)),
            // 1 and 1.0 are one number to a person who writes a rule.
            Self::Equal(Value::Number(number)) => value.as_f64() == number.as_f64(),
            Self::Equal(expected) => value == expected,
            Self::Range { min, max } => value
                .as_f64()
                .is_some_and(|number| (*min..=*max).contains(&number)),
            Self::Any(tests) => tests.iter().any(|test| test.holds(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_hold_for_what_they_describe() {
        for (path, value, arguments, any, all) in [
            (
                "url",
                json!("https://*"),
                json!({"url": "https://a.b/c"}),
                true,
                true,
            ),
            (
                "url",
                json!("https://*"),
                json!({"url": "http://a.b/c"}),
                false,
                false,
            ),
            ("url", json!("https://*"), json!({}), false, false),
            ("url", json!("https://*"), json!({"url": 5}), false, false),
            (
                "to.name",
                json!("a"),
                json!({"to": {"name": "a"}}),
                true,
                true,
            ),
            (
                "/to/0/name",
                json!("a"),
                json!({"to": [{"name": "a"}]}),
                true,
                true,
            ),
            ("/a~1b", json!(true), json!({"a/b": true}), true, true),
            (
                "to.name",
                json!("a"),
                json!({"to": [{"name": "a"}, {"name": "b"}]}),
                true,
                false,
            ),
            (
                "cmd",
                json!("rm*"),
                json!({"cmd": ["rm", "-rf"]}),
                true,
                false,
            ),
            (
                "cmd",
                json!(["rm", "-*"]),
                json!({"cmd": ["rm", "-rf"]}),
                true,
                true,
            ),
            ("n", json!(3), json!({"n": 3.0}), true, true),
            ("n", json!(3), json!({"n": "3"}), false, false),
            ("n", json!(false), json!({"n": false}), true, true),
            (
                "n",
                json!({"min": 1, "max": 5}),
                json!({"n": 5}),
                true,
                true,
            ),
            ("n", json!({"min": 1}), json!({"n": 0.5}), false, false),
            ("n", json!({"max": 5}), json!({"n": -1e300}), true, true),
            ("n", json!({"max": 5}), json!({"n": "4"}), false, false),
        ] {
            let condition = Condition::new(path, &value).unwrap();
            assert_eq!(
                condition.holds_for_any(&arguments),
                any,
                "{path} {value} {arguments}"
            );
            assert_eq!(
                condition.holds_for_all(&arguments),
                all,
                "{path} {value} {arguments}"
            );
        }
    }

    #[test]
    fn a_condition_that_can_never_hold_is_refused() {
        for (path, value, message) in [
            (
                "",
                json!("x"),
                "`` names no argument: write `name`, `a.b` or `/a/b`",
            ),
            (
                "a..b",
                json!("x"),
                "`a..b` names no argument: write `name`, `a.b` or `/a/b`",
            ),
            (
                "n",
                json!({"least": 1}),
                "the condition on `n` has `least`, but knows only `min` and `max`",
            ),
            (
                "n",
                json!({}),
                "the condition on `n` has neither `min` nor `max`",
            ),
            (
                "n",
                json!({"min": "a"}),
                "the condition on `n` has a `min` that is no number",
            ),
            (
                "n",
                json!({"min": 5, "max": 1}),
                "the condition on `n` can never hold: 5 is above 1",
            ),
            (
                "n",
                json!([]),
                "the condition on `n` can never hold: its list is empty",
            ),
        ] {
            assert_eq!(
                Condition::new(path, &value).unwrap_err().to_string(),
                message
            );
        }
    }
}
