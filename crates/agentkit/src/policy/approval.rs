//! Terms of an approval: how long the call waits, who is asked next, and the call that the reviewer is shown.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::event::PreviewCall;

/// Terms under which a call waits for approval.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApprovalTerms {
    /// How long the call waits before it fails; `None` for the run's deadline.
    pub timeout: Option<Duration>,
    /// The group that is asked once the first reviewers have not answered.
    pub escalation: Option<EscalationTerms>,
    /// The read-only call that shows the reviewer what is at stake.
    pub preview: Option<Previewer>,
}

impl ApprovalTerms {
    /// The terms where two ask about one call: what ends sooner ends it, whichever of the two was first.
    #[must_use]
    pub(super) fn and(self, other: Self) -> Self {
        let sooner = |one: EscalationTerms, other: EscalationTerms| match other.after < one.after {
            true => other,
            false => one,
        };
        Self {
            timeout: match (self.timeout, other.timeout) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            },
            escalation: match (self.escalation, other.escalation) {
                (Some(one), Some(other)) => Some(sooner(one, other)),
                (one, other) => one.or(other),
            },
            preview: self.preview.or(other.preview),
        }
    }
}

/// When an unanswered approval goes to another group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EscalationTerms {
    /// How long the first reviewers have.
    pub after: Duration,
    /// Name of the group that is asked then.
    pub to: String,
}

/// What becomes of an approval without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expiry {
    /// The approval stays open until the run's deadline.
    Stay,
    /// The call fails after this time.
    Deny(Duration),
    /// Another group is asked.
    Escalate {
        /// When, and which group.
        terms: EscalationTerms,
        /// How long that group has; then the call fails. `None` for the run's deadline.
        then: Option<Duration>,
    },
}

impl Expiry {
    /// The terms of an approval that ends like this.
    pub(super) fn terms(&self) -> ApprovalTerms {
        match self {
            Self::Stay => ApprovalTerms::default(),
            Self::Deny(after) => ApprovalTerms {
                timeout: Some(*after),
                ..ApprovalTerms::default()
            },
            Self::Escalate { terms, then } => ApprovalTerms {
                timeout: then.map(|then| terms.after.saturating_add(then)),
                escalation: Some(terms.clone()),
                preview: None,
            },
        }
    }
}

/// A rule's preview: a tool that only reads, and the arguments that it gets.
///
/// A text that is `{name}` or `{/json/pointer}` as a whole stands for that argument of the call; an absent
/// argument is left out. Every other value stands for itself. No text is put together of parts, so that no
/// argument of the call can change which place the preview looks at beyond the argument itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Previewer {
    /// The tool that looks.
    pub tool: String,
    /// Arguments of the tool, with placeholders.
    pub arguments: Map<String, Value>,
}

impl Previewer {
    /// The preview of a call with these arguments.
    #[must_use]
    pub fn of(&self, input: &Value) -> PreviewCall {
        let filled = self.arguments.iter();
        let filled = filled.filter_map(|(key, value)| Some((key.clone(), fill(value, input)?)));
        PreviewCall {
            tool: self.tool.clone(),
            input: Value::Object(filled.collect()),
        }
    }
}

/// The value with its placeholders filled in; `None` for a placeholder of an absent argument.
fn fill(value: &Value, input: &Value) -> Option<Value> {
    match value {
        Value::String(text) => match placeholder(text) {
            Some(path) if path.starts_with('/') => input.pointer(path).cloned(),
            Some(name) => input.get(name).cloned(),
            None => Some(value.clone()),
        },
        Value::Array(items) => Some(items.iter().filter_map(|item| fill(item, input)).collect()),
        Value::Object(fields) => {
            let filled = fields.iter();
            let filled = filled.filter_map(|(key, value)| Some((key.clone(), fill(value, input)?)));
            Some(Value::Object(filled.collect()))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Some(value.clone()),
    }
}

/// The argument that a text stands for as a whole.
fn placeholder(text: &str) -> Option<&str> {
    let name = text.strip_prefix('{')?.strip_suffix('}')?;
    (!name.is_empty() && !name.contains(['{', '}', '"'])).then_some(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_preview_gets_arguments_of_the_call_and_puts_no_text_together() {
        let arguments = json!({
            "id": "{id}", "city": "{/address/city}", "deep": {"list": ["{id}", "{gone}", 1]},
            "gone": "{gone}", "text": "no {id} here", "braces": "{}", "literal": true,
        });
        let Value::Object(arguments) = arguments else {
            unreachable!()
        };
        let previewer = Previewer {
            tool: "look".into(),
            arguments,
        };
        let input = json!({"id": 7, "address": {"city": "../x"}});
        assert_eq!(
            previewer.of(&input).input,
            json!({
                "id": 7, "city": "../x", "deep": {"list": [7, 1]}, "text": "no {id} here",
                "braces": "{}", "literal": true,
            })
        );
        assert_eq!(previewer.of(&Value::Null).input["literal"], true);
    }
}
