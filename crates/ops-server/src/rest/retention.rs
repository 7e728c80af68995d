//! Retention: `GET /retention`, `POST /retention/run`.

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use ops_core::ports::{Counts, Expired, Retention};

use super::{
    AppState,
    extract::Caller,
    schema::Invalid,
    shape::{Body, Flag, Seconds, body},
    shown,
    view::seconds,
};
use crate::{json::view, problem::Problem};

/// How long tasks are kept, and the tasks that a deletion would take now.
#[utoipa::path(
    get, path = "/api/v1/retention", tag = "Retention", operation_id = "get_retention",
    responses((status = 200, body = RetentionCandidate, description = "How it stands.")),
)]
pub(crate) async fn show(State(app): AppState, _: Caller) -> Result<Response, Problem> {
    let engine = &app.settings.engine;
    let keep = engine.retention();
    let expired = match keep.keeps_all() {
        true => Expired::default(),
        false => engine.expired(keep).await?,
    };
    let view = RetentionCandidate {
        keep: Keep::of(keep),
        tasks: expired.tasks,
        events: expired.events,
    };
    Ok(shown(StatusCode::OK, 256, &view))
}

/// Deletes expired tasks, or counts them.
///
/// A thousand tasks at the most; `more` says whether to repeat the request.
#[utoipa::path(
    post, path = "/api/v1/retention/run", tag = "Retention", operation_id = "run_retention",
    request_body = RunRetention,
    responses(
        (status = 200, body = Deleted, description = "What was deleted, or would be."),
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
    let view = Deleted {
        dry_run: request.dry_run,
        keep: Keep::of(keep),
        tasks: expired.tasks,
        events: expired.events,
        more,
    };
    Ok(shown(StatusCode::OK, 256, &view))
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

view! {
    /// How long tasks are kept, and the tasks that a deletion would take now.
    pub(crate) struct RetentionCandidate as RetentionState {
        keep: Keep,
        /// Tasks by state.
        tasks: Counts,
        /// Their events.
        events: u64,
    }
}

view! {
    /// Seconds after the end of a task, by its state; null for ever.
    pub(crate) struct Keep {
        completed: Option<f64>,
        failed: Option<f64>,
        cancelled: Option<f64>,
    }
}

view! {
    /// Deleted tasks, or tasks that would be deleted.
    pub(crate) struct Deleted as RetentionRun {
        dry_run: bool,
        keep: Keep,
        /// Tasks by state.
        tasks: Counts,
        /// Their events.
        events: u64,
        /// Whether there is more to delete.
        more: bool,
    }
}

impl Keep {
    fn of(keep: Retention) -> Self {
        Self {
            completed: keep.completed.map(seconds),
            failed: keep.failed.map(seconds),
            cancelled: keep.cancelled.map(seconds),
        }
    }
}
