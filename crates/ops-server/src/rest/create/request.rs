//! The body of `POST /tasks`.

use ops_core::task::{OnExhausted, TaskLimits};
use ops_engine::{FieldError, RetryRequest, Submit, submit::DEFAULT_QUEUE};
use serde_json::{Value, json};

use super::shorthand::{self, AGENT_RUN};
use crate::{
    json::{Fields, Schemas},
    problem::Problem,
    rest::shape::{
        self, Body, Choice, Labels, Nested, Object, RawFlag, RawText, Seconds, Text, Time, Usd,
        Whole, body,
    },
};

body! {
    /// A task to be done.
    pub(in crate::rest) struct SubmitTask {
        /// `agent_run` or `agent_task`; both run an agent. Default, beside a prompt or a goal: `agent_run`
        task_type: Text = {"examples": ["agent_run"]},
        /// The same as `input_data.prompt`: the goal of an agent.
        prompt: RawText,
        /// The same as `input_data.goal`.
        goal: RawText,
        /// The same as `input_data.agent_config`.
        agent_config: Object,
        /// The same as `input_data.inject_mcp_proxy`.
        inject_mcp_proxy: RawFlag,
        /// Input of the task; an agent's is `{"prompt": ...}`.
        input_data: Object,
        /// A name for people.
        name: Text = {"maxLength": 256},
        /// The agent that runs. Default: the agent of the settings
        agent_id: Text = {"maxLength": 256},
        /// 9 goes first.
        priority: Whole<u8> = {"maximum": 9, "default": 0},
        /// The earliest start; a time in the past is now.
        run_at: Time,
        /// 64 at most; keys and values of 256 bytes at most. Kept, shown, and filtered by.
        labels: Labels = {
            "maxProperties": 64,
            "propertyNames": {"minLength": 1, "maxLength": 256, "pattern": "^[^=]*$"},
            "additionalProperties": {"type": "string", "maxLength": 256},
        },
        /// Limits of the run; missing limits fall back to the configuration.
        limits: Nested<SubmitLimits>,
        /// How failures that pass are answered.
        retry: Nested<SubmitRetry>,
        /// Tasks with the same key run in sequence: a task holds the key from its first start to its end.
        concurrency_key: Text = {"minLength": 1, "maxLength": 255},
        /// The queue of the task: a configured queue.
        queue: Text = {"examples": ["default"]},
        /// The same as the header `Idempotency-Key`.
        request_id: Text = {"minLength": 1, "maxLength": 255},
    }
    with json!({"anyOf": [
        shape::one_given(&["task_type"]),
        shape::one_given(&["prompt", "goal"]),
        {
            "required": ["input_data"],
            "properties": {"input_data": {
                "type": "object",
                "anyOf": [shape::one_given(&["prompt"]), shape::one_given(&["goal"])],
            }},
        },
    ]});
}

body! {
    /// Limits of the run of a task.
    pub(in crate::rest) struct SubmitLimits {
        /// Model and tool calls together.
        max_steps: Whole<u32> = {"minimum": 1},
        /// Input and output tokens together.
        max_tokens: Whole<u64> = {"minimum": 1},
        /// Money in USD, to six decimals. A model whose price is not known fails the task.
        max_cost_usd: Usd = {"exclusiveMinimum": 0},
        /// Time from the first start: seconds, or text like `500ms`, `30s`, `1.5h`, `1h30m`, `2d`.
        timeout: Seconds = {"exclusiveMinimum": 0},
        /// How long the task may wait for its first start, from when it could start, as `timeout`.
        queue_timeout: Seconds = {"exclusiveMinimum": 0},
        /// Behaviour where a limit is used up: `fail`, or `wait` until a client raises the limit. Default: the
        /// configured behaviour
        on_exhausted: Choice<OnExhausted>,
    }
}

body! {
    /// How failures that pass are answered.
    pub(in crate::rest) struct SubmitRetry {
        /// Attempts of the task.
        max_attempts: Whole<u32> = {"minimum": 1, "maximum": 1000},
        /// The delay before the second attempt, of 30 days at most: seconds, or text like `500ms`,
        /// `30s`, `1h30m`. The delay doubles with each further attempt.
        backoff: Seconds = {"maximum": 2_592_000},
    }
}

/// New limits of a task: [`SubmitLimits`] with at least a single limit.
#[derive(Debug)]
pub(in crate::rest) struct LimitTask(SubmitLimits);

impl Body for LimitTask {
    const NAME: &'static str = "LimitTask";
    const FIELDS: &'static [&'static str] = SubmitLimits::FIELDS;

    fn take(fields: &Fields<'_>, errors: &mut Vec<FieldError>) -> Self {
        Self(SubmitLimits::take(fields, errors))
    }

    fn schema() -> Value {
        let mut schema = <SubmitLimits as Body>::schema();
        schema["description"] = "Other limits of a task: those that are named.".into();
        schema["anyOf"] = shape::one_given(Self::FIELDS)["anyOf"].take();
        schema
    }

    fn schemas(found: &mut Schemas) {
        <SubmitLimits as Body>::schemas(found);
    }
}

shape::named!(LimitTask);

impl LimitTask {
    /// As the engine takes them.
    pub(in crate::rest) fn limits(self) -> TaskLimits {
        self.0.limits()
    }
}

