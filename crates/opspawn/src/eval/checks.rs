//! What must hold of a run.

use std::collections::BTreeMap;

use agentkit::planner::check_new_schema;
use bounded::schema::{self, Schema};
use regex::Regex;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::output;

/// The most statements of a case: each is a call of the judge.
const MAX_STATEMENTS: usize = 20;
/// The most characters of an answer in a sentence.
const EXCERPT_LIMIT: usize = 120;

/// One text or a list of them.
#[derive(Debug, Default)]
pub(super) struct Texts(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrMany {
            One(String),
            Many(Vec<String>),
        }
        Ok(match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(text) => Self(vec![text]),
            OneOrMany::Many(texts) => Self(texts),
        })
    }
}

/// The checks of a case.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// The whole answer: as text without the white space around it, or as JSON.
    pub(crate) equals: Option<Value>,
    /// Statements that a model decides about.
    pub(crate) judge: Vec<String>,
    /// Texts that the answer has in it.
    pub(crate) contains: Vec<String>,
    /// Texts that it has not.
    pub(crate) not_contains: Vec<String>,
    /// Patterns that match somewhere in it.
    pub(crate) regex: Vec<String>,
    /// Values of the answer as JSON, by JSON Pointer (RFC 6901).
    pub(crate) json: BTreeMap<String, Value>,
    /// A JSON Schema of the answer as JSON.
    pub(crate) schema: Option<Value>,
    /// Tools that are called.
    pub(crate) calls: Vec<String>,
    /// Tools that are not.
    pub(crate) never_calls: Vec<String>,
    /// Model and tool calls at the most.
    pub(crate) max_steps: Option<u32>,
    /// Input and output tokens at the most.
    pub(crate) max_tokens: Option<u64>,
    /// Money at the most.
    pub(crate) max_cost_usd: Option<f64>,
    /// Calls that the recording does not have, at the most.
    pub(crate) max_divergences: usize,
}

/// What checks look at.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) answer: &'a Value,
    pub(super) calls: &'a [String],
    pub(super) steps: u32,
    pub(super) tokens: u64,
    pub(super) cost_micros: u64,
    pub(super) divergences: usize,
}

impl Checks {
    /// What cannot be checked at all.
    pub(super) fn validate(&self) -> Result<(), String> {
        if self.judge.len() > MAX_STATEMENTS || self.judge.iter().any(|one| one.trim().is_empty()) {
            return Err(format!(
                "`judge`: write 1 to {MAX_STATEMENTS} statements about the answer, none of them empty"
            ));
        }
        for pattern in &self.regex {
            Regex::new(pattern).map_err(|error| format!("`regex`: {error}"))?;
        }
        if let Some(schema) = &self.schema {
            check_new_schema(schema::unwrapped(schema))
                .map_err(|error| format!("`schema`: {error}"))?;
        }
        if let Some(pointer) = self.json.keys().find(|pointer| !pointer.starts_with('/')) {
            return Err(format!(
                "`json`: `{pointer}` must begin with `/`, as a JSON Pointer does"
            ));
        }
        Ok(())
    }

    /// What does not hold, a sentence each.
    pub(super) fn failures(&self, seen: &Seen<'_>) -> Vec<String> {
        let text = match seen.answer {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let mut failures = Vec::new();
        let mut hold = |holds: bool, what: String| {
            if !holds {
                failures.push(what);
            }
        };
        if let Some(wanted) = &self.equals {
            let holds = match wanted {
                Value::String(wanted) => text.trim() == wanted.trim(),
                wanted => document(seen.answer).is_some_and(|found| same(&found, wanted)),
            };
            let shown = output::cut(&text, EXCERPT_LIMIT);
            hold(
                holds,
                format!("the answer is `{shown}`, not `{}`", plain(wanted)),
            );
        }
        for part in &self.contains {
            hold(text.contains(part), format!("the answer has no `{part}`"));
        }
        for part in &self.not_contains {
            hold(!text.contains(part), format!("the answer has `{part}`"));
        }
        for pattern in &self.regex {
            let matches = Regex::new(pattern).is_ok_and(|regex| regex.is_match(&text));
            hold(matches, format!("the answer does not match `{pattern}`"));
        }
        if self.schema.is_some() || !self.json.is_empty() {
            match document(seen.answer) {
                Some(document) => {
                    self.json_failures(&document, &mut hold);
                }
                None => hold(false, "the answer is not JSON".to_owned()),
            }
        }
        for tool in &self.calls {
            hold(seen.calls.contains(tool), format!("`{tool}` is not called"));
        }
        for tool in &self.never_calls {
            hold(!seen.calls.contains(tool), format!("`{tool}` is called"));
        }
        if let Some(most) = self.max_steps {
            let steps = seen.steps;
            hold(steps <= most, format!("{steps} steps, more than {most}"));
        }
        if let Some(most) = self.max_tokens {
            let tokens = seen.tokens;
            hold(tokens <= most, format!("{tokens} tokens, more than {most}"));
        }
        if let Some(most) = self.max_cost_usd {
            let usd = seen.cost_micros as f64 / 1e6;
            hold(usd <= most, format!("{usd} USD, more than {most}"));
        }
        let most = self.max_divergences;
        let count = seen.divergences;
        let calls = if count == 1 { "call" } else { "calls" };
        hold(
            count <= most,
            format!("{count} {calls} that the recording does not have"),
        );
        failures
    }

    fn json_failures(&self, document: &Value, hold: &mut impl FnMut(bool, String)) {
        for (pointer, wanted) in &self.json {
            let found = document.pointer(pointer);
            let shown = found.map_or_else(|| "missing".to_owned(), Value::to_string);
            hold(
                found.is_some_and(|found| same(found, wanted)),
                format!("`{pointer}` is {shown}, not {wanted}"),
            );
        }
        let Some(schema) = self.schema.as_ref().map(schema::unwrapped) else {
            return;
        };
        let wrong = match Schema::compile(schema) {
            Ok(schema) => schema.check_blocking(document).err(),
            // It was checked when the file was read.
            Err(_) => None,
        };
        if let Some(error) = wrong {
            hold(
                false,
                format!("the answer does not fit the schema: {error}"),
            );
        }
    }
}

/// Numbers are compared by their value, at any depth: 1 and 1.0 are the same.
fn same(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Number(one), Value::Number(two)) => one == two || one.as_f64() == two.as_f64(),
        (Value::Array(one), Value::Array(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| same(one, two))
        }
        (Value::Object(one), Value::Object(two)) => {
            let is_in_two =
                |(key, one): (&String, &Value)| two.get(key).is_some_and(|two| same(one, two));
            one.len() == two.len() && one.iter().all(is_in_two)
        }
        _ => one == two,
    }
}

