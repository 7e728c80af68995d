//! `GET /tasks/{id}/steps`, `GET /tasks/{id}/steps/{step}/prompt`.

use axum::{extract::State, response::Response};
use http::{StatusCode, Uri};
use ops_engine::Step;
use serde_json::Value;

use super::{
    AppState, answer, cursor,
    extract::{Caller, PromptPath, StepPath, TaskPath, refused},
    schema, view,
};
use crate::{json::ObjectWriter, problem::Problem, query::Query, time};

/// Lists the model calls, tool calls and waits of a task, in the order in which they began.
#[utoipa::path(
    get, path = "/api/v1/tasks/{task_id}/steps", tag = "Tasks", operation_id = "list_steps",
    params(schema::TaskPath, schema::LogPage),
    responses(
        (status = 200, body = schema::StepList, description = "A page."),
        schema::NoTask, schema::Invalid,
    ),
)]
pub(crate) async fn list(
    State(app): AppState,
    caller: Caller,
    TaskPath(id): TaskPath,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::parse(uri.query(), &["after", "cursor", "limit"], &[]);
    let pages = cursor::List::new("steps", caller.tenant, &id.to_string());
    let after = pages.seq(&mut query);
    let limit = query.number("limit", 1..=1_000).unwrap_or(100);
    query.check()?;
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let page = app.settings.engine.steps(caller.tenant, id, after, limit);
    let page = page.await.map_err(refused(id))?;
    let next = page.next.map(|seq| pages.after_seq(seq));
    Ok(view::page("steps", &page.steps, write, next))
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

/// Writes a step.
pub(super) fn write(out: &mut Vec<u8>, step: &Step) {
    let mut view = ObjectWriter::begin(out);
    view.value("seq", &step.seq);
    view.value("step", &step.number);
    view.plain("kind", &step.kind);
    view.value("name", &step.name);
    view.plain("status", &step.status.as_str());
    view.value("attempt", &step.attempt);
    view.value("effect", &step.effect);
    view.value("initiator", &step.initiator);
    match (&step.input, step.until) {
        (Some(Value::Object(fields)), Some(until)) => {
            let mut fields = fields.clone();
            fields.insert("until".into(), time::text(until).into());
            view.value("input", &fields);
        }
        (input, _) => view.value("input", input),
    }
    view.value("output", &step.output);
    view.value("parts", &step.parts);
    view.value("error", &step.error);
    view::usage(view.key("usage"), &step.usage);
    view.time("started_at", Some(step.started_at));
    view.time("ended_at", step.ended_at);
    view.end();
}
