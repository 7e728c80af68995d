//! The body of `POST /tasks`.

use std::collections::BTreeMap;

use ops_core::{
    Code,
    task::{OnExhausted, TaskLimits},
};
use ops_engine::{FieldError, RetryRequest, Submit, submit::DEFAULT_QUEUE};

use super::shorthand::{self, AGENT_RUN};
use crate::{
    json::{Fields, object},
    problem::Problem,
    time,
};

const FIELDS: &[&str] = &[
    "task_type",
    "prompt",
    "goal",
    "agent_config",
    "inject_mcp_proxy",
    "input_data",
    "name",
    "agent_id",
    "priority",
    "run_at",
    "labels",
    "limits",
    "retry",
    "concurrency_key",
    "queue",
    "request_id",
];
pub(in crate::rest) const LIMITS: &[&str] = &[
    "max_steps",
    "max_tokens",
    "max_cost_usd",
    "timeout",
    "on_exhausted",
];
const RETRY: &[&str] = &["max_attempts", "backoff"];

/// A submit as it was asked for.
pub(super) struct Wish {
    /// What the engine is asked.
    pub(super) submit: Submit,
    /// The key that the body carries, if it does.
    pub(super) request_id: Option<String>,
    /// The fields of the input that stood beside `input_data`.
    pub(super) lifted: Vec<&'static str>,
}

/// Reads a body that is JSON.
///
/// # Errors
/// 422 that names every field that is wrong.
pub(super) fn parse(text: &str) -> Result<Wish, Problem> {
    let mut errors = Vec::new();
    let wish = read(text, &mut errors);
    if errors.is_empty() {
        Ok(wish)
    } else {
        Err(Problem::parts(Code::InvalidBody, "body", errors))
    }
}

/// Reads the template of tasks that are submitted later.
pub(in crate::rest) fn template(text: &str, errors: &mut Vec<FieldError>) -> Submit {
    let wish = read(text, errors);
    for (name, given) in [
        ("run_at", wish.submit.run_at.is_some()),
        ("request_id", wish.request_id.is_some()),
    ] {
        if given {
            let message = "belongs to one task, not to a template";
            errors.push(FieldError::new(&[name], "value_error", message));
        }
    }
    wish.submit
}

fn read(text: &str, errors: &mut Vec<FieldError>) -> Wish {
    let body = object(text, FIELDS, &[], errors);
    let whole = errors.iter().all(|error| error.kind != "dict_type");
    let mut task_type = body.string("task_type", errors);
    let input = shorthand::read(&body, errors);
    if whole && body.raw("task_type").is_none() {
        if input.has_goal {
            task_type = Some(AGENT_RUN.to_owned());
        } else {
            errors.push(body.error(Some("task_type"), "missing", "is missing"));
        }
    }
    let submit = Submit {
        name: body.string("name", errors),
        agent_id: body.string("agent_id", errors),
        priority: body.whole("priority", errors).unwrap_or(0),
        labels: labels(&body, errors),
        limits: limits(&body, errors),
        retry: body.raw("retry").map(|text| policy(text, errors)),
        run_at: run_at(&body, errors),
        concurrency_key: body.string("concurrency_key", errors),
        queue: body
            .string("queue", errors)
            .unwrap_or_else(|| DEFAULT_QUEUE.to_owned()),
        ..Submit::new(task_type.unwrap_or_default(), input.json)
    };
    Wish {
        submit,
        request_id: body.string("request_id", errors),
        lifted: input.lifted,
    }
}

fn labels(body: &Fields<'_>, errors: &mut Vec<FieldError>) -> BTreeMap<String, String> {
    let message = "must be an object of strings";
    body.get("labels", ("dict_type", message), errors)
        .unwrap_or_default()
}

