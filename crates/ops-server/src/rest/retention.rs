//! Retention: `GET /retention`, `POST /retention/run`.

mod schema;

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use ops_core::ports::{Expired, Retention};

use super::{
    AppState, answer,
    extract::Caller,
    schema::Invalid,
    shape::{Body, Flag, Seconds, body},
    view::seconds,
};
use crate::{json::ObjectWriter, problem::Problem};

/// How long tasks are kept, and the tasks that a deletion would take now.
#[utoipa::path(
    get, path = "/api/v1/retention", tag = "Retention", operation_id = "get_retention",
    responses((status = 200, body = schema::RetentionCandidate, description = "How it stands.")),
)]
pub(crate) async fn show(State(app): AppState, _: Caller) -> Result<Response, Problem> {
    let engine = &app.settings.engine;
    let keep = engine.retention();
    let expired = match keep.keeps_all() {
        true => Expired::default(),
        false => engine.expired(keep).await?,
    };
    let mut out = Vec::with_capacity(256);
    let mut view = ObjectWriter::begin(&mut out);
    policy(view.key("keep"), keep);
    counts(&mut view, &expired);
    view.end();
    Ok(answer(StatusCode::OK, out))
}

/// Deletes expired tasks, or counts them.
///
/// A thousand tasks at the most; `more` says whether to repeat the request.
#[utoipa::path(
    post, path = "/api/v1/retention/run", tag = "Retention", operation_id = "run_retention",
    request_body = RunRetention,
    responses(
        (status = 200, body = schema::Deleted, description = "What was deleted, or would be."),
        Invalid,
    ),
)]
pub(crate) async fn run(
    State(app): AppState,
    _: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = app.bodies.json_or_nothing(&parts.headers, body).await?;
    let engine = &app.settings.engine;
    let request = parse(body.text())?;
    let keep = match request.keep.keeps_all() {
        true => engine.retention(),
        false => request.keep,
    };
    let (expired, more) = if request.dry_run {
        (engine.expired(keep).await?, false)
    } else {
        let deleted = engine.delete_expired(keep).await?;
        (deleted.expired, deleted.more)
    };
    let mut out = Vec::with_capacity(256);
    let mut view = ObjectWriter::begin(&mut out);
    view.value("dry_run", &request.dry_run);
    policy(view.key("keep"), keep);
    counts(&mut view, &expired);
    view.value("more", &more);
    view.end();
    Ok(answer(StatusCode::OK, out))
}

struct RetentionRequest {
    dry_run: bool,
    keep: Retention,
}

fn parse(text: &str) -> Result<RetentionRequest, Problem> {
    RunRetention::read(text, |body, _| RetentionRequest {
        dry_run: body.dry_run.unwrap_or(false),
        keep: Retention {
            completed: body.completed,
            failed: body.failed,
            cancelled: body.cancelled,
        },
    })
}

body! {
    /// A request to delete. With any of the three ages, no configured age holds.
    pub(super) struct RunRetention {
        /// Delete no task; count the tasks that would be deleted.
        dry_run: Flag,
        /// Since the end of the task: seconds, or text like `12h` or `30d`.
        completed: Seconds,
        /// Since the end of the task: seconds, or text like `12h` or `30d`.
        failed: Seconds,
        /// Since the end of the task: seconds, or text like `12h` or `30d`.
        cancelled: Seconds,
    }
}

/// Seconds by state; null for ever.
fn policy(out: &mut Vec<u8>, keep: Retention) {
    let mut view = ObjectWriter::begin(out);
    view.value("completed", &keep.completed.map(seconds));
    view.value("failed", &keep.failed.map(seconds));
    view.value("cancelled", &keep.cancelled.map(seconds));
    view.end();
}

fn counts(view: &mut ObjectWriter<'_>, expired: &Expired) {
    view.value("tasks", &expired.tasks);
    view.value("events", &expired.events);
}
