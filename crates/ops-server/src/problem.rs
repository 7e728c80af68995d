//! Refusals as RFC 9457 problem details; the one place that maps codes to HTTP.

use std::sync::Arc;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use ops_core::Code;
use ops_engine::{Error, FieldError};

use crate::json::{self, Optional, view, words};

/// Seconds after which a request that came at a bad time may be sent again.
const RETRY_AFTER: &str = "1";

/// A refused request.
#[derive(Debug, Clone)]
pub(crate) struct Problem(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    code: Code,
    detail: String,
    errors: Vec<Part>,
}

view! {
    /// Why a request was refused (RFC 9457).
    pub(crate) struct ProblemView<'a> as Problem {
        /// `urn:opspawn:error:` and the code.
        r#type: String,
        /// Meaning of the code.
        title: &'static str,
        /// The HTTP status.
        status: u16,
        /// Stable; the page on errors lists them.
        code: Code,
        /// The problem and its cause.
        detail: &'a str,
        /// The remedy.
        fix: &'static str,
        /// The same as the header `x-request-id`. Errors of a batch's tasks have none of their own.
        request_id: Optional<&'a str>,
        /// Each invalid part, if the request itself is invalid.
        errors: Optional<&'a [Part]>,
    }
}

/// A problem among the answers of an operation.
pub(crate) type Refusal = ProblemView<'static>;

view! {
    /// An offending part of a request.
    #[derive(Debug, Clone)]
    pub(crate) struct Part {
        /// `body`, `query` or `header`, and the keys from there.
        loc: Vec<String>,
        /// The mistake.
        msg: String,
        /// A stable kind, like `missing` or `unknown_field`.
        r#type: &'static str,
    }
}

words! {
    Code: Code::ALL.iter().map(|code| code.as_str());
}

impl Part {
    /// A part of the request's `place`: `body`, `query`, ...
    pub(crate) fn of(place: &str, field: FieldError) -> Self {
        let header = field.path == [IDEMPOTENCY_KEY] || field.path == [LAST_EVENT_ID];
        let place = if header { "header" } else { place };
        Self {
            loc: std::iter::once(place.to_owned())
                .chain(field.path)
                .collect(),
            msg: field.message,
            r#type: field.kind,
        }
    }
}

/// The status of a refusal; none for the codes that only failed tasks have.
fn status(code: Code) -> Option<StatusCode> {
    Some(match code {
        Code::InvalidBody
        | Code::InvalidQuery
        | Code::RetentionUnset
        | Code::UnknownTaskType
        | Code::IdempotencyMismatch => StatusCode::UNPROCESSABLE_ENTITY,
        Code::UnknownQueue
        | Code::UnknownAgent
        | Code::AgentCycle
        | Code::ReloadRefused
        | Code::ProviderNotConfigured => StatusCode::UNPROCESSABLE_ENTITY,
        Code::MalformedRequest => StatusCode::BAD_REQUEST,
        Code::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        Code::UriTooLong => StatusCode::URI_TOO_LONG,
        Code::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Code::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::TaskNotFound
        | Code::StepNotFound
        | Code::ScheduleNotFound
        | Code::AgentNotFound
        | Code::AgentVersionNotFound
        | Code::RouteNotFound
        | Code::McpServerNotFound
        | Code::ApprovalNotFound => StatusCode::NOT_FOUND,
        Code::AgentChanged | Code::ScheduleChanged => StatusCode::PRECONDITION_FAILED,
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::ForbiddenHost | Code::ForbiddenTool => StatusCode::FORBIDDEN,
        Code::TaskFinal
        | Code::PromptUnavailable
        | Code::TaskNotFinal
        | Code::TaskCancelling
        | Code::CannotRerun
        | Code::NotDeadLetter
        | Code::ApprovalDecided
        | Code::ApprovalChanged
        | Code::NotInDoubt
        | Code::AgentInUse
        | Code::QuestionNotOpen
        | Code::McpDefinitionChanged
        | Code::IdempotencyInFlight => StatusCode::CONFLICT,
        Code::Overloaded | Code::StorageUnavailable | Code::ShuttingDown => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Code::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        Code::Internal | Code::StorageDamaged => StatusCode::INTERNAL_SERVER_ERROR,
        Code::WorkerLost
        | Code::WorkerPanicked
        | Code::InputUnreadable
        | Code::LogDamaged
        | Code::ValueTooLarge
        | Code::TooManyTasks
        | Code::RunFailed => return None,
    })
}

