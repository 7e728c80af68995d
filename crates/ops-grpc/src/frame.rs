//! Messages in the frames of gRPC: read with a bound on size, time and memory, and written.

use std::{sync::Arc, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use ops_core::Code;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};
use tonic::{Status, body::Body};

use crate::status::refusal;

/// A flag and a length stand before each message.
const HEADER: usize = 5;
/// A message up to this size is read whatever else goes on, and worked on at once.
pub(crate) const INLINE_LIMIT: usize = 64 << 10;
/// KiB that larger messages may take together until they are answered.
const LARGE_KIB: usize = 128 << 10;
/// The slowest that a message may come on the whole, in bytes for each second.
const SLOWEST: u64 = 1_024;

/// Reads messages.
pub(crate) struct Reader {
    max_bytes: usize,
    idle_timeout: Duration,
    large: Arc<Semaphore>,
}

/// A message. A large one takes room until it is dropped.
pub(crate) struct Message {
    pub(crate) bytes: Bytes,
    pub(crate) room: Option<OwnedSemaphorePermit>,
}

impl Reader {
    /// Reads messages of so many bytes, whose pieces come at least so often.
    pub(crate) fn new(max_bytes: usize, idle_timeout: Duration) -> Self {
        let large = LARGE_KIB.max(max_bytes.div_ceil(1_024));
        Self {
            max_bytes,
            idle_timeout,
            large: Arc::new(Semaphore::new(large.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// The only message of a call.
    ///
    /// # Errors
    /// A status that says what is wrong with the message.
    pub(crate) async fn one(&self, mut body: Incoming) -> Result<Message, Status> {
        let mut all = BytesMut::new();
        let mut room: Option<OwnedSemaphorePermit> = None;
        let begun = Instant::now();
        loop {
            let next = timeout(self.idle_timeout, body.frame()).await;
            let Some(frame) = next.map_err(|_| self.slow())? else {
                break;
            };
            let frame = frame.map_err(|error| {
                let message = format!("the message ended early: {error}");
                refusal(Code::MalformedRequest, message)
            })?;
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            // Room is taken for what came, not for what was announced.
            let length = all.len() + piece.len();
            if length > self.max_bytes + HEADER {
                return Err(self.too_large());
            }
            self.hold(&mut room, length)?;
            all.extend_from_slice(&piece);
            self.check(&all)?;
            let over = begun.elapsed().saturating_sub(self.idle_timeout).as_secs();
            if over > 0 && length as u64 <= over.saturating_mul(SLOWEST) {
                return Err(self.slow());
            }
        }
        if all.len() < HEADER || all.len() != HEADER + announced(&all) {
            let message = "the call does not have exactly one whole message";
            return Err(refusal(Code::MalformedRequest, message));
        }
        let bytes = all.split_off(HEADER).freeze();
        Ok(Message { bytes, room })
    }

    /// Looks at the flag and the length.
    fn check(&self, all: &[u8]) -> Result<(), Status> {
        if all.first().is_some_and(|flag| *flag != 0) {
            return Err(Status::unimplemented(
                "the message is compressed; messages are taken as they are only",
            ));
        }
        match all.len() >= HEADER && announced(all) > self.max_bytes {
            true => Err(self.too_large()),
            false => Ok(()),
        }
    }

    fn hold(&self, room: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<(), Status> {
        if bytes <= INLINE_LIMIT {
            return Ok(());
        }
        let held = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        // The buffer doubles as it grows.
        let more = (2 * bytes).div_ceil(1_024).saturating_sub(held);
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let taken = Arc::clone(&self.large).try_acquire_many_owned(more);
        let taken = taken.map_err(|_| {
            let message = "many large messages are being worked on at once";
            refusal(Code::Overloaded, message)
        })?;
        match room {
            Some(held) => held.merge(taken),
            None => *room = Some(taken),
        }
        Ok(())
    }

    fn too_large(&self) -> Status {
        let message = format!(
            "the message has more than {} bytes, the limit",
            self.max_bytes
        );
        refusal(Code::BodyTooLarge, message)
    }

    fn slow(&self) -> Status {
        let message = format!(
            "the message rested for more than {} s, or came with less than {SLOWEST} bytes a second",
            self.idle_timeout.as_secs_f32()
        );
        refusal(Code::RequestTimeout, message)
    }
}

fn announced(all: &[u8]) -> usize {
    let length = all[1..HEADER]
        .try_into()
        .map_or(u32::MAX, u32::from_be_bytes);
    usize::try_from(length).unwrap_or(usize::MAX)
}

/// A message in its frame.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER + message.len());
    out.put_u8(0);
    out.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(message);
    out.freeze()
}

/// An answer of one message.
pub(crate) fn answer(message: &[u8]) -> Response<Body> {
    streamed(stream::iter([Ok(framed(message))]), |_| ())
}

/// An answer of messages in their frames; the first error ends it. `ended` is told the status.
pub(crate) fn streamed(
    frames: impl Stream<Item = Result<Bytes, Status>> + Send + 'static,
    ended: impl FnOnce(tonic::Code) + Send + 'static,
) -> Response<Body> {
    let state = Some((Box::pin(frames), ended));
    let frames = stream::unfold(state, |state| async move {
        let (mut frames, ended) = state?;
        match frames.next().await {
            Some(Ok(frame)) => Some((Ok::<_, Status>(Frame::data(frame)), Some((frames, ended)))),
            last => {
                let status = match last {
                    Some(Err(status)) => status,
                    _ => Status::new(tonic::Code::Ok, ""),
                };
                ended(status.code());
                let mut trailers = HeaderMap::new();
                if status.add_header(&mut trailers).is_err() {
                    let unknown = HeaderValue::from_static("2");
                    trailers.insert("grpc-status", unknown);
                }
                Some((Ok(Frame::trailers(trailers)), None))
            }
        }
    });
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A stream that ends with `DEADLINE_EXCEEDED` at a time.
pub(crate) fn bounded(
    frames: impl Stream<Item = Result<Bytes, Status>> + Send + 'static,
    deadline: Option<Instant>,
) -> impl Stream<Item = Result<Bytes, Status>> + Send + 'static {
    stream::unfold(Box::pin(frames), move |mut frames| async move {
        let next = match deadline {
            None => frames.next().await?,
            Some(deadline) => match timeout_at(deadline, frames.next()).await {
                Ok(next) => next?,
                Err(_) => Err(Status::deadline_exceeded(
                    "the time that the client gave is over",
                )),
            },
        };
        Some((next, frames))
    })
}
