//! `GET /tasks`, `GET /tasks/{id}`, `POST /tasks/{id}/cancel`, `POST /tasks/{id}/retry`.

mod filter;

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use ops_core::{
    TaskId,
    ports::{TaskFilter, TaskRecord},
};
use ops_engine::{Accepted, Error};

pub(super) use self::filter::{ListRequest, ManyParameters};
use super::{
    App, AppState, create, etag,
    extract::{Caller, TaskPath, refused},
    schema, shown,
    view::Task,
};
use crate::{
    json::{Optional, Shown as _, Written, view},
    problem::Problem,
};

/// A list ends early at this size and goes on at `next_cursor`: tasks can be large.
const MAX_LIST_BYTES: usize = 64 << 20;
/// Records that are read from the store at once, at first and when they prove small.
const FIRST_READ: u32 = 32;
const NEXT_READ: u32 = 256;

/// One task.
#[utoipa::path(
    get, path = "/api/v1/tasks/{task_id}", tag = "Tasks", operation_id = "get_task",
    params(schema::TaskPath, schema::Known),
    responses(
        (status = 200, body = Task, description = "The task.",
            headers(("ETag" = String, description = "Changes with each of its events."))),
        (status = 304, description = "It is as `If-None-Match` says."),
        schema::NoTask,
    ),
)]
pub(crate) async fn get(
    State(app): AppState,
    caller: Caller,
    TaskPath(id): TaskPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let record = app.settings.engine.task(caller.tenant, id).await;
    let record = record.map_err(refused(id))?;
    let tag = etag::of(&record.life);
    let mut response = match etag::is_known(&headers, &tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => {
            let task = Task::seen(&app.settings.engine, &record);
            shown(StatusCode::OK, size(&record), &task)
        }
    };
    response.headers_mut().insert(header::ETAG, tag);
    Ok(response)
}

/// Stops a task.
///
/// The task is `cancelled`, or `cancelling` until its worker confirms. A repeated request changes nothing.
#[utoipa::path(
    post, path = "/api/v1/tasks/{task_id}/cancel", tag = "Tasks", operation_id = "cancel_task",
    params(schema::TaskPath),
    responses(
        (status = 200, body = Task, description = "The task."),
        schema::NoTask, schema::Conflict,
    ),
)]
pub(crate) async fn cancel(
    State(app): AppState,
    caller: Caller,
    TaskPath(id): TaskPath,
) -> Result<Response, Problem> {
    changed(id, app.settings.engine.cancel(&caller, id)).await
}

/// Repeats an ended task, as a new task.
#[utoipa::path(
    post, path = "/api/v1/tasks/{task_id}/retry", tag = "Tasks", operation_id = "retry_task",
    params(schema::TaskPath, schema::IdempotencyKey),
    responses(
        (status = 201, body = Task, description = "The new task; `retry_of` is the old one.",
            headers(("Idempotency-Replayed" = String,
                description = "`true` if the key had made it before."))),
        schema::NoTask, schema::Conflict, schema::Invalid,
    ),
)]
pub(crate) async fn retry(
    State(app): AppState,
    caller: Caller,
    TaskPath(id): TaskPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let key = create::key(&headers, None)?;
    let engine = &app.settings.engine;
    let submitted = engine.retry(&caller, id, key).await;
    Ok(made(submitted.map_err(refused(id))?))
}

