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
    App, AppState, answer, create, etag,
    extract::{Caller, TaskPath, refused},
    schema,
    view::{self, Beside},
};
use crate::{json::ObjectWriter, problem::Problem};

/// A list ends early at this size and goes on at `next_cursor`: tasks can be large.
const MAX_LIST_BYTES: usize = 64 << 20;
/// Records that are read from the store at once, at first and when they prove small.
const FIRST_READ: u32 = 32;
const NEXT_READ: u32 = 256;

/// One task.
#[utoipa::path(
    get, path = "/api/v1/tasks/{task_id}", tag = "Tasks", operation_id = "get_task",
    params(
        schema::TaskPath,
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` that is known."),
    ),
    responses(
        (status = 200, body = schema::Task, description = "The task.",
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
            let beside = Beside::of(&app.settings.engine, &record);
            seen(&record, &beside)
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
        (status = 200, body = schema::Task, description = "The task."),
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
        (status = 201, body = schema::Task, description = "The new task; `retry_of` is the old one.",
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
    responses((status = 200, body = schema::TaskList, description = "A page."), schema::Invalid),
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
    let mut out = Vec::with_capacity(4_096);
    let mut list = ObjectWriter::begin(&mut out);
    let page = write(&app, &caller, &list_request, list.key("tasks")).await?;
    list.value("total", &total);
    page.end(&mut list);
    list.end();
    Ok(answer(StatusCode::OK, out))
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
    let mut out = Vec::with_capacity(size(record));
    view::task(&mut out, record);
    answer(status, out)
}

/// A task for a reader.
fn seen(record: &TaskRecord, beside: &Beside) -> Response {
    let mut out = Vec::with_capacity(size(record));
    view::task_seen(&mut out, record, beside);
    answer(StatusCode::OK, out)
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
    let mut out = Vec::with_capacity(size(&submitted.record));
    view::task_accepted(&mut out, &submitted.record, &given.parts(warnings));
    let mut response = answer(StatusCode::CREATED, out);
    if submitted.existing {
        response
            .headers_mut()
            .insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    response
}

/// The fields behind the tasks of a page.
pub(super) struct End {
    /// The cursor of the next page, if there is a next page.
    next: Option<String>,
    /// Ids of tasks that cannot be read and are left out.
    damaged: Vec<String>,
}

impl End {
    pub(super) fn end(&self, list: &mut ObjectWriter<'_>) {
        list.value("next_cursor", &self.next);
        if !self.damaged.is_empty() {
            list.value("damaged", &self.damaged);
        }
    }
}

/// Writes the array, and gives the fields behind the array.
pub(super) async fn write(
    app: &App,
    caller: &Caller,
    list_request: &ListRequest,
    out: &mut Vec<u8>,
) -> Result<End, Problem> {
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
            let beside = Beside::of(&app.settings.engine, &record);
            view::task_seen(out, &record, &beside);
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
    Ok(End {
        next: next.map(|task| list_request.list.after_task(task)),
        damaged,
    })
}
