//! Refusals as gRPC statuses with `google.rpc` details; the one place that maps codes to gRPC.

use std::{collections::HashMap, time::Duration};

use ops_core::Code;
use serde::Deserialize;
use tonic::Status;
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::decode::Fault;

/// The domain of `ErrorInfo`.
const DOMAIN: &str = "opspawn";
/// Statuses travel in a header, and clients take 8 KiB of header: a message, the violations, and a text of them.
const MAX_MESSAGE: usize = 640;
const MAX_VIOLATIONS: usize = 10;
const MAX_TEXT: usize = 128;
/// When a call that came at a bad time may be sent again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The status of a refusal, as documented in docs/grpc.md. Codes that only failed tasks have are defects as refusals.
#[must_use]
pub fn grpc_code(code: Code) -> tonic::Code {
    match code {
        Code::InvalidBody
        | Code::InvalidQuery
        | Code::RetentionUnset
        | Code::UnknownTaskType
        | Code::IdempotencyMismatch
        | Code::UnknownQueue
        | Code::UnknownAgent
        | Code::AgentCycle
        | Code::ReloadRefused
        | Code::MalformedRequest
        | Code::UriTooLong
        | Code::HeaderTooLarge
        | Code::UnsupportedMediaType => tonic::Code::InvalidArgument,
        Code::BodyTooLarge | Code::StorageFull => tonic::Code::ResourceExhausted,
        Code::RequestTimeout => tonic::Code::DeadlineExceeded,
        Code::TaskNotFound
        | Code::StepNotFound
        | Code::ScheduleNotFound
        | Code::AgentNotFound
        | Code::AgentVersionNotFound
        | Code::McpServerNotFound
        | Code::ApprovalNotFound => tonic::Code::NotFound,
        Code::RouteNotFound | Code::MethodNotAllowed => tonic::Code::Unimplemented,
        Code::ForbiddenHost | Code::ForbiddenTool => tonic::Code::PermissionDenied,
        Code::AgentChanged
        | Code::ScheduleChanged
        | Code::ApprovalChanged
        | Code::McpDefinitionChanged
        | Code::IdempotencyInFlight => tonic::Code::Aborted,
        Code::ProviderNotConfigured
        | Code::TaskFinal
        | Code::PromptUnavailable
        | Code::TaskNotFinal
        | Code::TaskCancelling
        | Code::CannotRerun
        | Code::NotDeadLetter
        | Code::ApprovalDecided
        | Code::NotInDoubt
        | Code::AgentInUse
        | Code::QuestionNotOpen => tonic::Code::FailedPrecondition,
        Code::Overloaded | Code::StorageUnavailable | Code::ShuttingDown => {
            tonic::Code::Unavailable
        }
        Code::StorageDamaged => tonic::Code::DataLoss,
        Code::Internal
        | Code::WorkerLost
        | Code::WorkerPanicked
        | Code::InputUnreadable
        | Code::LogDamaged
        | Code::ValueTooLarge
        | Code::TooManyTasks
        | Code::RunFailed => tonic::Code::Internal,
    }
}

/// The members of a problem that a status shows.
#[derive(Deserialize)]
struct Problem {
    code: Code,
    detail: String,
    request_id: Option<String>,
    #[serde(default)]
    errors: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    loc: Vec<String>,
    msg: String,
}

/// The status of an answer of the routes that is no success.
pub(crate) fn of_problem(body: &[u8]) -> Status {
    let Ok(problem) = serde_json::from_slice::<Problem>(body) else {
        return refusal(
            Code::Internal,
            "the server gave an answer that cannot be read",
        );
    };
    let violations = problem.errors.iter().map(|part| {
        // The first key says which part of an HTTP request it is.
        let path = part.loc.get(1..).unwrap_or_default().join(".");
        (path, part.msg.clone())
    });
    make(
        problem.code,
        &problem.detail,
        violations.collect(),
        problem.request_id,
    )
}

/// A refusal of this surface.
pub(crate) fn refusal(code: Code, message: impl AsRef<str>) -> Status {
    make(code, message.as_ref(), Vec::new(), None)
}

/// The status of a message that is not taken.
pub(crate) fn of_fault(fault: Fault) -> Status {
    let path = fault.path.join(".");
    let code = match fault.too_large {
        true => Code::BodyTooLarge,
        false => Code::InvalidBody,
    };
    let message = match path.as_str() {
        "" => format!("the message {}", fault.message),
        path => format!("`{}` {}", cut(path, 256), fault.message),
    };
    make(code, &message, vec![(path, fault.message)], None)
}

/// The status of a refusal of the engine.
pub(crate) fn of_error(error: &ops_engine::Error) -> Status {
    make(error.code, &error.message, Vec::new(), None)
}