/// Lists tasks, newest first.
#[utoipa::path(
    get, path = "/api/v1/tasks", tag = "Tasks", operation_id = "list_tasks",
    params(filter::Parameters),
    responses((status = 200, body = TaskList, description = "A page."), schema::Invalid),
)]
pub(crate) async fn list(
    State(app): AppState,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Problem> {
    let list_request = ListRequest::parse(caller.tenant, uri.query())?;
    let total = app
        .settings
        .engine
        .count(caller.tenant, list_request.filter.clone());
    let total = total.await?;
    let page = page(&app, &caller, &list_request).await?;
    let list = TaskList {
        tasks: page.tasks,
        total,
        next_cursor: page.next,
        damaged: Optional::list(page.damaged),
    };
    Ok(shown(StatusCode::OK, 0, &list))
}

/// Answers with a task as a command has left it.
pub(super) async fn changed(
    id: TaskId,
    command: impl Future<Output = Result<TaskRecord, Error>>,
) -> Result<Response, Problem> {
    Ok(one(StatusCode::OK, &command.await.map_err(refused(id))?))
}

/// A task as a response.
pub(super) fn one(status: StatusCode, record: &TaskRecord) -> Response {
    shown(status, size(record), &Task::of(record))
}

/// About how large a task is as text.
fn size(record: &TaskRecord) -> usize {
    let input = record.task.input.as_str().len();
    let result = record.result.as_ref().map_or(0, |json| json.as_str().len());
    1_024 + input + 2 * result
}

/// A task that a request made, or that one with the same key had made before.
pub(super) fn made(accepted: Accepted) -> Response {
    made_as(accepted, &create::Given::default())
}

/// The same of a submit, which may have given parts of the input at another place.
pub(super) fn made_as(accepted: Accepted, given: &create::Given) -> Response {
    let Accepted {
        submitted,
        warnings,
    } = accepted;
    let task = Task::accepted(&submitted.record, given.parts(warnings));
    let mut response = shown(StatusCode::CREATED, size(&submitted.record), &task);
    if submitted.existing {
        response
            .headers_mut()
            .insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    response
}

view! {
    /// Tasks, newest first.
    pub(crate) struct TaskList {
        tasks: Written<Task<'static>>,
        /// The number of tasks that the filter fits, over all pages.
        total: u64,
        /// Null on the last page.
        next_cursor: Option<String>,
        /// Ids or names of entries that are damaged and left out; not there if there are none.
        damaged: Optional<Vec<String>>,
    }
}

/// A page of tasks.
pub(super) struct Page {
    pub(super) tasks: Written<Task<'static>>,
    /// The cursor of the next page, if there is a next page.
    pub(super) next: Option<String>,
    /// Ids of tasks that cannot be read and are left out.
    pub(super) damaged: Vec<String>,
}

/// Reads a page and writes its tasks: no more than a few records are held beside their text.
pub(super) async fn page(
    app: &App,
    caller: &Caller,
    list_request: &ListRequest,
) -> Result<Page, Problem> {
    let mut out = Vec::with_capacity(4_096);
    out.push(b'[');
    let mut damaged = Vec::new();
    let mut left = list_request.limit;
    let mut before = list_request.filter.before;
    let mut read = FIRST_READ;
    let more = loop {
        // One more than wanted shows whether there is a next page.
        let asked = read.min(left + 1);
        let filter = TaskFilter {
            before,
            limit: asked,
            ..list_request.filter.clone()
        };
        let mut records = app.settings.engine.tasks(caller.tenant, filter).await?;
        damaged.append(&mut records.damaged);
        let full = records.len() >= asked as usize;
        let begun = out.len();
        let mut cut = false;
        for record in records {
            cut = left == 0 || out.len() > MAX_LIST_BYTES;
            if cut {
                break;
            }
            if before != list_request.filter.before {
                out.push(b',');
            }
            Task::seen(&app.settings.engine, &record).write(&mut out);
            before = Some(record.task.id);
            left -= 1;
        }
        if cut || !full {
            break cut;
        }
        let small = out.len() - begun < (1 << 20);
        read = if small { NEXT_READ } else { FIRST_READ };
    };
    out.push(b']');
    // The next page may meet some of them again.
    damaged.sort_unstable();
    damaged.dedup();
    let next = before.filter(|_| more);
    Ok(Page {
        tasks: Written::new(out),
        next: next.map(|task| list_request.list.after_task(task)),
        damaged,
    })
}
