//! JSON documents as tools read them: every number keeps the digits that it is written with.
//!
//! `serde_json::Value` holds numbers as `u64`, `i64` or `f64`, so an id of 23 digits comes back as
//! another one, and `1e400` makes the whole document unreadable. A [`Node`] keeps the text of such
//! a number instead, and takes less memory than a `Value`.

mod number;
mod reader;

use serde_json::Value;

pub(crate) use self::{
    number::Number,
    reader::{Limits, Problem, read},
};

/// A JSON value. Members of an object are sorted by name, each name once.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    String(Box<str>),
    Array(Box<[Node]>),
    Object(Box<[(Box<str>, Node)]>),
}

impl Node {
    /// The member of that name, if this is an object with such a member.
    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else {
            return None;
        };
        let at = members
            .binary_search_by(|(key, _)| (**key).cmp(name))
            .ok()?;
        Some(&members[at].1)
    }

    /// The target of a JSON Pointer (RFC 6901).
    pub(crate) fn pointer(&self, pointer: &str) -> Option<&Self> {
        if pointer.is_empty() {
            return Some(self);
        }
        let steps = pointer.strip_prefix('/')?.split('/');
        steps
            .map(|step| step.replace("~1", "/").replace("~0", "~"))
            .try_fold(self, |node, step| match node {
                Self::Array(items) => {
                    let plain = step == "0" || !step.starts_with(['0', '+']);
                    items.get(step.parse::<usize>().ok().filter(|_| plain)?)
                }
                other => other.member(&step),
            })
    }

    /// The value as other code takes it. A number that no `Value` holds exactly becomes a text of
    /// its digits; `as_text` counts those.
    pub(crate) fn to_value(&self, as_text: &mut usize) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(truth) => (*truth).into(),
            Self::Number(number) => number.to_value().unwrap_or_else(|| {
                *as_text += 1;
                Value::String(number.to_string())
            }),
            Self::String(text) => (**text).into(),
            Self::Array(items) => items.iter().map(|item| item.to_value(as_text)).collect(),
            Self::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|(name, member)| (name.to_string(), member.to_value(as_text)))
                    .collect(),
            ),
        }
    }
}

impl From<Value> for Node {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(truth) => Self::Bool(truth),
            Value::Number(number) => Self::Number(Number::read(&number.to_string())),
            Value::String(text) => Self::String(text.into()),
            Value::Array(items) => Self::Array(items.into_iter().map(Self::from).collect()),
            Value::Object(members) => {
                let mut members: Vec<(Box<str>, Self)> = members
                    .into_iter()
                    .map(|(name, member)| (name.into(), member.into()))
                    .collect();
                members.sort_by(|left, right| left.0.cmp(&right.0));
                Self::Object(members.into())
            }
        }
    }
}
