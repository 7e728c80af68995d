//! `POST /tasks:cancel`, `/tasks:pause`, `/tasks:resume`: many tasks by a filter.

use axum::{extract::State, response::Response};
use http::{StatusCode, Uri};
use ops_core::task::StateName;
use ops_engine::{DryRun, Steer, Steered};

use super::{
    App, AppState, answer,
    extract::Caller,
    schema,
    tasks::{ListRequest, ManyParameters},
};
use crate::{json::ObjectWriter, problem::Problem};

/// Stops the tasks that a filter fits, newest first.
///
/// The filter is that of the list of tasks, and names something; tasks that have ended are left out. Each
/// is stopped on its own account, with its children.
#[utoipa::path(
    post, path = "/api/v1/tasks:cancel", tag = "Tasks", operation_id = "cancel_tasks",
    params(ManyParameters),
    responses((status = 200, body = schema::Steered, description = "What became of each."), schema::Invalid),
)]
pub(crate) async fn cancel(
    State(app): AppState,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Problem> {
    steer(&app, &caller, Steer::Cancel, &uri).await
}

/// Pauses the tasks that a filter fits, newest first.
#[utoipa::path(
    post, path = "/api/v1/tasks:pause", tag = "Tasks", operation_id = "pause_tasks",
    params(ManyParameters),
    responses((status = 200, body = schema::Steered, description = "What became of each."), schema::Invalid),
)]
pub(crate) async fn pause(
    State(app): AppState,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Problem> {
    steer(&app, &caller, Steer::Pause, &uri).await
}

/// Lets the paused tasks that a filter fits go on, newest first.
#[utoipa::path(
    post, path = "/api/v1/tasks:resume", tag = "Tasks", operation_id = "resume_tasks",
    params(ManyParameters),
    responses((status = 200, body = schema::Steered, description = "What became of each."), schema::Invalid),
)]
pub(crate) async fn resume(
    State(app): AppState,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Problem> {
    steer(&app, &caller, Steer::Resume, &uri).await
}

async fn steer(app: &App, caller: &Caller, steer: Steer, uri: &Uri) -> Result<Response, Problem> {
    let (list_request, dry_run) = ListRequest::many(caller.tenant, uri.query())?;
    let engine = &app.settings.engine;
    let page = engine.steer_all(
        caller,
        steer,
        list_request.filter,
        (list_request.limit, dry_run),
    );
    let page = page.await?;
    let mut out = Vec::with_capacity(1_024);
    let mut view = ObjectWriter::begin(&mut out);
    let items = view.key("tasks");
    items.push(b'[');
    for (index, one) in page.tasks.iter().enumerate() {
        if index > 0 {
            items.push(b',');
        }
        write(items, one);
    }
    items.push(b']');
    view.value("dry_run", &(dry_run == DryRun::Yes));
    let next = page.next.map(|task| list_request.list.after_task(task));
    view.value("next_cursor", &next);
    view.end();
    Ok(answer(StatusCode::OK, out))
}

fn write(out: &mut Vec<u8>, steered: &Steered) {
    let mut item = ObjectWriter::begin(out);
    item.plain("task_id", &steered.task);
    let state = steered.state.as_ref().ok().copied();
    item.value("state", &state.map(StateName::as_str));
    let error = steered.state.as_ref().err();
    item.value("error", &error.map(|error| &error.message));
    item.end();
}
