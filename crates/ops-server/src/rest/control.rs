//! `POST /tasks/{id}/pause`, `resume`, `limits`, `signals`, `rerun`.

use axum::{
    extract::{Request, State},
    response::Response,
};
use ops_core::{Code, Json};
use ops_engine::{FieldError, Rerun};

use super::{
    AppState, create,
    extract::{Caller, TaskPath, refused},
    schema, tasks,
};
use crate::{
    json::{Fields, object},
    problem::Problem,
};

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
    request_body = schema::SubmitLimits,
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
    let mut errors = Vec::new();
    let fields = object(body.text(), create::wish::LIMITS, &[], &mut errors);
    let limits = create::wish::limits_in(&fields, &mut errors);
    if !errors.is_empty() {
        return Err(Problem::parts(Code::InvalidBody, "body", errors));
    }
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
    request_body = schema::Signal,
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
    let mut errors = Vec::new();
    let fields = object(body.text(), &["name", "payload"], &[], &mut errors);
    let name = fields.string("name", &mut errors);
    if errors.is_empty() && name.is_none() {
        errors.push(fields.error(Some("name"), "missing", "is missing"));
    }
    let payload = fields.value("payload", &mut errors).unwrap_or_default();
    if !errors.is_empty() {
        return Err(Problem::parts(Code::InvalidBody, "body", errors));
    }
    let name = name.unwrap_or_default();
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
    request_body = schema::Rerun,
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

fn parse(text: &str) -> Result<Rerun, Problem> {
    let mut errors = Vec::new();
    let body = object(text, RERUN, &[], &mut errors);
    let rerun = Rerun {
        from_step: body.whole("from_step", &mut errors),
        input: body.value("input", &mut errors),
        message: body.string("message", &mut errors),
        input_data: input_data(&body, &mut errors),
        key: None,
    };
    if rerun.from_step == Some(0) {
        errors.push(body.error(Some("from_step"), "value_error", "must be at least 1"));
    }
    if errors.is_empty() {
        Ok(rerun)
    } else {
        Err(Problem::parts(Code::InvalidBody, "body", errors))
    }
}

const RERUN: &[&str] = &["from_step", "input", "message", "input_data"];

fn input_data(body: &Fields<'_>, errors: &mut Vec<FieldError>) -> Option<Json> {
    let text = body.raw("input_data")?;
    if !text.starts_with('{') {
        errors.push(body.error(Some("input_data"), "dict_type", "must be an object"));
    }
    Some(Json::parse(text).expect("a part of a checked body is JSON"))
}
