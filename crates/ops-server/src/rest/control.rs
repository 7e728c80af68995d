//! `POST /tasks/{id}/pause`, `resume`, `limits`, `signals`, `rerun`.

use axum::{
    extract::{Request, State},
    response::Response,
};
use ops_engine::FieldError;
use serde_json::json;

use super::{
    AppState,
    create::{self, wish::LimitTask},
    extract::{Caller, TaskPath, refused},
    schema,
    shape::{self, Any, Body, Object, Text, Within, body},
    tasks,
};
use crate::problem::Problem;

/// Makes a task stand still: at once, or when its step has ended.
///
/// A running task reads `running` with `paused: true` until its worker has given it back. What a
/// task waits for may still come; it stands still after it. Asking again changes nothing.
#[utoipa::path(
    post, path = "/api/v1/tasks/{task_id}/pause", tag = "Tasks", operation_id = "pause_task",
    params(schema::TaskPath),
    responses(
        (status = 200, body = schema::Task, description = "The task."),
        schema::NoTask, schema::Conflict,
    ),
)]
pub(crate) async fn pause(
    State(app): AppState,
    caller: Caller,
    TaskPath(id): TaskPath,
) -> Result<Response, Problem> {
    tasks::changed(id, app.surface.engine.pause(&caller, id)).await
}

/// Lets a paused task go on. One that is not paused is left as it is.
#[utoipa::path(
    post, path = "/api/v1/tasks/{task_id}/resume", tag = "Tasks", operation_id = "resume_task",
    params(schema::TaskPath),
    responses(
        (status = 200, body = schema::Task, description = "The task."),
        schema::NoTask, schema::Conflict,
    ),
)]
pub(crate) async fn resume(
    State(app): AppState,
    caller: Caller,
    TaskPath(id): TaskPath,
) -> Result<Response, Problem> {
    tasks::changed(id, app.surface.engine.resume(&caller, id)).await
}

/// Gives a task's run other limits: those that are named.
///
/// A task that waits because a limit is used up (`state_detail.on` is `budget`) goes on. One that a
/// worker holds has them from when it is next taken up; pause and resume it to have that at once.
#[utoipa::path(
    post, path = "/api/v1/tasks/{task_id}/limits", tag = "Tasks", operation_id = "limit_task",
    params(schema::TaskPath),
    request_body = LimitTask,
    responses(
        (status = 200, body = schema::Task, description = "The task."),
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
    let body = app.bodies.json(&parts.headers, body).await?;
    let limits = LimitTask::read(body.text(), |body, _| body.limits())?;
    tasks::changed(id, app.surface.engine.limit(&caller, id, limits)).await
}

/// Tells something to a task's run.
///
/// A call that waits for a signal of this name returns the payload; if none waits yet, the first
/// that will. A question of `ask_human` waits for `human.` and its call, as `state_detail.signals`
/// says.
#[utoipa::path(
    post, path = "/api/v1/tasks/{task_id}/signals", tag = "Tasks", operation_id = "signal_task",
    params(schema::TaskPath),
    request_body = Signal,
    responses(
        (status = 200, body = schema::Task, description = "The task."),
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
    let body = app.bodies.json(&parts.headers, body).await?;
    let read = |body: Signal, _: &mut Vec<FieldError>| {
        let payload = body.payload.unwrap_or_default();
        (body.name.unwrap_or_default(), payload)
    };
    let (name, payload) = Signal::read(body.text(), read)?;
    let told = app.surface.engine.signal(&caller, id, name, payload);
    tasks::changed(id, told).await
}

/// Does a task again as a new one, from its start or from one of its steps.
///
/// With `from_step` the new task's log begins with the same events: what the steps before it
/// returned is taken over, neither made nor paid again. The original is not changed.
#[utoipa::path(
    post, path = "/api/v1/tasks/{task_id}/rerun", tag = "Tasks", operation_id = "rerun_task",
    params(schema::TaskPath, schema::IdempotencyKey),
    request_body = Rerun,
    responses(
        (status = 201, body = schema::Task, description = "The new task.", headers(
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
    let body = app.bodies.json(&parts.headers, body).await?;
    let read = body.work(move |text| {
        let mut rerun = parse(text)?;
        rerun.key = create::key(&parts.headers, None)?;
        Ok(rerun)
    });
    let rerun = read.await?;
    let submitted = app.surface.engine.rerun(&caller, id, rerun).await;
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
    /// Something that is told to a run.
    pub(super) struct Signal {
        /// Which call it is for: what `state_detail.signals` of the waiting task says.
        name: Text = {"minLength": 1, "maxLength": 128, "examples": ["human.call_4"]}; required
            "is missing",
        /// What the call returns: any JSON.
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
