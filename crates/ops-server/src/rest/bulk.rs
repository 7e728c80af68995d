//! `POST /tasks:cancel`, `/tasks:pause`, `/tasks:resume`: many tasks by a filter.

use axum::{extract::State, response::Response};
use http::{StatusCode, Uri};
use ops_core::{TaskId, task::StateName};
use ops_engine::{DryRun, Steer, Steered};

use super::{
    App, AppState,
    extract::Caller,
    schema, shown,
    tasks::{ListRequest, ManyParameters},
};
use crate::{json::view, problem::Problem};

/// Stops the tasks that a filter fits, newest first.
///
/// The filter is that of the list of tasks, and names something; tasks that have ended are left out. Each
/// is stopped on its own account, with its children.
#[utoipa::path(
    post, path = "/api/v1/tasks:cancel", tag = "Tasks", operation_id = "cancel_tasks",
    params(ManyParameters),
    responses((status = 200, body = SteeredList, description = "What became of each."), schema::Invalid),
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
    responses((status = 200, body = SteeredList, description = "What became of each."), schema::Invalid),
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
    responses((status = 200, body = SteeredList, description = "What became of each."), schema::Invalid),
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
    let list = SteeredList {
        tasks: page.tasks.iter().map(SteeredTask::of).collect(),
        dry_run: dry_run == DryRun::Yes,
        next_cursor: page.next.map(|task| list_request.list.after_task(task)),
    };
    Ok(shown(StatusCode::OK, 1_024, &list))
}

view! {
    /// Outcomes for many tasks.
    pub(crate) struct SteeredList<'a> as Steered {
        tasks: Vec<SteeredTask<'a>>,
        dry_run: bool,
        /// Null on the last page.
        next_cursor: Option<String>,
    }
}

view! {
    /// Outcome for one task.
    pub(crate) struct SteeredTask<'a> {
        task_id: TaskId,
        /// The state that it is in now; in a dry run the one that it was found in. Null where it refused.
        state: Option<StateName>,
        /// Why the task refused.
        error: Option<&'a str>,
    }
}

impl<'a> SteeredTask<'a> {
    fn of(steered: &'a Steered) -> Self {
        Self {
            task_id: steered.task,
            state: steered.state.as_ref().ok().copied(),
            error: steered.state.as_ref().err().map(|error| &*error.message),
        }
    }
}