fn run_at(body: &Fields<'_>, errors: &mut Vec<FieldError>) -> Option<ops_core::Micros> {
    let text = body.string("run_at", errors)?;
    time::parse(&text)
        .map_err(|message| errors.push(body.error(Some("run_at"), "datetime_type", &message)))
        .ok()
}

fn limits(body: &Fields<'_>, errors: &mut Vec<FieldError>) -> TaskLimits {
    let Some(text) = body.raw("limits") else {
        return TaskLimits::default();
    };
    limits_in(&object(text, LIMITS, &["limits"], errors), errors)
}

/// The limits that an object of [`LIMITS`] names.
pub(in crate::rest) fn limits_in(limits: &Fields<'_>, errors: &mut Vec<FieldError>) -> TaskLimits {
    TaskLimits {
        max_steps: limits.whole("max_steps", errors),
        max_tokens: limits.whole("max_tokens", errors),
        max_cost_micros: limits.usd("max_cost_usd", errors),
        timeout_micros: limits.duration("timeout", errors),
        on_exhausted: limits
            .choice("on_exhausted", OnExhausted::NAMES, errors)
            .and_then(OnExhausted::from_name),
    }
}

fn policy(text: &str, errors: &mut Vec<FieldError>) -> RetryRequest {
    let retry = object(text, RETRY, &["retry"], errors);
    RetryRequest {
        max_attempts: retry.whole("max_attempts", errors),
        initial_micros: retry.duration("backoff", errors),
        ..RetryRequest::default()
    }
}

#[cfg(test)]
mod tests {
    use ops_core::Json;

    use super::*;

    fn read(text: &str) -> Result<Wish, String> {
        parse(text).map_err(|problem| String::from_utf8(problem.body(None)).unwrap())
    }

