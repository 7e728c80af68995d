//! Tasks that were given up: `GET /dead-letters`, and going on from them.

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::{StatusCode, Uri};
use ops_engine::DryRun;

use super::{
    AppState, answer,
    extract::{Caller, TaskPath, refused},
    schema,
    shape::{Body, Flag, Within, body},
    tasks::{self, ListRequest},
};
use crate::{json::ObjectWriter, problem::Problem};

/// Lists the tasks that were given up and have no redrive, newest first.
#[utoipa::path(
    get, path = "/api/v1/dead-letters", tag = "Dead letters", operation_id = "list_dead_letters",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000,
            description = "Tasks at the most. Default: 100"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
    ),
    responses(
        (status = 200, body = schema::DeadLetters, description = "The tasks."),
        schema::Invalid,
    ),
)]
pub(crate) async fn list(
    State(app): AppState,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Problem> {
    let list_request = ListRequest::dead_letters(caller.tenant, uri.query())?;
    let mut out = Vec::with_capacity(4_096);
    let mut list = ObjectWriter::begin(&mut out);
    let page = tasks::write(&app, &caller, &list_request, list.key("tasks")).await?;
    page.end(&mut list);
    list.end();
    Ok(answer(StatusCode::OK, out))
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
        (status = 201, body = schema::Task, description = "The new task.", headers(
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
        (status = 200, body = schema::Redriven, description = "What became of each."),
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
    let mut out = Vec::with_capacity(1_024);
    let mut view = ObjectWriter::begin(&mut out);
    let items = view.key("redriven");
    items.push(b'[');
    for (index, one) in redriven.iter().enumerate() {
        if index > 0 {
            items.push(b',');
        }
        let mut item = ObjectWriter::begin(items);
        item.plain("from", &one.from);
        match &one.task {
            Ok(Some(task)) => item.plain("task_id", task),
            Ok(None) | Err(_) => item.raw("task_id", None),
        }
        item.value(
            "error",
            &one.task.as_ref().err().map(|error| &error.message),
        );
        item.end();
    }
    items.push(b']');
    view.value("dry_run", &(dry_run == DryRun::Yes));
    view.end();
    Ok(answer(StatusCode::OK, out))
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
