//! Reading a request body: bounded in size and in time, and JSON.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyDataStream;
use ops_core::Code;
use ops_engine::FieldError;

use crate::{
    json,
    problem::{Fault, Problem},
};

/// How long a body may rest between two of its pieces.
const PROGRESS: Duration = Duration::from_secs(30);

/// The text of a JSON body, checked as a whole: any part of it parses.
///
/// # Errors
/// 415, 413, 408, or 422 with the place of the fault.
pub(crate) async fn read_json(
    headers: &HeaderMap,
    body: Body,
    max_bytes: usize,
) -> Result<JsonBody, Problem> {
    check_type(headers)?;
    let bytes = read(headers, body, max_bytes).await?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let at = error.valid_up_to();
        invalid("json_invalid", format!("is not UTF-8 at byte {at}"))
    })?;
    json::check(text).map_err(|fault| match fault.too_deep {
        true => invalid("nesting", format!("is not taken: {}", fault.message)),
        false => invalid("json_invalid", format!("is not JSON: {}", fault.message)),
    })?;
    Ok(JsonBody(bytes))
}

/// Bytes that are JSON.
pub(crate) struct JsonBody(Bytes);

impl JsonBody {
    /// The text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.0).expect("the body was checked to be UTF-8")
    }
}

fn invalid(kind: &'static str, message: String) -> Problem {
    Problem::parts(
        Code::InvalidBody,
        "body",
        vec![FieldError::new(&[], kind, message)],
    )
}

/// A missing content type is taken as JSON.
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(given) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let text = given.to_str().unwrap_or("(not ASCII)");
    let essence = text.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    let json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    if json {
        return Ok(());
    }
    let shown: String = text.chars().take(80).collect();
    let message = format!("the body is `{shown}`; only JSON is taken");
    Err(Problem::new(Code::UnsupportedMediaType, message))
}

async fn read(headers: &HeaderMap, body: Body, max_bytes: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        let message = format!("the body has more than {max_bytes} bytes, the limit");
        Problem::new(Code::BodyTooLarge, message)
    };
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| HeaderValue::to_str(length).ok())
        .and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > max_bytes as u64) {
        return Err(too_large());
    }
    let mut pieces = BodyDataStream::new(body);
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(piece) = tokio::time::timeout(PROGRESS, pieces.next())
        .await
        .map_err(|_| slow())?
    {
        let piece = piece.map_err(|error| {
            let message = format!("the body ended early or is not framed as it should be: {error}");
            Problem::fault(Fault::Malformed, message)
        })?;
        if first.len().max(all.len()) + piece.len() > max_bytes {
            return Err(too_large());
        }
        if first.is_empty() && all.is_empty() {
            first = piece;
            continue;
        }
        if all.is_empty() {
            all.reserve(announced.map_or(first.len() * 2, |length| length as usize));
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&piece);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

fn slow() -> Problem {
    let message = format!("no piece of the body came for {} s", PROGRESS.as_secs());
    Problem::fault(Fault::TooSlow, message)
}
