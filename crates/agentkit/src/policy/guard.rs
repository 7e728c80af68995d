//! Guards: what must not stand in the arguments of a call, or in a result. And the limits of calls.

use std::{borrow::Cow, sync::Arc, time::Duration};

use regex::Regex;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::Pattern;

/// A guard on the texts of calls.
#[derive(Debug, Clone)]
pub struct Guard {
    /// The tools.
    pub tool: Pattern,
    /// The guarded texts.
    pub of: Guarded,
    /// Texts that the expression is found in are refused or redacted.
    pub found: Regex,
    /// Why, for the model and for people.
    pub reason: Option<String>,
}

/// The texts that a guard looks at, and what becomes of a text that it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarded {
    /// Arguments: the call never runs.
    DenyArguments,
    /// Arguments: the call runs after a person's approval.
    AskAboutArguments,
    /// Results: the found text is taken out.
    RedactResult,
    /// Results: the call ran, and the model is not told its result.
    WithholdResult,
}

/// A bound on the calls of some tools.
#[derive(Debug, Clone)]
pub struct CallLimit {
    /// The tools.
    pub tool: Pattern,
    /// The longest that a call may take, where the tool itself allows more.
    pub timeout: Option<Duration>,
    /// Places for calls at once.
    pub places: Option<Arc<Semaphore>>,
}

impl Guard {
    /// Whether the guard finds something in any text of the arguments, names included.
    pub(super) fn finds(&self, arguments: &Value) -> bool {
        match arguments {
            Value::String(text) => self.found.is_match(text),
            Value::Array(items) => items.iter().any(|item| self.finds(item)),
            Value::Object(members) => members
                .iter()
                .any(|(name, value)| self.found.is_match(name) || self.finds(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                self.found.is_match(&arguments.to_string())
            }
        }
    }

    /// The sentence for a refusal.
    pub(super) fn because(&self) -> String {
        match &self.reason {
            Some(reason) => format!("a guard found what must not be there: {reason}"),
            None => format!("a guard found `{}`", self.found),
        }
    }

    /// A text of a result with what the guard finds taken out.
    fn redacted<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let reason = self.reason.as_deref().unwrap_or("by a guard");
        let note = format!("[taken out: {reason}]");
        self.found.replace_all(text, regex::NoExpand(&note))
    }
}

/// Guards on the results of a tool, applied to each text of a result.
#[derive(Debug, Clone, Default)]
pub struct ResultGuards(pub(super) Vec<Guard>);

impl ResultGuards {
    /// Whether there is no guard.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the guards of another policy.
    pub(super) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The text as the model may be told it.
    ///
    /// # Errors
    /// Why the model must not be told the result.
    pub fn text(&self, text: String) -> Result<String, String> {
        let mut text = text;
        for guard in &self.0 {
            match guard.of {
                Guarded::WithholdResult if guard.found.is_match(&text) => {
                    return Err(guard.because());
                }
                Guarded::RedactResult => {
                    if let Cow::Owned(redacted) = guard.redacted(&text) {
                        text = redacted;
                    }
                }
                Guarded::WithholdResult | Guarded::DenyArguments | Guarded::AskAboutArguments => {}
            }
        }
        Ok(text)
    }

    /// Each text of a value, names included.
    ///
    /// # Errors
    /// As [`ResultGuards::text`].
    pub fn value(&self, value: Value) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => Value::String(self.text(text)?),
            Value::Array(items) => {
                let items = items.into_iter().map(|item| self.value(item));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            Value::Object(members) => {
                let members = members
                    .into_iter()
                    .map(|(name, value)| Ok((self.text(name)?, self.value(value)?)));
                Value::Object(members.collect::<Result<_, String>>()?)
            }
            Value::Null | Value::Bool(_) => value,
            Value::Number(_) => {
                let text = value.to_string();
                match self.text(text.clone())? {
                    kept if kept == text => value,
                    redacted => Value::String(redacted),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn guard(of: Guarded, found: &str) -> Guard {
        Guard {
            tool: Pattern::any(),
            of,
            found: Regex::new(found).unwrap(),
            reason: Some("secret".to_owned()),
        }
    }

    #[test]
    fn every_text_of_a_result_is_guarded() {
        let guards = ResultGuards(vec![
            guard(Guarded::RedactResult, r"\b\d{4}-\d{4}\b"),
            guard(Guarded::RedactResult, r"^12345$"),
            guard(Guarded::WithholdResult, "PRIVATE KEY"),
        ]);
        let value = json!({"a 1111-2222": ["x 3333-4444 y", 12345, 7, null, true]});
        let expected = json!({"a [taken out: secret]": ["x [taken out: secret] y", "[taken out: secret]", 7, null, true]});
        assert_eq!(guards.value(value).unwrap(), expected);
        let error = guards
            .value(json!([["-----BEGIN PRIVATE KEY"]]))
            .unwrap_err();
        assert_eq!(error, "a guard found what must not be there: secret");
        assert_eq!(guards.text("a $0 b".to_owned()).unwrap(), "a $0 b");
    }

    #[test]
    fn arguments_are_looked_at_as_a_whole() {
        let guard = guard(Guarded::DenyArguments, r"rm\s+-rf|^42$");
        for (arguments, finds) in [
            (json!({"command": ["sh", "-c", "rm  -rf /"]}), true),
            (json!({"rm -rf": 1}), true),
            (json!({"n": 42}), true),
            (json!({"n": 420, "command": "ls"}), false),
        ] {
            assert_eq!(guard.finds(&arguments), finds, "{arguments}");
        }
    }
}
