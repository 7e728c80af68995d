//! Fields of `input_data` that a submit may give beside it, as clients of version 1 do.

use ops_core::{Json, json::canonical};
use ops_engine::FieldError;

use super::request::SubmitTask;
use crate::json::pick;

/// The task type of a submit that names no type and has a goal.
pub(super) const AGENT_RUN: &str = "agent_run";

/// The fields.
const SHORTHAND: &[&str] = &["prompt", "goal", "agent_config", "inject_mcp_proxy"];
/// A field of `input_data` that is `null` counts as missing.
const NULL: &str = "null";

/// The input of a submit.
pub(super) struct Input {
    /// `input_data`, with the fields that stand beside it. Without such a field it is as the client
    /// wrote it.
    pub(super) json: Json,
    /// The fields that stood beside it.
    pub(super) lifted: Vec<&'static str>,
    /// Whether the input has a goal for an agent.
    pub(super) has_goal: bool,
}

/// Reads the input. Its text is spliced, never built into a tree: it may be as large as the body.
pub(super) fn read(task: &SubmitTask, errors: &mut Vec<FieldError>) -> Input {
    let text = task.input_data.as_ref().map_or("{}", Json::as_str);
    let lifted = lifted(task);
    let names: Vec<_> = lifted.iter().map(|(name, _)| *name).collect();
    let own = pick(text, SHORTHAND);
    let has_goal = ["prompt", "goal"]
        .into_iter()
        .any(|name| own.raw(name).is_some() || names.contains(&name));
    let mut added = Vec::new();
    let mut replaced = Vec::new();
    for (name, value) in lifted {
        match own.text(name) {
            None => added.push((name, value)),
            Some(null) if null == NULL => replaced.push((null, value)),
            Some(other) if is_same(other, value) => {}
            Some(_) => {
                let message =
                    format!("and `input_data.{name}` say different things; give one of them");
                errors.push(FieldError::new(&[name], "value_error", message));
            }
        }
    }
    let json = match (&task.input_data, added.is_empty() && replaced.is_empty()) {
        (Some(given), true) => Ok(given.clone()),
        (Some(_) | None, _) => Json::parse(&spliced(text, &added, replaced)),
    };
    Input {
        json: json.expect("an object with a field more is JSON"),
        lifted: names,
        has_goal,
    }
}

/// The fields that stand beside the input, with their text.
fn lifted(task: &SubmitTask) -> Vec<(&'static str, &str)> {
    let fields = [
        &task.prompt,
        &task.goal,
        &task.agent_config,
        &task.inject_mcp_proxy,
    ];
    let all = SHORTHAND.iter().copied().zip(fields);
    all.filter_map(|(name, field)| Some((name, field.as_ref()?.as_str())))
        .collect()
}

/// Whether two texts mean the same JSON.
fn is_same(one: &str, other: &str) -> bool {
    let text = |of: &str| {
        let mut out = Vec::with_capacity(of.len());
        canonical(&mut out, of, &|_, _| true).map(|()| out).ok()
    };
    one == other || text(one) == text(other)
}

/// The text of an object with fields more, and with values in place of its parts `replaced`, which are
/// slices of it.
fn spliced<'a>(
    text: &'a str,
    added: &[(&str, &str)],
    mut replaced: Vec<(&'a str, &str)>,
) -> String {
    let at = |part: &str| part.as_ptr().addr() - text.as_ptr().addr();
    replaced.sort_unstable_by_key(|(part, _)| at(part));
    let more: usize = added.iter().map(|(_, value)| value.len() + 24).sum();
    let mut out = String::with_capacity(text.len() + more);
    let (open, rest) = text.split_at(1);
    out.push_str(open);
    let is_empty = rest.trim_start().starts_with('}');
    for (index, (name, value)) in added.iter().enumerate() {
        let last = index + 1 == added.len();
        let comma = if last && is_empty { "" } else { "," };
        out.extend(["\"", name, "\":", value, comma]);
    }
    let mut from = open.len();
    for (part, value) in replaced {
        out.push_str(&text[from..at(part)]);
        out.push_str(value);
        from = at(part) + part.len();
    }
    out.push_str(&text[from..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::shape::Body as _;

    fn merged(text: &str) -> Result<(String, Vec<&'static str>, bool), Vec<String>> {
        let mut errors = Vec::new();
        let task = SubmitTask::read_at(text, &[], &mut errors).unwrap();
        let input = read(&task, &mut errors);
        if errors.is_empty() {
            return Ok((input.json.as_str().to_owned(), input.lifted, input.has_goal));
        }
        let errors = errors.into_iter();
        Err(errors
            .map(|error| format!("{}: {}", error.path.join("."), error.message))
            .collect())
    }

    #[test]
    fn fields_beside_the_input_become_fields_of_it() {
        for (text, expected) in [
            (r#"{"prompt":"hi"}"#, r#"{"prompt":"hi"}"#),
            (r#"{"prompt":"hi","input_data":{ }}"#, r#"{"prompt":"hi" }"#),
            (
                r#"{"goal":"g","input_data":{"rows":[1.50]},"inject_mcp_proxy":false}"#,
                r#"{"goal":"g","inject_mcp_proxy":false,"rows":[1.50]}"#,
            ),
            (
                r#"{"prompt":"hi","agent_config":{"x":1},"input_data":{"a":1,"prompt": null,"b":2}}"#,
                r#"{"agent_config":{"x":1},"a":1,"prompt": "hi","b":2}"#,
            ),
            (
                r#"{"prompt":"a","goal":"b","input_data":{"goal":null,"prompt":null}}"#,
                r#"{"goal":"b","prompt":"a"}"#,
            ),
            (
                r#"{"prompt":"\u0061","input_data":{"\u0070rompt":"a","agent_config":{"b":1,"a":2}},"agent_config":{"a":2,"b":1}}"#,
                r#"{"\u0070rompt":"a","agent_config":{"b":1,"a":2}}"#,
            ),
        ] {
            let (json, _, has_goal) = merged(text).unwrap();
            assert_eq!(json, expected, "{text}");
            assert!(has_goal, "{text}");
        }
        let (json, lifted, has_goal) = merged(r#"{"agent_config":{}}"#).unwrap();
        assert_eq!(
            (json.as_str(), lifted, has_goal),
            (r#"{"agent_config":{}}"#, vec!["agent_config"], false)
        );
    }

    #[test]
    fn two_that_say_different_things_and_wrong_types_are_refused() {
        for (text, says) in [
            (
                r#"{"prompt":"a","input_data":{"prompt":"b"}}"#,
                "prompt: and `input_data.prompt` say different things; give one of them",
            ),
            (
                r#"{"agent_config":{"a":1},"input_data":{"agent_config":{"a":1.0}}}"#,
                "agent_config: and `input_data.agent_config` say different things; give one of them",
            ),
            (r#"{"prompt":7}"#, "prompt: must be a string"),
            (r#"{"goal":["a"]}"#, "goal: must be a string"),
            (r#"{"agent_config":"a"}"#, "agent_config: must be an object"),
            (
                r#"{"inject_mcp_proxy":1}"#,
                "inject_mcp_proxy: must be `true` or `false`",
            ),
            (
                r#"{"prompt":"a","input_data":[1]}"#,
                "input_data: must be an object",
            ),
        ] {
            assert_eq!(merged(text).unwrap_err(), [says], "{text}");
        }
    }
}
