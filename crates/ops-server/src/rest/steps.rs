//! `GET /tasks/{id}/steps`, `GET /tasks/{id}/steps/{step}/prompt`.

use std::borrow::Cow;

use axum::{extract::State, response::Response};
use http::{StatusCode, Uri};
use ops_core::{Micros, event::EffectClass};
use ops_engine::{Initiator, StepState};
use serde_json::Value;

use super::{
    AppState, answer, cursor,
    extract::{Caller, PromptPath, StepPath, TaskPath, refused},
    schema, shown,
    view::Usage,
};
use crate::{json::view, problem::Problem, query::Query, time};

/// Lists the model calls, tool calls and waits of a task, in the order in which they began.
#[utoipa::path(
    get, path = "/api/v1/tasks/{task_id}/steps", tag = "Tasks", operation_id = "list_steps",
    params(schema::TaskPath, schema::LogPage),
    responses(
        (status = 200, body = StepList, description = "A page."),
        schema::NoTask, schema::Invalid,
    ),
)]
pub(crate) async fn list(
    State(app): AppState,
    caller: Caller,
    TaskPath(id): TaskPath,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::parse(uri.query(), schema::LogPage::KNOWN, &[]);
    let pages = cursor::List::new("steps", caller.tenant, &id.to_string());
    let after = pages.seq(&mut query);
    let limit = query.limit(1_000, 100);
    query.check()?;
    let page = app.settings.engine.steps(caller.tenant, id, after, limit);
    let page = page.await.map_err(refused(id))?;
    let list = StepList {
        steps: page.steps.iter().map(Step::of).collect(),
        next_cursor: page.next.map(|seq| pages.after_seq(seq)),
    };
    Ok(shown(StatusCode::OK, 4_096, &list))
}

/// The prompt of a model step.
///
/// The prompt is made again from the log, without a call: the conversation as it was before the step's last try, with the
/// instructions in front, the tools, and the schema of the answer. A text has 64 KiB at most here, all of them 4 MiB.
#[utoipa::path(
    get, path = "/api/v1/tasks/{task_id}/steps/{step}/prompt", tag = "Tasks",
    operation_id = "get_prompt",
    params(schema::StepPath),
    responses(
        (status = 200, body = schema::Prompt, description = "The prompt."),
        schema::NoTask, schema::Conflict,
    ),
)]
pub(crate) async fn prompt(
    State(app): AppState,
    caller: Caller,
    PromptPath(StepPath { task, step }): PromptPath,
) -> Result<Response, Problem> {
    let prompt = app.settings.engine.prompt(caller.tenant, task, step).await;
    let prompt = prompt.map_err(refused(task))?;
    Ok(answer(
        StatusCode::OK,
        prompt.as_str().to_owned().into_bytes(),
    ))
}

view! {
    /// The steps of a task, in the order in which they began.
    pub(crate) struct StepList<'a> {
        steps: Vec<Step<'a>>,
        /// Null on the last page.
        next_cursor: Option<String>,
    }
}

view! {
    /// A model call, a tool call or a wait.
    pub(crate) struct Step<'a> {
        /// The number of its first event.
        seq: u64,
        /// Its number in the run; null for a wait.
        step: Option<u32>,
        /// `model`, `tool` or `wait`.
        kind: &'static str,
        /// The model, the tool, or the awaited event.
        name: &'a str,
        status: StepState,
        /// How often it was begun; 0 for a tool call that was refused.
        attempt: u32,
        effect: Option<EffectClass>,
        /// Who asked for a tool call: the model, or the machine itself, as for a probe. Null for other
        /// steps.
        initiator: Option<Initiator>,
        /// What went in: any JSON. Of a wait, what it waits `on`, and `until` when, if the clock ends it.
        input: Option<Cow<'a, Value>>,
        /// What came out: any JSON.
        output: Option<&'a Value>,
        /// The parts of a tool's result: text, images, recordings, links and values. Null for other
        /// steps, and for results that are their output alone.
        parts: Option<&'a Value> = {"type": ["array", "null"], "items": {"type": "object"}},
        /// `code`, `message` and `retryable`, if it failed.
        error: Option<&'a Value> = {"type": ["object", "null"]},
        usage: Usage,
        started_at: Micros,
        ended_at: Option<Micros>,
    }
}

impl<'a> Step<'a> {
    pub(super) fn of(step: &'a ops_engine::Step) -> Self {
        let input = match (&step.input, step.until) {
            (Some(Value::Object(fields)), Some(until)) => {
                let mut fields = fields.clone();
                fields.insert("until".into(), time::text(until).into());
                Some(Cow::Owned(fields.into()))
            }
            (input, _) => input.as_ref().map(Cow::Borrowed),
        };
        Self {
            seq: step.seq,
            step: step.number,
            kind: step.kind,
            name: &step.name,
            status: step.status,
            attempt: step.attempt,
            effect: step.effect,
            initiator: step.initiator,
            input,
            output: step.output.as_ref(),
            parts: step.parts.as_ref(),
            error: step.error.as_ref(),
            usage: Usage::of(&step.usage),
            started_at: step.started_at,
            ended_at: step.ended_at,
        }
    }
}
