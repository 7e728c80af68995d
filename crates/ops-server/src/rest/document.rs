//! `/openapi.json`: the document of the routes; `/docs`: the same as a page.

mod page;

use std::sync::OnceLock;

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{HeaderName, StatusCode, header};
use utoipa::openapi::OpenApi;

use super::{AppState, answer};
use crate::json;

/// The page has no script, and no part of the page comes from elsewhere.
const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// The document, in both forms.
pub(super) struct Document {
    json: Bytes,
    /// Made for the first request.
    page: OnceLock<Bytes>,
}

impl Document {
    pub(super) fn new(document: &OpenApi) -> Self {
        let mut document = serde_json::to_value(document).expect("a document is JSON");
        json::settle(&mut document);
        Self {
            json: json::to_vec(&document).into(),
            page: OnceLock::new(),
        }
    }

    /// The document as JSON.
    pub(super) fn json(&self) -> &Bytes {
        &self.json
    }
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "Server", operation_id = "openapi",
    responses((status = 200, body = Object, description = "OpenAPI 3.1.")),
)]
pub(crate) async fn openapi(State(app): AppState) -> Response {
    answer(StatusCode::OK, app.document.json.clone())
}

/// This document as a page.
#[utoipa::path(
    get, path = "/docs", tag = "Server", operation_id = "docs",
    responses((status = 200, body = String, content_type = "text/html", description = "The page.")),
)]
pub(crate) async fn docs(State(app): AppState) -> Response {
    let document = &app.document;
    let page = document.page.get_or_init(|| page::render(&document.json));
    asset("text/html; charset=utf-8", page.clone())
}

/// How the page looks.
#[utoipa::path(
    get, path = "/docs.css", tag = "Server", operation_id = "docs_style",
    responses((status = 200, body = String, content_type = "text/css", description = "The sheet.")),
)]
pub(crate) async fn style() -> Response {
    let sheet = include_bytes!("document/docs.css");
    asset("text/css; charset=utf-8", Bytes::from_static(sheet))
}

fn asset(kind: &'static str, body: Bytes) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    (headers, body).into_response()
}
