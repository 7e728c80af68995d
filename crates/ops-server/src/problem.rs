//! Refusals as RFC 9457 problem details; the one place that maps codes to HTTP.

use std::sync::Arc;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use ops_core::Code;
use ops_engine::{Error, FieldError};
use serde::Serialize;

use crate::json;

/// Seconds after which a request that came at a bad time may be sent again.
const RETRY_AFTER: &str = "1";

/// A refused request.
#[derive(Debug, Clone)]
pub(crate) struct Problem(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    fix: &'static str,
    detail: String,
    errors: Vec<Part>,
}

/// One offending part of a request, as version-1 clients know it.
#[derive(Debug, Clone, Serialize)]
struct Part {
    loc: Vec<String>,
    msg: String,
    r#type: &'static str,
}

/// What is wrong with a request before it has a route: faults of HTTP itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not HTTP/1.1.
    Malformed,
    /// The target is too long.
    UriTooLong,
    /// The header is too large.
    HeaderTooLarge,
    /// The client was too slow.
    TooSlow,
}

fn status(code: Code) -> StatusCode {
    match code {
        Code::InvalidBody
        | Code::InvalidQuery
        | Code::UnknownTaskType
        | Code::IdempotencyMismatch => StatusCode::UNPROCESSABLE_ENTITY,
        Code::UnknownQueue => StatusCode::UNPROCESSABLE_ENTITY,
        Code::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::TaskNotFound | Code::RouteNotFound | Code::ApprovalNotFound => StatusCode::NOT_FOUND,
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::ForbiddenHost => StatusCode::FORBIDDEN,
        Code::TaskFinal
        | Code::TaskNotFinal
        | Code::TaskCancelling
        | Code::CannotRerun
        | Code::NotDeadLetter
        | Code::ApprovalDecided
        | Code::ApprovalChanged
        | Code::NotInDoubt
        | Code::IdempotencyInFlight => StatusCode::CONFLICT,
        Code::Overloaded | Code::StorageUnavailable | Code::ShuttingDown => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Code::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        // The last two are codes of tasks; no request is refused with them.
        Code::Internal | Code::WorkerLost | Code::RunFailed => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl Problem {
    /// A refusal with a sentence.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            status: status(code),
            code: code.as_str(),
            title: code.title(),
            fix: code.fix(),
            detail: detail.into(),
            errors: Vec::new(),
        }))
    }

    /// A refusal that names offending parts; `place` is where they are: `body`, `query`, ...
    pub(crate) fn parts(code: Code, place: &str, fields: Vec<FieldError>) -> Self {
        let sentences: Vec<_> = fields.iter().map(sentence).collect();
        Self::new(code, sentences.join("; ")).with_parts(place, fields)
    }

    fn with_parts(mut self, place: &str, fields: Vec<FieldError>) -> Self {
        self.0.errors = fields
            .into_iter()
            .map(|field| {
                let header = field.path == [IDEMPOTENCY_KEY];
                let place = if header { "header" } else { place };
                Part {
                    loc: std::iter::once(place.to_owned())
                        .chain(field.path)
                        .collect(),
                    msg: field.message,
                    r#type: field.kind,
                }
            })
            .collect();
        self
    }

    /// A fault of HTTP itself.
    pub(crate) fn fault(fault: Fault, detail: impl Into<String>) -> Self {
        let (status, code, title, fix) = match fault {
            Fault::Malformed => (
                StatusCode::BAD_REQUEST,
                "malformed_request",
                "The request is not valid HTTP/1.1",
                "Send HTTP/1.1, without TLS unless a proxy ends it.",
            ),
            Fault::UriTooLong => (
                StatusCode::URI_TOO_LONG,
                "uri_too_long",
                "The request target is too long",
                "Send a shorter query string.",
            ),
            Fault::HeaderTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "header_too_large",
                "The request header is too large",
                "Send 64 KiB and 100 header lines at most.",
            ),
            Fault::TooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                "The request came too slowly",
                "Send the whole request without long pauses.",
            ),
        };
        Self(Box::new(Inner {
            status,
            code,
            title,
            fix,
            detail: detail.into(),
            errors: Vec::new(),
        }))
    }

    /// The status.
    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The body.
    pub(crate) fn body(&self, request_id: Option<&str>) -> Vec<u8> {
        #[derive(Serialize)]
        struct View<'a> {
            r#type: String,
            title: &'static str,
            status: u16,
            code: &'static str,
            detail: &'a str,
            fix: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            request_id: Option<&'a str>,
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            errors: &'a [Part],
        }
        json::to_vec(&View {
            r#type: format!("urn:opspawn:error:{}", self.0.code),
            title: self.0.title,
            status: self.0.status.as_u16(),
            code: self.0.code,
            detail: &self.0.detail,
            fix: self.0.fix,
            request_id,
            errors: &self.0.errors,
        })
    }

    /// The response, with the id of the request once it is known.
    pub(crate) fn response(&self, request_id: Option<&str>) -> Response {
        let mut response = Response::new(Body::from(self.body(request_id)));
        *response.status_mut() = self.0.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        let later = [
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::TOO_MANY_REQUESTS,
        ]
        .contains(&self.0.status)
            || self.0.code == Code::IdempotencyInFlight.as_str();
        if later {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        response
    }
}

/// The header that makes a submit repeatable, as the engine names it in errors.
pub(crate) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

fn sentence(field: &FieldError) -> String {
    match field.kind {
        // These name their field themselves.
        "unknown_field" | "duplicate_field" | "unknown_task_type" => field.message.clone(),
        _ if field.path.is_empty() => format!("the body {}", field.message),
        _ => format!("`{}` {}", field.path.join("."), field.message),
    }
}

/// Rides on a response until the gate has written the request's id into its body.
#[derive(Clone)]
pub(crate) struct Pending(pub(crate) Arc<Problem>);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.response(None);
        response.extensions_mut().insert(Pending(Arc::new(self)));
        response
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        if error.fields.is_empty() {
            return Self::new(error.code, error.message);
        }
        Self::parts(error.code, "body", error.fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_an_error_status() {
        for code in Code::ALL {
            let status = status(*code);
            assert!(
                status.is_client_error() || status.is_server_error(),
                "{code}"
            );
        }
    }

    #[test]
    fn a_problem_has_every_member() {
        let fields = vec![FieldError::new(&["task_type"], "missing", "is missing")];
        let problem = Problem::parts(Code::InvalidBody, "body", fields);
        let body = String::from_utf8(problem.body(Some("r1"))).unwrap();
        assert_eq!(
            body,
            "{\"type\":\"urn:opspawn:error:invalid_body\",\"title\":\"The request body is not valid\",\
             \"status\":422,\"code\":\"invalid_body\",\"detail\":\"`task_type` is missing\",\
             \"fix\":\"Send a JSON object with the documented fields; `errors` names each offending one.\",\
             \"request_id\":\"r1\",\
             \"errors\":[{\"loc\":[\"body\",\"task_type\"],\"msg\":\"is missing\",\"type\":\"missing\"}]}"
        );
    }

    #[test]
    fn what_may_be_sent_again_says_when() {
        for (code, later) in [
            (Code::Overloaded, true),
            (Code::ShuttingDown, true),
            (Code::StorageUnavailable, true),
            (Code::IdempotencyInFlight, true),
            (Code::TaskFinal, false),
        ] {
            let response = Problem::new(code, "x").response(None);
            assert_eq!(
                response.headers().contains_key(header::RETRY_AFTER),
                later,
                "{code}"
            );
        }
    }
}
