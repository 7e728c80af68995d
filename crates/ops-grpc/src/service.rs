//! The way of every call to the routes and back.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyDataStream, BodyExt as _, Limited};
use hyper::body::Incoming;
use ops_core::Code;
use ops_server::{Local, LocalBody};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};
use tonic::{Status, body::Body};
use tracing::Instrument as _;

use crate::{
    beside::Beside,
    decode,
    encode::{self, bytes},
    follow::Follow,
    frame::{self, INLINE_LIMIT, Reader, bounded, framed, streamed},
    methods::{Answer, Method, Methods},
    request::request,
    serve::Settings,
    status::{self, of_error, of_fault, of_problem, refusal},
};

/// Messages that clients of version 1 take: their libraries refuse more than 4 MiB.
const MAX_VERSION_1: usize = 7 << 19;
/// The longest answer of the routes. Lists end at 64 MiB.
const MAX_ANSWER: usize = 160 << 20;
/// Metadata of answers that comes from the routes.
const PASSED_ON: [&str; 3] = ["x-request-id", "etag", "idempotency-replayed"];
/// Bytes of a piece of an export at the most.
const PIECE: usize = 1 << 20;

/// Answers calls.
pub(crate) struct Service {
    local: Local,
    methods: Arc<Methods>,
    reader: Reader,
    max_bytes: usize,
    span: fn(&str, Option<&str>) -> tracing::Span,
    /// Calls that may still begin.
    free: Arc<Semaphore>,
    beside: Beside,
}

/// A call whose message was read.
struct Call<'a> {
    method: &'a Method,
    headers: &'a HeaderMap,
    host: Option<HeaderValue>,
    deadline: Option<Instant>,
}

impl Service {
    /// A service over the routes.
    ///
    /// # Errors
    /// The name of a method without an operation.
    pub(crate) fn new(local: Local, settings: &Settings, beside: Beside) -> Result<Self, String> {
        let methods = Arc::new(Methods::new(local.document())?);
        Ok(Self {
            local,
            methods,
            reader: Reader::new(settings.max_message_bytes, settings.body_timeout),
            max_bytes: settings.max_message_bytes,
            span: settings.span,
            free: Arc::new(Semaphore::new(settings.max_calls)),
            beside,
        })
    }

