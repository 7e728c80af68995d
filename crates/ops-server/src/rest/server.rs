//! `/health`, `/ready`, `/api/v1/info`.

use std::collections::BTreeMap;

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header};
use ops_core::rules::configuration::Difference;

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
    /// that a damaged log has lost, a disk that is nearly full, MCP servers that are away or whose tools are held,
    /// budgets that are nearly used up, providers whose limits keep tasks waiting.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// Each part: `ok`, or how it is.
#[derive(Serialize, ToSchema)]
pub(crate) struct Parts {
    storage: &'static str,
    /// Further parts, for instance `sandbox` with the tier that programs of tools run in.
    #[serde(flatten)]
    others: BTreeMap<&'static str, String>,
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
    if app.settings.stop.is_cancelled() {
        let message = "the server is stopping and takes no new work";
        return Err(Problem::new(ops_core::Code::ShuttingDown, message));
    }
    app.settings.engine.counts(caller.tenant).await?;
    let mut warnings = app.settings.engine.storage_warnings()?;
    let unserved = app.settings.engine.unserved_queues().await?;
    let warning = |queue| format!("tasks wait in the queue `{queue}`, which no worker serves");
    warnings.extend(unserved.iter().map(warning));
    let servers = app.settings.mcp.servers(caller.tenant).await;
    warnings.extend(super::mcp::warnings(&servers.unwrap_or_default()));
    let budgets = app.settings.engine.budgets(caller.tenant).await;
    warnings.extend(super::budgets::warnings(&budgets.unwrap_or_default()));
    let lines = app.settings.engine.provider_lines().await;
    warnings.extend(super::budgets::line_warnings(&lines.unwrap_or_default()));
    let differ = app.settings.engine.workers_that_differ().await;
    warnings.extend(differ.unwrap_or_default().iter().map(difference));
    warnings.extend(app.settings.parts.iter().filter_map(|part| part.warning()));
    let parts = app.settings.parts.iter();
    let ready = Ready {
        status: "ready",
        parts: Parts {
            storage: "ok",
            others: parts.map(|part| (part.name(), part.state())).collect(),
        },
        warnings,
    };
    Ok(answer(StatusCode::OK, json::to_vec(&ready)))
}

/// A sentence about a worker whose configuration differs.
fn difference(of: &Difference) -> String {
    format!(
        "the worker {} runs with another configuration than this server: {}; give all processes the same files, then \
         restart it, or send it SIGHUP where only tools or policy differ",
        of.worker,
        of.parts.join(", "),
    )
}

/// The server's description of itself.
#[utoipa::path(
    get, path = "/api/v1/info", tag = "Server", operation_id = "info",
    responses((status = 200, body = crate::ServerInfo, description = "Facts fixed at the start.")),
)]
pub(crate) async fn info(State(app): AppState) -> Response {
    answer(StatusCode::OK, json::to_vec(&app.settings.info))
}

/// The server's metrics, in the text format of Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "Server", operation_id = "metrics",
    responses((status = 200, body = String, content_type = "text/plain",
        description = "The counters.")),
)]
pub(crate) async fn metrics(State(app): AppState, caller: Caller) -> Response {
    // While the database cannot be read, the rest is worth the more.
    let tasks = app.settings.engine.counts(caller.tenant).await.ok();
    let servers = app.settings.mcp.servers(caller.tenant).await;
    let mut stats = app.settings.engine.stats();
    stats
        .metrics
        .extend(app.settings.parts.iter().flat_map(|part| part.metrics()));
    let budgets = app.settings.engine.budgets(caller.tenant).await;
    let lines = app.settings.engine.provider_lines().await;
    let text = app.metrics.text(
        tasks,
        stats,
        servers.unwrap_or_default(),
        budgets.unwrap_or_default(),
        lines.unwrap_or_default(),
    );
    ([(header::CONTENT_TYPE, crate::metrics::CONTENT_TYPE)], text).into_response()
}