/// A value as a sentence shows it.
fn plain(value: &Value) -> String {
    output::cut(&output::plain(value), EXCERPT_LIMIT)
}

/// The answer as JSON; text may hold it between fences.
fn document(answer: &Value) -> Option<Value> {
    let Value::String(text) = answer else {
        return Some(answer.clone());
    };
    let text = text.trim();
    let inner = text
        .strip_prefix("```json")
        .or_else(|| text.strip_prefix("```"))
        .and_then(|text| text.strip_suffix("```"));
    serde_json::from_str(inner.unwrap_or(text)).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_check_fails_by_itself() {
        let answer = json!("```json\n{\"n\": 42, \"who\": \"Acme\"}\n```");
        let calls = ["read_file".to_owned()];
        let seen = Seen {
            answer: &answer,
            calls: &calls,
            steps: 5,
            tokens: 100,
            cost_micros: 2_000,
            divergences: 1,
        };
        let holds = Checks {
            equals: Some(json!({"who": "Acme", "n": 42.0})),
            judge: Vec::new(),
            contains: vec!["Acme".into()],
            not_contains: vec!["error".into()],
            regex: vec!["\"n\": \\d+".into()],
            json: [("/n".to_owned(), json!(42.0))].into(),
            schema: Some(json!({"required": ["who"]})),
            calls: vec!["read_file".into()],
            never_calls: vec!["write_file".into()],
            max_steps: Some(5),
            max_tokens: Some(100),
            max_cost_usd: Some(0.002),
            max_divergences: 1,
        };
        assert!(holds.validate().is_ok());
        assert!(
            holds.failures(&seen).is_empty(),
            "{:?}",
            holds.failures(&seen)
        );
        let fails = Checks {
            equals: Some(json!({"who": "Acme"})),
            judge: Vec::new(),
            contains: vec!["43".into()],
            not_contains: vec!["Acme".into()],
            regex: vec!["^x".into()],
            json: [("/m".to_owned(), json!(1))].into(),
            schema: Some(json!({"required": ["whom"]})),
            calls: vec!["write_file".into()],
            never_calls: vec!["read_file".into()],
            max_steps: Some(4),
            max_tokens: Some(99),
            max_cost_usd: Some(0.001),
            max_divergences: 0,
        };
        assert_eq!(
            fails.failures(&seen).len(),
            12,
            "{:?}",
            fails.failures(&seen)
        );
        let text = json!("no JSON");
        let seen = Seen {
            answer: &text,
            ..seen
        };
        let failures = Checks {
            schema: Some(json!({})),
            max_divergences: 1,
            ..Checks::default()
        }
        .failures(&seen);
        assert_eq!(failures, ["the answer is not JSON"]);
    }

    #[test]
    fn an_answer_is_compared_as_a_whole() {
        let holds = |answer: Value, wanted: Value| {
            let checks = Checks {
                equals: Some(wanted),
                ..Checks::default()
            };
            let seen = Seen {
                answer: &answer,
                calls: &[],
                steps: 0,
                tokens: 0,
                cost_micros: 0,
                divergences: 0,
            };
            checks.failures(&seen)
        };
        for (answer, wanted) in [
            (json!(" 42\n"), json!("42")),
            (json!("42"), json!(42)),
            (
                json!("```json\n[1, {\"a\": 2}]\n```"),
                json!([1.0, {"a": 2.0}]),
            ),
            (json!({"a": [1], "b": null}), json!({"b": null, "a": [1.0]})),
        ] {
            assert_eq!(holds(answer, wanted), Vec::<String>::new());
        }
        for (answer, wanted, says) in [
            (json!("42."), json!("42"), "the answer is `42.`, not `42`"),
            (json!("[1, 2]"), json!([1]), "not `[1]`"),
            (json!({"a": 1, "b": 2}), json!({"a": 1}), "not `{\"a\":1}`"),
            (json!("forty-two"), json!(42), "not `42`"),
        ] {
            let failures = holds(answer, wanted);
            assert!(failures[0].contains(says), "{failures:?}");
        }
    }
}
