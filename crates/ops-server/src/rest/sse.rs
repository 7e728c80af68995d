//! Following a task: its log as server-sent events, from any place, without a gap or a repeat.
//!
//! The stream is a loop that the client's reading drives: it takes a page of the log, hands it
//! over, and asks for nothing more until it is taken. A follower that does not read holds one page.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{FutureExt as _, stream};
use http::{HeaderValue, header};
use ops_core::{
    StoredEvent, TaskId, TenantId,
    ports::{Delta, Follow, Heard},
};
use ops_engine::{Engine, Error};
use tokio_util::sync::CancellationToken;

use super::{App, events};
use crate::{json::ObjectWriter, metrics::Following};

/// Events that are read and sent at once.
const PAGE: u32 = 64;

/// One client that follows one task.
pub(super) struct Follower {
    engine: Arc<Engine>,
    tenant: TenantId,
    task: TaskId,
    /// The last event that was sent.
    after: u64,
    heard: Box<dyn Follow>,
    /// A piece of an answer that was heard after the log had grown; it goes after the log.
    held: Option<Delta>,
    /// The longest silence: then a comment keeps proxies from closing the stream, and the log is
    /// looked at in case a hint was lost.
    keep_alive: Duration,
    stop: CancellationToken,
    phase: Phase,
    /// What is sent first.
    opening: Option<Bytes>,
    _counted: Following,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The log may have more.
    Read,
    /// The log was read to its end.
    Wait,
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
        // Listen before looking: what is committed in between is heard.
        let heard = surface.engine.live().follow(tenant, task);
        let life = surface.engine.task(tenant, task).await?.life;
        let mut follower = Self {
            engine: Arc::clone(&surface.engine),
            tenant,
            task,
            after,
            heard,
            held: None,
            keep_alive: surface.keep_alive,
            stop: surface.stop.clone(),
            phase: Phase::Read,
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
                Phase::Read | Phase::Wait if self.stop.is_cancelled() => return None,
                Phase::Read => {
                    if let Some(page) = self.read().await? {
                        return Some(page);
                    }
                }
                Phase::Wait => {
                    if let Some(delta) = self.held.take() {
                        return Some(delta_event(&delta));
                    }
                    if let Some(piece) = self.wait().await {
                        return Some(piece);
                    }
                }
            }
        }
    }

    /// A page of the log; the outer none ends the stream.
    async fn read(&mut self) -> Option<Option<Bytes>> {
        let read = self.engine.events(self.tenant, self.task, self.after, PAGE);
        let page = match read.await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(task = %self.task, %error, "an event stream ends: the log cannot be read");
                return None;
            }
        };
        if page.next.is_none() {
            self.phase = Phase::Wait;
        }
        let Some(last) = page.events.last() else {
            return Some(None);
        };
        self.after = last.seq;
        let bytes = page.events.iter().map(|event| event.event.body.len() + 192);
        let mut out = Vec::with_capacity(bytes.sum());
        for event in &page.events {
            log_event(&mut out, event);
        }
        if is_end(&last.event.kind) {
            end(&mut out, last.seq);
            self.phase = Phase::Ended;
        }
        Some(Some(out.into()))
    }

    /// Waits until there is something to send or to read.
    async fn wait(&mut self) -> Option<Bytes> {
        let heard = tokio::select! {
            heard = tokio::time::timeout(self.keep_alive, self.heard.next()) => heard,
            () = self.stop.cancelled() => return None,
        };
        match heard {
            Ok(Heard::Delta(delta)) => Some(delta_event(&delta)),
            Ok(Heard::Log) => {
                self.phase = Phase::Read;
                // Hints that came together are one look at the log.
                while let Some(heard) = self.heard.next().now_or_never() {
                    match heard {
                        Heard::Log => {}
                        Heard::Delta(delta) => {
                            self.held = Some(delta);
                            break;
                        }
                    }
                }
                None
            }
            Err(_) => {
                self.phase = Phase::Read;
                Some(Bytes::from_static(b": keep-alive\n\n"))
            }
        }
    }
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

fn delta_event(delta: &Delta) -> Bytes {
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
