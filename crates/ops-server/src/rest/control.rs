//! `POST /tasks/{id}/pause`, `resume`, `limits`, `signals`, `rerun`.

use axum::{
    extract::{Request, State},
    response::Response,
};
use ops_engine::FieldError;
use serde_json::json;

use super::{
    AppState,
    create::{self, request::LimitTask},
    extract::{Caller, TaskPath, refused},
    schema,
    shape::{self, Any, Body, Object, Text, Within, body},
    tasks,
    view::Task,
};
use crate::problem::Problem;

/// Pauses a task: at once, or when its step has ended.
///
/// A running task reads `running` with `paused: true` until its worker has given the task back. The event
/// that a task waits for may still come; the task is paused after it. A repeated request changes nothing.
#[utoipa::path(
    post, path = "/api/v1/tasks/{task_id}/pause", tag = "Tasks", operation_id = "pause_task",
    params(schema::TaskPath),
    responses(
        (status = 200, body = Task, description = "The task."),
        schema::NoTask, schema::Conflict,
    ),
)]
pub(crate) async fn pause(
    State(app): AppState,
    caller: Caller,
    TaskPath(id): TaskPath,
) -> Result<Response, Problem> {
    tasks::changed(id, app.settings.engine.pause(&caller, id)).await
}

/// Resumes a paused task. A task that is not paused stays unchanged.
#[utoipa::path(
    post, path = "/api/v1/tasks/{task_id}/resume", tag = "Tasks", operation_id = "resume_task",
    params(schema::TaskPath),
    responses(
        (status = 200, body = Task, description = "The task."),
        schema::NoTask, schema::Conflict,
    ),
)]
pub(crate) async fn resume(
    State(app): AppState,
    caller: Caller,
    TaskPath(id): TaskPath,
) -> Result<Response, Problem> {
    tasks::changed(id, app.settings.engine.resume(&caller, id)).await
}

/// Changes the named limits of a task's run.
///
/// A task that waits because a limit is used up (`state_detail.on` is `budget`) goes on. A task that a
/// worker holds takes the limits at its next lease; pause and resume the task to apply them at once.
#[utoipa::path(
    post, path = "/api/v1/tasks/{task_id}/limits", tag = "Tasks", operation_id = "limit_task",
    params(schema::TaskPath),
    request_body = LimitTask,
    responses(
        (status = 200, body = Task, description = "The task."),
        schema::NoTask, schema::Conflict, schema::Invalid,
    ),
)]
pub(crate) async fn limit(
    State(app): AppState,
    caller: Caller,
    TaskPath(id): TaskPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = app.bodies.json_or_nothing(&parts.headers, body).await?;
    let limits = LimitTask::read(body.text(), |body, _| body.limits())?;
    tasks::changed(id, app.settings.engine.limit(&caller, id, limits)).await
}

/// Sends a signal to a task's run.
///
/// A call that waits for a signal of this name returns the payload; without such a call, the next call that
/// waits. A question of `ask_human` waits for `human.` and its call, as `state_detail.signals` says.
#[utoipa::path(
    post, path = "/api/v1/tasks/{task_id}/signals", tag = "Tasks", operation_id = "signal_task",
    params(schema::TaskPath),
    request_body = Signal,
    responses(
        (status = 200, body = Task, description = "The task."),
        schema::NoTask, schema::Conflict, schema::Invalid,
    ),
)]
pub(crate) async fn signal(
    State(app): AppState,
    caller: Caller,
    TaskPath(id): TaskPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = app.bodies.json_or_nothing(&parts.headers, body).await?;
    let read = |body: Signal, _: &mut Vec<FieldError>| {
        let payload = body.payload.unwrap_or_default();
        (body.name.unwrap_or_default(), payload)
    };
    let (name, payload) = Signal::read(body.text(), read)?;
    let told = app.settings.engine.signal(&caller, id, name, payload);
    tasks::changed(id, told).await
}

/// Repeats a task as a new task, from its start or from one of its steps.
///
/// With `from_step` the new task's log begins with the same events: the new task keeps the results of the
/// steps before, which are neither made nor paid again. The original is not changed.
#[utoipa::path(
    post, path = "/api/v1/tasks/{task_id}/rerun", tag = "Tasks", operation_id = "rerun_task",
    params(schema::TaskPath, schema::IdempotencyKey),
    request_body = Rerun,
    responses(
        (status = 201, body = Task, description = "The new task.", headers(
            ("Idempotency-Replayed" = String, description = "`true` if the key had made it before."),
        )),
        schema::NoTask, schema::Conflict, schema::Invalid,
    ),
)]
pub(crate) async fn rerun(
    State(app): AppState,
    caller: Caller,
    TaskPath(id): TaskPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = app.bodies.json_or_nothing(&parts.headers, body).await?;
    let read = body.work(move |text| {
        let mut rerun = parse(text)?;
        rerun.key = create::key(&parts.headers, None)?;
        Ok(rerun)
    });
    let rerun = read.await?;
    let submitted = app.settings.engine.rerun(&caller, id, rerun).await;
    Ok(tasks::made(submitted.map_err(refused(id))?))
}

fn parse(text: &str) -> Result<ops_engine::Rerun, Problem> {
    Rerun::read(text, |body, _| ops_engine::Rerun {
        from_step: body.from_step,
        input: body.input,
        message: body.message,
        input_data: body.input_data,
        key: None,
    })
}

body! {
    /// A signal to a run.
    pub(super) struct Signal {
        /// Name of the call that waits for the signal: a name in `state_detail.signals` of the waiting
        /// task.
        name: Text = {"minLength": 1, "maxLength": 128, "examples": ["human.call_4"]}; required
            "is missing",
        /// The call's return value: any JSON.
        payload: Any,
    }
}

body! {
    /// How a task is done again.
    pub(super) struct Rerun {
        /// The first step that is done anew; missing for all of them.
        from_step: Within<1, { u32::MAX }>,
        /// Other arguments for that step, if it is a tool call.
        input: Any,
        /// A message to the model before that step, if it is a model call.
        message: Text,
        /// Another input, if the task is done from its start.
        input_data: Object,
    }
    with json!({"anyOf": [
        {"allOf": [shape::one_given(&["from_step"]), shape::none_given(&["input_data"])]},
        shape::none_given(&["from_step", "input", "message"]),
    ]});
}
