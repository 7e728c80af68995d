//! `POST /reload`.

use axum::{extract::State, response::Response};
use http::{StatusCode, Uri};
use ops_core::{Code, rules::configuration::Difference};

use super::{AppState, extract::Caller, schema::ReloadRefused, shown};
use crate::{json::view, problem::Problem, query::Query};

view! {
    /// Outcome of a reload.
    pub(crate) struct Reloaded {
        /// Sentences about entries that are odd or still cannot be used.
        notes: Vec<String>,
        /// Settings that have changed in the files and take effect at the next start.
        needs_restart: Vec<String>,
        /// Workers of other processes whose configurations differ from this server's now, as each reads its own files.
        workers_that_differ: Vec<WorkerDifference>,
    }
}

view! {
    /// A worker whose configuration differs.
    pub(crate) struct WorkerDifference {
        /// The worker's machine and process id.
        worker: String,
        /// The parts that differ: `policy`, `budgets`, `limits`, `tools`, `models`, or `release`.
        parts: Vec<String>,
    }
}

/// Reads tools, MCP servers and policy anew, for runs that have not begun.
///
/// A mistake refuses the whole reload, and nothing changes.
#[utoipa::path(
    post, path = "/api/v1/reload", tag = "Server", operation_id = "reload",
    responses(
        (status = 200, body = Reloaded, description = "The files were read."),
        ReloadRefused,
    ),
)]
pub(crate) async fn reload(State(app): AppState, _: Caller, uri: Uri) -> Result<Response, Problem> {
    Query::none(uri.query())?;
    let reloaded = app.settings.reload.reload().await;
    let reloaded = reloaded.map_err(|why| Problem::new(Code::ReloadRefused, why.0))?;
    let differ = app.settings.engine.workers_that_differ().await?;
    let body = Reloaded {
        notes: reloaded.notes,
        needs_restart: reloaded.needs_restart,
        workers_that_differ: differ
            .into_iter()
            .map(|Difference { worker, parts }| WorkerDifference { worker, parts })
            .collect(),
    };
    Ok(shown(StatusCode::OK, 256, &body))
}
