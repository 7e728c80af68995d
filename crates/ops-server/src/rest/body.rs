//! Reading a request body: bounded in size, in time and in memory, and JSON.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyDataStream;
use ops_core::Code;
use ops_engine::FieldError;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::{Instant, timeout},
};

use crate::{json, problem::Problem};

/// A body up to this size is read whatever else goes on, and worked on at once.
const INLINE_LIMIT: usize = 64 << 10;
/// KiB that larger bodies may take together until they are answered.
const LARGE_KIB: usize = 256 << 10;
/// The slowest that a body may come on the whole, in bytes for each second.
const SLOWEST: u64 = 1_024;

/// Reads bodies.
pub(crate) struct Reader {
    max_bytes: usize,
    idle_timeout: Duration,
    large: Arc<Semaphore>,
}

/// Bytes that are JSON. A large one takes room until it is dropped.
pub(crate) struct JsonBody {
    bytes: Bytes,
    room: Option<Arc<OwnedSemaphorePermit>>,
}

impl JsonBody {
    /// The text.
    pub(crate) fn text(&self) -> &str {
        text(&self.bytes)
    }

    /// Works on the text; on a large one where it holds up nobody.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&str) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        if self.bytes.len() <= INLINE_LIMIT {
            return work(self.text());
        }
        // A request that is given up does not end the work, so the room is the work's as well.
        let (bytes, room) = (self.bytes.clone(), self.room.clone());
        aside(move || {
            let done = work(text(&bytes));
            drop(room);
            done
        })
        .await
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the body was checked to be UTF-8")
}

/// Does long work on a thread of its own.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Problem::new(Code::Overloaded, "the server is stopping")),
        },
    }
}

/// Whether bytes are JSON, all of them.
fn check(bytes: &[u8]) -> Result<(), Problem> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        invalid("json_invalid", format!("is not UTF-8 at byte {at}"))
    })?;
    json::check(text).map_err(|fault| match fault.too_deep {
        true => invalid("nesting", format!("is not taken: {}", fault.message)),
        false => invalid("json_invalid", format!("is not JSON: {}", fault.message)),
    })
}

/// The room that one body takes.
struct Room<'a> {
    large: &'a Arc<Semaphore>,
    taken: Option<OwnedSemaphorePermit>,
}

impl Room<'_> {
    /// Takes so much room in all. A small body needs no room.
    fn hold(&mut self, bytes: usize) -> Result<(), Problem> {
        if bytes <= INLINE_LIMIT {
            return Ok(());
        }
        let held = self
            .taken
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(1_024).saturating_sub(held);
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let taken = Arc::clone(self.large).try_acquire_many_owned(more);
        let taken = taken.map_err(|_| {
            let message = "many large request bodies are being worked on at once";
            Problem::new(Code::Overloaded, message)
        })?;
        match &mut self.taken {
            Some(held) => held.merge(taken),
            None => self.taken = Some(taken),
        }
        Ok(())
    }
}

impl Reader {
    /// Reads bodies of so many bytes, whose pieces come at least so often.
    pub(crate) fn new(max_bytes: usize, idle_timeout: Duration) -> Self {
        // One body of the largest size must always fit.
        let large = LARGE_KIB.max(max_bytes.div_ceil(1_024));
        Self {
            max_bytes,
            idle_timeout,
            large: Arc::new(Semaphore::new(large.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// The text of a JSON body, checked as a whole: any part of it parses.
    ///
    /// # Errors
    /// 415, 413, 408, 503 if many large bodies are being worked on, or 422 with the place of the fault.
    pub(crate) async fn json(&self, headers: &HeaderMap, body: Body) -> Result<JsonBody, Problem> {
        check_type(headers)?;
        let announced = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| HeaderValue::to_str(length).ok())
            .and_then(|length| length.parse::<usize>().ok());
        if announced.is_some_and(|length| length > self.max_bytes) {
            return Err(self.too_large());
        }
        let (bytes, room) = self.read(body, announced).await?;
        if bytes.len() <= INLINE_LIMIT {
            check(&bytes)?;
            return Ok(JsonBody { bytes, room: None });
        }
        let room = room.map(Arc::new);
        aside(move || check(&bytes).map(|()| JsonBody { bytes, room })).await
    }

    /// A body that may be left out: every field of it has a default.
    pub(crate) async fn json_or_nothing(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<JsonBody, Problem> {
        let is_empty = axum::body::HttpBody::is_end_stream(&body);
        match is_empty {
            true => Ok(JsonBody {
                bytes: Bytes::from_static(b"{}"),
                room: None,
            }),
            false => self.json(headers, body).await,
        }
    }

    async fn read(
        &self,
        body: Body,
        announced: Option<usize>,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Problem> {
        let mut pieces = BodyDataStream::new(body);
        let mut room = Room {
            large: &self.large,
            taken: None,
        };
        let most = announced.unwrap_or(self.max_bytes);
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        let begun = Instant::now();
        loop {
            let idle_timeout = match units::mutant!("ops-server.body_rests") {
                true => Duration::MAX,
                false => self.idle_timeout,
            };
            let next = timeout(idle_timeout, pieces.next()).await;
            let Some(piece) = next.map_err(|_| self.slow())? else {
                break;
            };
            let piece = piece.map_err(|error| {
                let message = format!("the body ended early, or is not framed well: {error}");
                Problem::new(Code::MalformedRequest, message)
            })?;
            let length = first.len().max(all.len()) + piece.len();
            if length > self.max_bytes && !units::mutant!("ops-server.body_limit") {
                return Err(self.too_large());
            }
            if first.is_empty() {
                room.hold(length)?;
                first = piece;
                continue;
            }
            if length > all.capacity() {
                // Room is taken for what came, not for what was announced: a client that announces
                // much and sends nothing must not keep others out.
                let capacity = (length * 2).min(most).max(length);
                room.hold(capacity)?;
                all.reserve(capacity - all.len());
            }
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&piece);
            let over = begun.elapsed().saturating_sub(self.idle_timeout).as_secs();
            if length as u64 <= over.saturating_mul(SLOWEST) && over > 0 {
                return Err(self.slow());
            }
        }
        let bytes = if all.is_empty() { first } else { all.freeze() };
        Ok((bytes, room.taken))
    }

    fn too_large(&self) -> Problem {
        let message = format!("the body has more than {} bytes, the limit", self.max_bytes);
        Problem::new(Code::BodyTooLarge, message)
    }

    fn slow(&self) -> Problem {
        let message = format!(
            "the body rested for more than {} s, or came with less than {SLOWEST} bytes a second",
            self.idle_timeout.as_secs_f32()
        );
        Problem::new(Code::RequestTimeout, message)
    }
}

fn invalid(kind: &'static str, message: String) -> Problem {
    let field = FieldError::new(&[], kind, message);
    Problem::parts(Code::InvalidBody, "body", vec![field])
}

/// A missing content type is taken as JSON.
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(given) = headers.get(header::CONTENT_ENCODING)
        && !given.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        let shown: String = String::from_utf8_lossy(given.as_bytes())
            .chars()
            .take(80)
            .collect();
        let message = format!("the body is encoded as `{shown}`; it is taken as it is only");
        return Err(Problem::new(Code::UnsupportedMediaType, message));
    }
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