fn make(
    code: Code,
    message: &str,
    violations: Vec<(String, String)>,
    request_id: Option<String>,
) -> Status {
    let mut metadata = HashMap::from([
        ("code".to_owned(), code.as_str().to_owned()),
        ("fix".to_owned(), code.fix().to_owned()),
    ]);
    if let Some(id) = &request_id {
        metadata.insert("request_id".to_owned(), id.clone());
    }
    let mut details =
        ErrorDetails::with_error_info(code.as_str().to_ascii_uppercase(), DOMAIN, metadata);
    if !violations.is_empty() {
        let violations = violations.iter().take(MAX_VIOLATIONS);
        let violations: Vec<_> = violations
            .map(|(path, text)| FieldViolation::new(cut(path, MAX_TEXT), cut(text, MAX_TEXT)))
            .collect();
        details.set_bad_request(violations);
    }
    if let Some(id) = request_id {
        details.set_request_info(id, "");
    }
    let grpc = grpc_code(code);
    if grpc == tonic::Code::Unavailable || code == Code::IdempotencyInFlight {
        details.set_retry_info(Some(RETRY_AFTER));
    }
    Status::with_error_details(grpc, cut(message, MAX_MESSAGE), details)
}

/// The beginning of a text, in whole characters.
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}...", &text[..text.floor_char_boundary(most)])
}

/// The name of a status, as metrics and other languages show it.
pub(crate) fn name(code: tonic::Code) -> &'static str {
    match code {
        tonic::Code::Ok => "OK",
        tonic::Code::Cancelled => "CANCELLED",
        tonic::Code::Unknown => "UNKNOWN",
        tonic::Code::InvalidArgument => "INVALID_ARGUMENT",
        tonic::Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        tonic::Code::NotFound => "NOT_FOUND",
        tonic::Code::AlreadyExists => "ALREADY_EXISTS",
        tonic::Code::PermissionDenied => "PERMISSION_DENIED",
        tonic::Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        tonic::Code::FailedPrecondition => "FAILED_PRECONDITION",
        tonic::Code::Aborted => "ABORTED",
        tonic::Code::OutOfRange => "OUT_OF_RANGE",
        tonic::Code::Unimplemented => "UNIMPLEMENTED",
        tonic::Code::Internal => "INTERNAL",
        tonic::Code::Unavailable => "UNAVAILABLE",
        tonic::Code::DataLoss => "DATA_LOSS",
        tonic::Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that takes 8 KiB of header sees every status.
    #[test]
    fn a_status_fits_the_header_of_every_client() {
        let errors: Vec<_> = (0..1_000)
            .map(|n| serde_json::json!({"loc": ["body", "é".repeat(500)], "msg": format!("{n}{}", "ü".repeat(900))}))
            .collect();
        let problem = serde_json::json!({
            "code": "invalid_body", "detail": "ß".repeat(100_000), "request_id": "r1", "errors": errors,
        });
        let status = of_problem(problem.to_string().as_bytes());
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        // Each byte of the message beyond ASCII is three in the header, and details are base64.
        let size = status.message().len() * 3 + status.details().len() * 4 / 3;
        assert!(size < 8_192, "{size}");
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("INVALID_BODY", "opspawn")
        );
        assert_eq!(info.metadata["code"], "invalid_body");
        assert_eq!(details.request_info().unwrap().request_id, "r1");
        assert!(!details.bad_request().unwrap().field_violations.is_empty());
    }

    #[test]
    fn a_call_at_a_bad_time_says_when_to_call_again() {
        for (code, later) in [
            (Code::Overloaded, true),
            (Code::ShuttingDown, true),
            (Code::IdempotencyInFlight, true),
            (Code::TaskFinal, false),
        ] {
            let status = refusal(code, "x");
            assert_eq!(
                status.get_error_details().retry_info().is_some(),
                later,
                "{code}"
            );
        }
    }

    /// `OPSPAWN_BLESS=1 cargo test` writes the table anew.
    #[test]
    fn the_page_has_the_status_of_each_code() {
        use std::fmt::Write as _;
        let mut table = String::from("| Code | Status |\n| --- | --- |\n");
        for code in Code::ALL {
            let failed_tasks_alone = [
                Code::WorkerLost,
                Code::WorkerPanicked,
                Code::InputUnreadable,
                Code::LogDamaged,
                Code::ValueTooLarge,
                Code::TooManyTasks,
                Code::RunFailed,
            ];
            if !failed_tasks_alone.contains(code) {
                writeln!(table, "| `{code}` | `{}` |", name(grpc_code(*code))).unwrap();
            }
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/grpc.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (start, end) = ("<!-- codes -->\n", "<!-- end of codes -->");
        let from = page.find(start).unwrap() + start.len();
        let to = page.find(end).unwrap();
        if std::env::var_os("OPSPAWN_BLESS").is_some() {
            let page = format!("{}{table}{}", &page[..from], &page[to..]);
            std::fs::write(path, page).unwrap();
            return;
        }
        assert_eq!(&page[from..to], table, "OPSPAWN_BLESS=1 writes it anew");
    }
}
