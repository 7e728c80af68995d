//! `/health`, `/ready`, `/api/v1/info`.

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header};

use serde::Serialize;
use utoipa::ToSchema;

use super::{AppState, answer, extract::Caller};
use crate::{info::Health, json, problem::Problem};

/// Whether the parts work.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ready {
    status: &'static str,
    parts: Parts,
    /// What is not as it should be, though everything works: tasks in a queue that nobody serves, commits
    /// that a damaged log has lost, a disk that is nearly full.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// Each part: `ok`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Parts {
    storage: &'static str,
}

/// Whether the process serves.
///
/// It asks nothing of the database, so that it answers whatever happens there.
#[utoipa::path(
    get, path = "/health", tag = "Server", operation_id = "health",
    responses((status = 200, body = Health, description = "It does.")),
)]
pub(crate) async fn health(State(app): AppState) -> Response {
    answer(StatusCode::OK, app.health.clone())
}

/// The same as `/health`, where version 1 had it.
#[utoipa::path(
    get, path = "/api/v1/health", tag = "Server", operation_id = "health_v1",
    responses((status = 200, body = Health, description = "It does.")),
)]
pub(crate) async fn health_v1(app: AppState) -> Response {
    health(app).await
}

/// Whether the parts work: 200, or 503 or 507 with the code of the part that does not. While writes fail
/// it says so, and why.
#[utoipa::path(
    get, path = "/ready", tag = "Server", operation_id = "ready",
    responses((status = 200, body = Ready, description = "They do.")),
)]
pub(crate) async fn ready(State(app): AppState, caller: Caller) -> Result<Response, Problem> {
    if app.surface.stop.is_cancelled() {
        let message = "the server is stopping and takes no new work";
        return Err(Problem::new(ops_core::Code::ShuttingDown, message));
    }
    app.surface.engine.counts(caller.tenant).await?;
    let mut warnings = app.surface.engine.storage_warnings()?;
    let unserved = app.surface.engine.unserved_queues().await?;
    let warning = |queue| format!("tasks wait in the queue `{queue}`, which no worker serves");
    warnings.extend(unserved.iter().map(warning));
    let ready = Ready {
        status: "ready",
        parts: Parts { storage: "ok" },
        warnings,
    };
    Ok(answer(StatusCode::OK, json::to_vec(&ready)))
}

/// What the server says about itself.
#[utoipa::path(
    get, path = "/api/v1/info", tag = "Server", operation_id = "info",
    responses((status = 200, body = crate::ServerInfo, description = "Facts fixed at the start.")),
)]
pub(crate) async fn info(State(app): AppState) -> Response {
    answer(StatusCode::OK, json::to_vec(&app.surface.info))
}

/// What the server counts, in the text format of Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "Server", operation_id = "metrics",
    responses((status = 200, body = String, content_type = "text/plain",
        description = "The counters.")),
)]
pub(crate) async fn metrics(State(app): AppState, caller: Caller) -> Response {
    // While the database cannot be read, the rest is worth the more.
    let tasks = app.surface.engine.counts(caller.tenant).await.ok();
    let text = app.metrics.text(tasks, app.surface.engine.stats());
    ([(header::CONTENT_TYPE, crate::metrics::CONTENT_TYPE)], text).into_response()
}