    /// Answers a request in every case.
    pub(crate) fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> BoxFuture<'static, Response<Body>> {
        async move { self.answered(request).await }.boxed()
    }

    async fn answered(&self, request: Request<Incoming>) -> Response<Body> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.map_or(&b""[..], HeaderValue::as_bytes);
        if !kind.starts_with(b"application/grpc") || request.method() != http::Method::POST {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return response;
        }
        let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() else {
            let status = refusal(Code::Overloaded, "many calls are open, as many as may be");
            return self.refused("none", &status);
        };
        if let Some(answer) = self.beside.answer(&request) {
            return answer(request, permit).await;
        }
        let Some(method) = self.methods.get(request.uri().path()) else {
            let path: String = request.uri().path().chars().take(200).collect();
            let message = format!("there is no method `{path}`; reflection lists the methods");
            return self.refused("none", &Status::unimplemented(message));
        };
        let parent = request.headers().get("traceparent");
        let span = (self.span)(&method.name, parent.and_then(|parent| parent.to_str().ok()));
        let called = self.call(method, request, permit).instrument(span);
        let called = AssertUnwindSafe(called).catch_unwind();
        match called.await {
            Ok(Ok(response)) => response,
            Ok(Err(status)) => self.refused(&method.name, &status),
            Err(_) => {
                tracing::error!(method = %method.name, "a call panicked");
                let status = refusal(Code::Internal, "the server failed while it answered");
                self.refused(&method.name, &status)
            }
        }
    }

    fn refused(&self, method: &str, status: &Status) -> Response<Body> {
        let code = status::name(status.code());
        self.local.grpc_answered(method.into(), code);
        status.clone().into_http()
    }

    async fn call(
        &self,
        method: &Method,
        request: Request<Incoming>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Response<Body>, Status> {
        let (parts, body) = request.into_parts();
        let deadline = deadline(&parts.headers)?;
        encoding(&parts.headers)?;
        let authority = parts.uri.authority();
        let host = authority.and_then(|host| HeaderValue::try_from(host.as_str()).ok());
        let call = Call {
            method,
            headers: &parts.headers,
            host: host.or_else(|| parts.headers.get(header::HOST).cloned()),
            deadline,
        };
        let answered = async {
            let message = self.reader.one(body).await?;
            let size = message.bytes.len();
            let (kind, unknown) = (method.input.clone(), method.unknown);
            let max_bytes = 2 * self.max_bytes;
            let fields = aside(size, move || {
                let fields = decode::fields(&kind, &message.bytes, unknown, max_bytes);
                drop(message.room);
                fields
            });
            let fields = fields.await?.map_err(of_fault)?;
            self.routed(&call, fields, permit).await
        };
        match deadline {
            None => answered.await,
            Some(deadline) => timeout_at(deadline, answered)
                .await
                .map_err(|_| Status::deadline_exceeded("the time that the client gave is over"))?,
        }
    }

    /// Asks the routes.
    async fn routed(
        &self,
        call: &Call<'_>,
        mut fields: Vec<(String, String)>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Response<Body>, Status> {
        let method = call.method;
        let follow = match method.answer {
            Answer::Log => Some(Following::of(&mut fields)),
            Answer::Whole | Answer::Task | Answer::Cut | Answer::Pieces => None,
        };
        let request = request(method, call.headers, call.host.clone(), fields).map_err(of_fault)?;
        let response = self.local.call(request).await;
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            return Err(of_problem(&whole(body).await?));
        }
        let mut metadata = HeaderMap::new();
        for name in PASSED_ON {
            if let Some(value) = head.headers.get(name) {
                metadata.insert(name, value.clone());
            }
        }
        let mut response = match (method.answer, follow) {
            (Answer::Log, follow) => {
                let following = follow.unwrap_or_default();
                self.follow(call, &following, permit).await?
            }
            (Answer::Pieces, _) => self.pieces(call, body, permit),
            (Answer::Whole | Answer::Task | Answer::Cut, _) => {
                let message = self.message(method, whole(body).await?).await?;
                self.local.grpc_answered(Arc::clone(&method.name), "OK");
                frame::answer(&message)
            }
        };
        response.headers_mut().extend(metadata);
        Ok(response)
    }

    /// The answer of the routes as a message.
    async fn message(&self, method: &Method, body: Bytes) -> Result<Vec<u8>, Status> {
        let (kind, answer) = (method.output.clone(), method.answer);
        let written = aside(body.len(), move || {
            let json = match body.is_empty() {
                true => "{}",
                false => std::str::from_utf8(&body).map_err(|error| error.to_string())?,
            };
            let written = match answer {
                Answer::Task => {
                    encode::message(&kind, &format!(r#"{{"task":{json}}}"#), usize::MAX)
                }
                Answer::Cut => encode::message(&kind, json, MAX_VERSION_1),
                Answer::Whole | Answer::Pieces | Answer::Log => {
                    encode::message(&kind, json, usize::MAX)
                }
            };
            written.map_err(|error| error.to_string())
        });
        written.await?.map_err(|error| {
            tracing::error!(method = %method.name, error, "an answer does not fit its message");
            refusal(Code::Internal, "the server failed while it answered")
        })
    }

    async fn follow(
        &self,
        call: &Call<'_>,
        following: &Following,
        permit: OwnedSemaphorePermit,
    ) -> Result<Response<Body>, Status> {
        // The routes have found the task, so that its id is one.
        let task = following
            .task
            .parse()
            .map_err(|_| refusal(Code::TaskNotFound, "there is no such task"))?;
        let follower = self.local.follow(task, following.after).await;
        let follow = Follow {
            follower: follower.map_err(|error| of_error(&error))?,
            kind: call.method.output.clone(),
            deltas: following.deltas,
        };
        let frames = bounded(follow.frames(), call.deadline);
        Ok(streamed(frames, self.counted(call.method, permit)))
    }

    fn pieces(
        &self,
        call: &Call<'_>,
        body: LocalBody,
        permit: OwnedSemaphorePermit,
    ) -> Response<Body> {
        let pieces = BodyDataStream::new(body).flat_map(|piece| {
            let pieces: Vec<_> = match piece {
                Ok(piece) => piece
                    .chunks(PIECE)
                    .map(|piece| {
                        let mut message = Vec::with_capacity(piece.len() + 8);
                        bytes(1, piece, &mut message);
                        Ok(framed(&message))
                    })
                    .collect(),
                Err(error) => {
                    tracing::warn!(%error, "an export ends early");
                    vec![Err(refusal(Code::Internal, "the export ends early"))]
                }
            };
            futures_util::stream::iter(pieces)
        });
        let pieces = bounded(pieces, call.deadline);
        streamed(pieces, self.counted(call.method, permit))
    }

    /// Counts a stream once it has ended, and gives its place to another call.
    fn counted(
        &self,
        method: &Method,
        permit: OwnedSemaphorePermit,
    ) -> impl FnOnce(tonic::Code) + Send + 'static {
        let open = OpenStream {
            local: self.local.clone(),
            method: Arc::clone(&method.name),
            // A client that leaves takes the stream with it.
            code: tonic::Code::Cancelled,
            _permit: permit,
        };
        move |code| {
            // The whole of it: a closure that names a field alone takes no more than that field.
            let mut stream = open;
            stream.code = code;
        }
    }
}

/// A stream that is counted at its end.
struct OpenStream {
    local: Local,
    method: Arc<str>,
    code: tonic::Code,
    _permit: OwnedSemaphorePermit,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let method = Arc::clone(&self.method);
        self.local.grpc_answered(method, status::name(self.code));
    }
}