    #[test]
    fn a_whole_body_is_read() {
        let wish = read(
            r#"{"task_type":"agent_run","input_data":{"prompt":"hi","agent_config":{"x":[1]}},
               "name":"n","agent_id":"a","priority":9,"run_at":"2025-04-12T10:00:00Z",
               "labels":{"team":"x"},"limits":{"max_steps":5,"max_tokens":9,"max_cost_usd":0.1,"timeout":"5m"},
               "retry":{"max_attempts":2,"backoff":0.5},"request_id":"k"}"#,
        )
        .map_err(|body| panic!("{body}"))
        .unwrap();
        let submit = wish.submit;
        assert_eq!(wish.request_id.as_deref(), Some("k"));
        assert_eq!(
            submit.input.as_str(),
            r#"{"prompt":"hi","agent_config":{"x":[1]}}"#
        );
        assert_eq!(submit.limits.timeout_micros, Some(300_000_000));
        assert_eq!(submit.limits.max_steps, Some(5));
        assert_eq!(submit.limits.max_cost_micros, Some(100_000));
        let retry = submit.retry.unwrap();
        assert_eq!(
            (retry.max_attempts, retry.initial_micros, retry.max_micros),
            (Some(2), Some(500_000), None)
        );
        assert_eq!(submit.run_at, Some(ops_core::Micros(1_744_452_000_000_000)));
        assert_eq!(submit.labels["team"], "x");
    }

    /// cli/C10: what settings take, a body takes as well, and means the same.
    #[test]
    fn durations_and_money_are_read_as_everywhere() {
        let limits = |field: &str, value: &str| {
            let body = format!(r#"{{"task_type":"a","limits":{{"{field}":{value}}}}}"#);
            read(&body).map(|wish| wish.submit.limits)
        };
        for (value, millis) in [
            (r#""1h30m""#, 5_400_000),
            (r#""500ms""#, 500),
            (r#""1.5h""#, 5_400_000),
            (r#""1e3""#, 1_000_000),
            (r#"" 30s""#, 30_000),
            ("1e3", 1_000_000),
            ("0.5", 500),
        ] {
            let micros = limits("timeout", value).unwrap().timeout_micros;
            assert_eq!(micros, Some(millis * 1_000), "{value}");
        }
        let cost = limits("max_cost_usd", "0.1234567").unwrap().max_cost_micros;
        assert_eq!(cost, Some(123_457));
        for (field, value) in [
            ("timeout", "-1"),
            ("timeout", "1e99"),
            ("max_cost_usd", "1e-9"),
        ] {
            assert!(limits(field, value).is_err(), "{field} {value}");
        }
    }

    #[test]
    fn a_goal_without_a_task_type_is_an_agent_run() {
        for body in [
            r#"{"prompt":"hi"}"#,
            r#"{"goal":"hi"}"#,
            r#"{"input_data":{"prompt":"hi"},"task_type":null}"#,
        ] {
            let wish = read(body).map_err(|body| panic!("{body}")).unwrap();
            assert_eq!(wish.submit.task_type, "agent_run", "{body}");
        }
        for body in [
            r#"{"agent_config":{"provider":"x"}}"#,
            r#"{"prompt":null,"input_data":{"prompt":null}}"#,
        ] {
            let problem = read(body).map(|_| ()).unwrap_err();
            assert!(
                problem.contains("`task_type` is missing"),
                "{body}: {problem}"
            );
        }
    }

    #[test]
    fn null_is_missing() {
        let wish = read(r#"{"task_type":"a","input_data":null,"limits":null,"retry":null}"#);
        let Ok(wish) = wish else { panic!("refused") };
        assert_eq!(
            wish.submit,
            Submit::new("a".into(), Json::parse("{}").unwrap())
        );
    }

    #[test]
    fn everything_that_is_wrong_is_named() {
        for (body, says) in [
            (
                "[]",
                r#"{"loc":["body"],"msg":"must be an object","type":"dict_type"}"#,
            ),
            (
                "{}",
                r#"{"loc":["body","task_type"],"msg":"is missing","type":"missing"}"#,
            ),
            (
                r#"{"task_type":5}"#,
                r#""msg":"must be a string","type":"string_type""#,
            ),
            (
                r#"{"task_type":"a","input_data":[1]}"#,
                r#"["body","input_data"]"#,
            ),
            (
                r#"{"task_type":"a","priority":-1}"#,
                r#"["body","priority"]"#,
            ),
            (
                r#"{"task_type":"a","labels":{"a":1}}"#,
                r#"["body","labels"]"#,
            ),
            (
                r#"{"task_type":"a","run_at":"soon"}"#,
                r#"["body","run_at"]"#,
            ),
            (
                r#"{"task_type":"a","limits":{"timeout":"5 years"}}"#,
                r#"["body","limits","timeout"]"#,
            ),
            (
                r#"{"task_type":"a","limits":{"max_step":5}}"#,
                "did you mean `max_steps`?",
            ),
            (
                r#"{"task_type":"a","depends_on":["x"]}"#,
                "not supported by this release",
            ),
            (
                r#"{"task_type":"a","limits":{"max_cost_usd":"5"}}"#,
                "must be a number of USD",
            ),
            (
                r#"{"task_type":"a","limits":{"max_cost_usd":-0.5}}"#,
                "from 0.000001 to 1000000000, or 0",
            ),
            (
                r#"{"task_type":"a","retry":{"max_attempts":"3"}}"#,
                r#"["body","retry","max_attempts"]"#,
            ),
            (
                r#"{"task_type":"a","imput_data":{}}"#,
                "unknown field `imput_data`; did you mean `input_data`?",
            ),
            (
                r#"{"task_type":"a","task_type":"b"}"#,
                "`task_type` is given twice",
            ),
        ] {
            let problem = read(body).map(|_| ()).unwrap_err();
            assert!(problem.contains(says), "{body}: {problem}");
        }
        let problem = read(r#"{"priority":"x","colour":1}"#)
            .map(|_| ())
            .unwrap_err();
        assert_eq!(problem.matches("\"loc\"").count(), 3, "{problem}");
    }
}
