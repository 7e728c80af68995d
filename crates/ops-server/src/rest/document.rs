//! `/openapi.json`: the document of the routes.

use axum::{extract::State, response::Response};
use http::StatusCode;

use super::{AppState, answer};

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "Server", operation_id = "openapi",
    responses((status = 200, body = Object, description = "OpenAPI 3.1.")),
)]
pub(crate) async fn openapi(State(app): AppState) -> Response {
    answer(StatusCode::OK, app.document.clone())
}