impl SubmitLimits {
    fn limits(self) -> TaskLimits {
        TaskLimits {
            max_steps: self.max_steps,
            max_tokens: self.max_tokens,
            max_cost_micros: self.max_cost_usd,
            timeout_micros: self.timeout,
            queue_timeout_micros: self.queue_timeout,
            on_exhausted: self.on_exhausted,
        }
    }
}

/// A submit as requested.
pub(super) struct SubmitRequest {
    /// The request to the engine.
    pub(super) submit: Submit,
    /// The key in the body, if there is a key.
    pub(super) request_id: Option<String>,
    /// Fields of the input beside `input_data`.
    pub(super) lifted: Vec<&'static str>,
}

/// Reads a body that is JSON.
///
/// # Errors
/// 422 with every wrong field.
pub(super) fn parse(text: &str) -> Result<SubmitRequest, Problem> {
    SubmitTask::read(text, request)
}

/// The template of tasks to be submitted later.
pub(in crate::rest) fn template(task: SubmitTask, errors: &mut Vec<FieldError>) -> Submit {
    for (name, given) in [
        ("run_at", task.run_at.is_some()),
        ("request_id", task.request_id.is_some()),
    ] {
        if given {
            let message = "belongs to one task, not to a template";
            errors.push(FieldError::new(&[name], "value_error", message));
        }
    }
    request(task, errors).submit
}

/// Whether an unknown field was probably meant as the prompt of the task.
fn is_meant(error: &FieldError) -> bool {
    let fields = ["prompt", "goal", "task_type"];
    let mut meant = fields
        .iter()
        .map(|field| format!("did you mean `{field}`?"));
    meant.any(|meant| error.message.contains(&meant))
}

fn request(task: SubmitTask, errors: &mut Vec<FieldError>) -> SubmitRequest {
    let input = shorthand::read(&task, errors);
    let task_type = match task.task_type {
        None if input.has_goal => AGENT_RUN.to_owned(),
        // One that is there and wrong was told of.
        None if errors.iter().any(|error| {
            error.path.last().is_some_and(|name| name == "task_type") || is_meant(error)
        }) =>
        {
            String::new()
        }
        None => {
            errors.push(FieldError::new(&["task_type"], "missing", "is missing"));
            String::new()
        }
        Some(task_type) => task_type,
    };
    let retry = task.retry.map(|retry| RetryRequest {
        max_attempts: retry.max_attempts,
        initial_micros: retry.backoff,
        ..RetryRequest::default()
    });
    let submit = Submit {
        name: task.name,
        agent_id: task.agent_id,
        priority: task.priority.unwrap_or(0),
        labels: task.labels.unwrap_or_default(),
        limits: task.limits.map(SubmitLimits::limits).unwrap_or_default(),
        retry,
        run_at: task.run_at,
        concurrency_key: task.concurrency_key,
        queue: task.queue.unwrap_or_else(|| DEFAULT_QUEUE.to_owned()),
        ..Submit::new(task_type, input.json)
    };
    SubmitRequest {
        submit,
        request_id: task.request_id,
        lifted: input.lifted,
    }
}

#[cfg(test)]
mod tests {
    use ops_core::Json;

    use super::*;

    fn read(text: &str) -> Result<SubmitRequest, String> {
        parse(text).map_err(|problem| String::from_utf8(problem.body(None)).unwrap())
    }

    #[test]
    fn a_whole_body_is_read() {
        let request = read(
            r#"{"task_type":"agent_run","input_data":{"prompt":"hi","agent_config":{"x":[1]}},
               "name":"n","agent_id":"a","priority":9,"run_at":"2025-04-12T10:00:00Z",
               "labels":{"team":"x"},"limits":{"max_steps":5,"max_tokens":9,"max_cost_usd":0.1,"timeout":"5m"},
               "retry":{"max_attempts":2,"backoff":0.5},"request_id":"k"}"#,
        )
        .map_err(|body| panic!("{body}"))
        .unwrap();
        let submit = request.submit;
        assert_eq!(request.request_id.as_deref(), Some("k"));
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

    /// cli/C10: a text that settings take, a body takes as well, with the same meaning.
    #[test]
    fn durations_and_money_are_read_as_everywhere() {
        let limits = |field: &str, value: &str| {
            let body = format!(r#"{{"task_type":"a","limits":{{"{field}":{value}}}}}"#);
            read(&body).map(|request| request.submit.limits)
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
            let request = read(body).map_err(|body| panic!("{body}")).unwrap();
            assert_eq!(request.submit.task_type, "agent_run", "{body}");
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

    /// A misspelt `prompt` was told of, and a `task_type` that nobody needs as well.
    #[test]
    fn a_misspelt_goal_is_the_only_mistake() {
        let problem = read(r#"{"promt":"hi"}"#).map(|_| ()).unwrap_err();
        assert!(problem.contains("did you mean `prompt`?"), "{problem}");
        assert!(!problem.contains("task_type"), "{problem}");
    }

    #[test]
    fn null_is_missing() {
        let request = read(
            r#"{"task_type":"a","input_data":null,"limits":null,"retry":null,"callback_url":null,
                "depends_on":null}"#,
        );
        let Ok(request) = request else {
            panic!("refused")
        };
        assert_eq!(
            request.submit,
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
                "from 0.000001 to 1000000000\"",
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
