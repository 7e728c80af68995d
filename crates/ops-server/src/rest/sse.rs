//! Following a task: its log as server-sent events, from any place, without a gap or a repeat.
//!
//! The stream is a loop that the client's reading drives: it first reads the log up to where it
//! stood when the client came, then hands over what the task's [feed](super::feed) brings, and asks
//! for nothing more until that is taken. A follower that does not read holds one page; once it
//! reads on it is behind the feed, and reads the log again until it has caught up.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, header};
use ops_core::{StoredEvent, TaskId, TenantId, ports::Delta};
use ops_engine::{Engine, Error};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

use super::{App, events, feed::Piece};
use crate::{json::ObjectWriter, metrics::Following};

/// The most events that are read and sent at once.
const PAGE: u32 = 64;

/// Events of the log as they are sent.
#[derive(Debug, Clone)]
pub(super) struct Page {
    first: u64,
    pub(super) last: u64,
    pub(super) bytes: Bytes,
    /// Whether nothing follows them.
    pub(super) ended: bool,
}

/// One client that follows one task.
pub(super) struct Follower {
    engine: Arc<Engine>,
    key: (TenantId, TaskId),
    /// The last event that was sent.
    after: u64,
    feed: Receiver<Piece>,
    /// The longest silence: then a comment keeps proxies from closing the stream.
    keep_alive: Duration,
    stop: CancellationToken,
    phase: Phase,
    /// What is sent first.
    opening: Option<Bytes>,
    _counted: Following,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The log has events up to this number, or to its end if it is shorter.
    Behind(u64),
    /// The log was sent as far as it was heard of.
    Level,
    /// The last event of the task was sent.
    Ended,
}

impl Follower {
    /// Begins after an event. A place beyond the end of the log is not of this log: the client is
    /// sent `resync` and the log from its start.
    ///
    /// # Errors
    /// `task_not_found`, or a code of the storage.
    pub(super) async fn new(
        app: &App,
        tenant: TenantId,
        task: TaskId,
        after: u64,
    ) -> Result<Self, Error> {
        let surface = &app.surface;
        // Join before looking: what is committed in between is heard.
        let feed = app.feeds.join(surface, (tenant, task)).await?;
        let life = surface.engine.life(tenant, task).await?;
        let mut follower = Self {
            engine: Arc::clone(&surface.engine),
            key: (tenant, task),
            after,
            feed,
            keep_alive: surface.keep_alive,
            stop: surface.stop.clone(),
            phase: Phase::Behind(life.seq),
            opening: None,
            _counted: app.metrics.follower(),
        };
        let mut opening = b"retry: 1000\n\n".to_vec();
        if after > life.seq {
            follower.after = 0;
            named(&mut opening, "resync", |data| {
                data.value("last_event_id", &after);
                data.value("last_seq", &life.seq);
            });
        } else if after == life.seq && life.state.name().is_terminal() {
            end(&mut opening, after);
            follower.phase = Phase::Ended;
        }
        follower.opening = Some(opening.into());
        Ok(follower)
    }

    /// The next piece of the stream; none at its end.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(opening) = self.opening.take() {
            return Some(opening);
        }
        loop {
            match self.phase {
                Phase::Ended => return None,
                // The client comes back with the id of its last event.
                Phase::Behind(_) | Phase::Level if self.stop.is_cancelled() => return None,
                Phase::Behind(last) if self.after >= last => self.phase = Phase::Level,
                Phase::Behind(_) => {
                    if let Some(bytes) = self.catch_up().await? {
                        return Some(bytes);
                    }
                }
                Phase::Level => {
                    if let Some(bytes) = self.listen().await? {
                        return Some(bytes);
                    }
                }
            }
        }
    }

    /// A page of the log; the outer none ends the stream.
    async fn catch_up(&mut self) -> Option<Option<Bytes>> {
        match read(&self.engine, self.key, self.after).await {
            Ok(Some((page, _))) => Some(Some(self.take(page))),
            Ok(None) => {
                self.phase = Phase::Level;
                Some(None)
            }
            Err(error) => {
                tracing::warn!(task = %self.key.1, %error, "an event stream ends: the log cannot be read");
                None
            }
        }
    }

    fn take(&mut self, page: Page) -> Bytes {
        self.after = page.last;
        if page.ended {
            self.phase = Phase::Ended;
        }
        page.bytes
    }

    /// Waits until there is something to send or to read; the outer none ends the stream.
    async fn listen(&mut self) -> Option<Option<Bytes>> {
        let heard = tokio::select! {
            heard = tokio::time::timeout(self.keep_alive, self.feed.recv()) => heard,
            () = self.stop.cancelled() => return None,
        };
        match heard {
            Ok(Ok(Piece::Events(page))) if page.first == self.after + 1 => {
                return Some(Some(self.take(page)));
            }
            Ok(Ok(Piece::Events(Page { last, .. }) | Piece::Grown(last))) => {
                self.phase = Phase::Behind(last);
            }
            Ok(Ok(Piece::Delta(bytes))) => return Some(Some(bytes)),
            // What was missed is in the log.
            Ok(Err(RecvError::Lagged(_))) => self.phase = Phase::Behind(u64::MAX),
            // The feed ended before its end came here; the client comes back.
            Ok(Err(RecvError::Closed)) => return None,
            Err(_) => return Some(Some(Bytes::from_static(b": keep-alive\n\n"))),
        }
        Some(None)
    }
}