/// What a follower asked for.
#[derive(Default)]
struct Following {
    task: String,
    after: u64,
    deltas: bool,
}

impl Following {
    /// Takes what is the stream's out of the fields; the rest asks for one event.
    fn of(fields: &mut Vec<(String, String)>) -> Self {
        let mut following = Self::default();
        for (name, value) in &*fields {
            match name.as_str() {
                "task_id" => following.task = value.trim_matches('"').to_owned(),
                "after" => following.after = value.parse().unwrap_or_default(),
                "deltas" => following.deltas = value == "true",
                _ => {}
            }
        }
        fields.retain(|(name, _)| name != "deltas");
        fields.push(("limit".to_owned(), "1".to_owned()));
        following
    }
}

/// A whole body of the routes.
async fn whole(body: LocalBody) -> Result<Bytes, Status> {
    let read = Limited::new(body, MAX_ANSWER).collect().await;
    let read = read.map_err(|error| {
        tracing::error!(%error, "an answer cannot be read");
        refusal(Code::Internal, "the server failed while it answered")
    })?;
    Ok(read.to_bytes())
}

/// Does work at once if it is about few bytes, and else where it holds up nobody.
async fn aside<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Status> {
    if bytes <= INLINE_LIMIT {
        return Ok(work());
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| match error.is_panic() {
        true => refusal(Code::Internal, "the server failed while it answered"),
        false => refusal(Code::ShuttingDown, "the server is stopping"),
    })
}

/// Messages are taken as they are.
fn encoding(headers: &HeaderMap) -> Result<(), Status> {
    match headers.get("grpc-encoding") {
        Some(given) if given != "identity" => {
            let mut status = Status::unimplemented(
                "the messages are compressed; messages are taken as they are only",
            );
            let accepted = tonic::metadata::MetadataValue::from_static("identity");
            status
                .metadata_mut()
                .insert("grpc-accept-encoding", accepted);
            Err(status)
        }
        _ => Ok(()),
    }
}

/// When the client waits no longer.
fn deadline(headers: &HeaderMap) -> Result<Option<Instant>, Status> {
    let Some(given) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    let timeout = given.to_str().ok().and_then(timeout);
    let timeout = timeout.ok_or_else(|| {
        let message = "`grpc-timeout` must be up to 8 digits and one of H, M, S, m, u, n";
        refusal(Code::MalformedRequest, message)
    })?;
    if timeout.is_zero() {
        return Err(Status::deadline_exceeded(
            "the time that the client gave is over",
        ));
    }
    // A deadline in some thousand years is none.
    Ok(Instant::now().checked_add(timeout))
}

fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let whole = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| whole)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_client_is_read_as_the_protocol_says() {
        for (text, millis) in [
            ("1H", 3_600_000),
            ("2M", 120_000),
            ("3S", 3_000),
            ("99999999m", 99_999_999),
        ] {
            assert_eq!(timeout(text), Some(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(timeout("5u"), Some(Duration::from_micros(5)));
        assert_eq!(timeout("0n"), Some(Duration::ZERO));
        for text in ["", "S", "1", "1s", "-1S", "999999999S", "1.5S", "1é", "+1S"] {
            assert_eq!(timeout(text), None, "{text}");
        }
    }
}
