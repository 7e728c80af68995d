//! Tasks that were given up: `GET /dead-letters`, and going on from them.

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::{StatusCode, Uri};
use ops_core::TaskId;
use ops_engine::{DryRun, Redriven};

use super::{
    AppState,
    extract::{Caller, TaskPath, refused},
    schema,
    shape::{Body, Flag, Within, body},
    shown,
    tasks::{self, ListRequest},
    view::Task,
};
use crate::{
    json::{Optional, Written, view},
    problem::Problem,
};

/// Lists the tasks that were given up and have no redrive, newest first.
#[utoipa::path(
    get, path = "/api/v1/dead-letters", tag = "Dead letters", operation_id = "list_dead_letters",
    params(schema::PageQuery),
    responses(
        (status = 200, body = DeadLetters, description = "The tasks."),
        schema::Invalid,
    ),
)]
pub(crate) async fn list(
    State(app): AppState,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Problem> {
    let list_request = ListRequest::dead_letters(caller.tenant, uri.query())?;
    let page = tasks::page(&app, &caller, &list_request).await?;
    let list = DeadLetters {
        tasks: page.tasks,
        next_cursor: page.next,
        damaged: Optional::list(page.damaged),
    };
    Ok(shown(StatusCode::OK, 0, &list))
}

/// Redrives a dead letter: a new task goes on.
///
/// The new task has the dead letter's log, and all attempts again: recorded calls are neither made nor paid
/// again. A second redrive finds the same task.
#[utoipa::path(
    post, path = "/api/v1/dead-letters/{task_id}/redrive", tag = "Dead letters",
    operation_id = "redrive_task",
    params(schema::TaskPath),
    responses(
        (status = 201, body = Task, description = "The new task.", headers(
            ("Idempotency-Replayed" = String, description = "`true` if it was redriven before."),
        )),
        schema::NoTask, schema::Conflict,
    ),
)]
pub(crate) async fn redrive(
    State(app): AppState,
    caller: Caller,
    TaskPath(id): TaskPath,
) -> Result<Response, Problem> {
    let submitted = app.settings.engine.redrive(&caller, id).await;
    Ok(tasks::made(submitted.map_err(refused(id))?))
}

/// Redrives many dead letters, newest first. With `dry_run` they are named and no task is redriven.
#[utoipa::path(
    post, path = "/api/v1/dead-letters:redrive", tag = "Dead letters",
    operation_id = "redrive_tasks",
    request_body = Redrive,
    responses(
        (status = 200, body = RedrivenList, description = "What became of each."),
        schema::Invalid,
    ),
)]
pub(crate) async fn redrive_all(
    State(app): AppState,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = app.bodies.json_or_nothing(&parts.headers, body).await?;
    let (limit, dry_run) = Redrive::read(body.text(), |body, _| {
        let dry_run = match body.dry_run {
            Some(true) => DryRun::Yes,
            Some(false) | None => DryRun::No,
        };
        (body.limit.unwrap_or(100), dry_run)
    })?;
    let engine = &app.settings.engine;
    let redriven = engine.redrive_all(&caller, limit, dry_run).await?;
    let view = RedrivenList {
        redriven: redriven.iter().map(RedrivenTask::of).collect(),
        dry_run: dry_run == DryRun::Yes,
    };
    Ok(shown(StatusCode::OK, 1_024, &view))
}

view! {
    /// Tasks that were given up.
    pub(crate) struct DeadLetters {
        tasks: Written<Task<'static>>,
        /// Null on the last page.
        next_cursor: Option<String>,
        /// Ids or names of entries that are damaged and left out; not there if there are none.
        damaged: Optional<Vec<String>>,
    }
}

view! {
    /// Outcomes for dead letters.
    pub(crate) struct RedrivenList<'a> as Redriven {
        redriven: Vec<RedrivenTask<'a>>,
        dry_run: bool,
    }
}

view! {
    /// Outcome for one dead letter.
    pub(crate) struct RedrivenTask<'a> {
        /// The dead letter.
        from: TaskId,
        /// The task that goes on from it; null in a dry run and where it was refused.
        task_id: Option<TaskId>,
        /// Why the redrive was refused.
        error: Option<&'a str>,
    }
}

impl<'a> RedrivenTask<'a> {
    fn of(redriven: &'a Redriven) -> Self {
        Self {
            from: redriven.from,
            task_id: redriven.task.as_ref().ok().copied().flatten(),
            error: redriven.task.as_ref().err().map(|error| &*error.message),
        }
    }
}

body! {
    /// Which dead letters to go on from.
    pub(super) struct Redrive {
        /// So many at the most, newest first.
        limit: Within<1, 1000> = {"default": 100},
        /// Only name them.
        dry_run: Flag,
    }
}