impl Problem {
    /// A refusal with a sentence.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
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
        let parts = fields.into_iter().map(|field| Part::of(place, field));
        self.0.errors = parts.collect();
        self
    }

    /// The status.
    pub(crate) fn status(&self) -> StatusCode {
        status(self.0.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The body as a view.
    pub(crate) fn view<'a>(&'a self, request_id: Option<&'a str>) -> ProblemView<'a> {
        let Inner {
            code,
            detail,
            errors,
        } = &*self.0;
        ProblemView {
            r#type: format!("urn:opspawn:error:{code}"),
            title: code.title(),
            status: self.status().as_u16(),
            code: *code,
            detail,
            fix: code.fix(),
            request_id: Optional(request_id),
            errors: Optional(Some(&**errors).filter(|errors| !errors.is_empty())),
        }
    }

    /// The body.
    pub(crate) fn body(&self, request_id: Option<&str>) -> Vec<u8> {
        json::text(512, &self.view(request_id))
    }

    /// The response, with the id of the request once it is known.
    pub(crate) fn response(&self, request_id: Option<&str>) -> Response {
        let mut response = Response::new(Body::from(self.body(request_id)));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        let later = [
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::TOO_MANY_REQUESTS,
        ]
        .contains(&self.status())
            || self.0.code == Code::IdempotencyInFlight;
        if later {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        response
    }
}

/// The header that makes a submit repeatable.
pub(crate) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// The header that says where a stream goes on.
pub(crate) const LAST_EVENT_ID: &str = "Last-Event-ID";

fn sentence(field: &FieldError) -> String {
    match field.kind {
        // These name their field themselves.
        "unknown_field" | "duplicate_field" | "unknown_task_type" | "unknown_agent"
        | "definition" => field.message.clone(),
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
    fn from(mut error: Error) -> Self {
        if error.fields.is_empty() {
            return Self::new(error.code, error.message);
        }
        error.fields.iter_mut().for_each(translate);
        Self::parts(error.code, "body", error.fields)
    }
}

/// Gives a field of the engine the name that it has in REST.
pub(crate) fn translate(field: &mut FieldError) {
    // The template of a schedule is a field of another request.
    let within = usize::from(field.path.first().is_some_and(|first| first == "task"));
    let path = &mut field.path[within..];
    match path {
        [first, ..] if first == "input" => "input_data".clone_into(first),
        [first, ..] if first == "arguments" => "input".clone_into(first),
        [key] if key == "idempotency_key" => IDEMPOTENCY_KEY.clone_into(key),
        [.., cost] if cost == "max_cost" => "max_cost_usd".clone_into(cost),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_an_error_status() {
        for status in Code::ALL.iter().filter_map(|code| status(*code)) {
            assert!(status.is_client_error() || status.is_server_error());
        }
    }

    /// `OPSPAWN_BLESS=1 cargo test` writes the page anew.
    #[test]
    fn the_page_on_errors_is_that_of_the_registry() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
        let page = page();
        if std::env::var_os("OPSPAWN_BLESS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let stands = std::fs::read_to_string(path).unwrap();
        assert!(
            stands == page,
            "docs/errors.md is not that of ops_core::code; OPSPAWN_BLESS=1 writes it anew"
        );
    }

    fn page() -> String {
        use std::fmt::Write as _;
        let mut page = String::from(
            "# Error codes\n\n\
             A refused request is answered with a problem whose `code` is one of the first table, see \
             [Errors](rest.md#errors);\na failed task has an `error.code`. Codes are stable. This \
             page is made from the registry in `ops-core`.\n\n\
             ## Refused requests\n\n| Code | Status | Meaning | Fix |\n| --- | --- | --- | --- |\n",
        );
        let (mut refusals, mut tasks) = (Vec::new(), Vec::new());
        for code in Code::ALL {
            match status(*code) {
                Some(status) => refusals.push((code, status.as_u16())),
                None => tasks.push(code),
            }
        }
        refusals.sort_by_key(|(_, status)| *status);
        for (code, status) in refusals {
            let (title, fix) = (code.title(), code.fix());
            writeln!(page, "| `{code}` | {status} | {title}. | {fix} |").unwrap();
        }
        page.push_str(
            "\n## Failed tasks\n\n\
             The codes of the engine. Those of agents and models are in \
             [Codes of tasks](rest.md#codes-of-tasks).\n\n\
             | Code | Meaning | Fix |\n| --- | --- | --- |\n",
        );
        for code in tasks {
            writeln!(page, "| `{code}` | {}. | {} |", code.title(), code.fix()).unwrap();
        }
        page
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
