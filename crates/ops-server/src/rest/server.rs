//! `/health`, `/ready`, `/api/v1/info`.

use axum::{extract::State, response::Response};
use http::StatusCode;

use super::{AppState, answer, extract::Caller};
use crate::{json, problem::Problem};

/// Alive. It asks nothing of the database, so that it answers whatever happens there.
pub(crate) async fn health(State(app): AppState) -> Response {
    answer(StatusCode::OK, app.health.clone())
}

/// Whether the parts work: 200, or 503 with the code of the part that does not.
pub(crate) async fn ready(State(app): AppState, caller: Caller) -> Result<Response, Problem> {
    if app.surface.stop.is_cancelled() {
        let message = "the server is stopping and takes no new work";
        return Err(Problem::new(ops_core::Code::ShuttingDown, message));
    }
    app.surface.engine.counts(caller.tenant).await?;
    let body = r#"{"status":"ready","parts":{"storage":"ok"}}"#;
    Ok(answer(StatusCode::OK, body))
}

/// What the command line shows about the server.
pub(crate) async fn info(State(app): AppState) -> Response {
    answer(StatusCode::OK, json::to_vec(&app.surface.info))
}