/// A page of the log after an event, and whether there is more; none at the log's end.
pub(super) async fn read(
    engine: &Engine,
    (tenant, task): (TenantId, TaskId),
    after: u64,
) -> Result<Option<(Page, bool)>, Error> {
    let read = engine.events(tenant, task, after, PAGE).await?;
    let (Some(first), Some(last)) = (read.events.first(), read.events.last()) else {
        return Ok(None);
    };
    let sizes = read.events.iter().map(|event| event.event.body.len() + 192);
    let mut out = Vec::with_capacity(sizes.sum());
    for event in &read.events {
        log_event(&mut out, event);
    }
    let ended = is_end(&last.event.kind);
    if ended {
        end(&mut out, last.seq);
    }
    let page = Page {
        first: first.seq,
        last: last.seq,
        bytes: out.into(),
        ended,
    };
    Ok(Some((page, read.next.is_some())))
}

impl IntoResponse for Follower {
    fn into_response(self) -> Response {
        let pieces = stream::unfold(self, |mut follower| async move {
            let piece = follower.next().await?;
            Some((Ok::<_, std::convert::Infallible>(piece), follower))
        });
        let mut response = Response::new(Body::from_stream(pieces));
        for (name, value) in [
            (header::CONTENT_TYPE, "text/event-stream"),
            (header::CACHE_CONTROL, "no-cache, no-transform"),
            (header::HeaderName::from_static("x-accel-buffering"), "no"),
        ] {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// Nothing follows these in a log.
fn is_end(kind: &str) -> bool {
    ["task.completed", "task.failed", "task.cancelled"].contains(&kind)
}

fn log_event(out: &mut Vec<u8>, event: &StoredEvent) {
    out.extend_from_slice(format!("id: {}\nevent: ", event.seq).as_bytes());
    line(out, |out| {
        out.extend_from_slice(event.event.kind.as_bytes());
    });
    out.extend_from_slice(b"data: ");
    line(out, |out| events::write(out, event));
    out.push(b'\n');
}

/// A piece of an answer.
pub(super) fn delta(delta: &Delta) -> Bytes {
    let mut out = Vec::with_capacity(delta.text.len() + 96);
    named(&mut out, "delta", |data| {
        data.value("step", &delta.step);
        data.value("attempt", &delta.attempt);
        data.value("offset", &delta.offset);
        data.value("text", &*delta.text);
    });
    out.into()
}

fn end(out: &mut Vec<u8>, seq: u64) {
    named(out, "end", |data| data.value("last_seq", &seq));
}

/// An event without an id: it is not of the log.
fn named(out: &mut Vec<u8>, name: &str, data: impl FnOnce(&mut ObjectWriter<'_>)) {
    out.extend_from_slice(format!("event: {name}\ndata: ").as_bytes());
    let mut view = ObjectWriter::begin(out);
    data(&mut view);
    view.end();
    out.extend_from_slice(b"\n\n");
}

/// Writes one line. Line breaks between the parts of a JSON text mean the same as spaces.
fn line(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let begun = out.len();
    write(out);
    for byte in &mut out[begun..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    out.push(b'\n');
}
