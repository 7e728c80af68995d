//! A task's log as server-sent events: a view of the engine's [`Follower`].

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, header};
use ops_core::{StoredEvent, TaskId, TenantId, ports::Delta};
use ops_engine::{Error, Followed, Follower, LogPage, Shared};
use tokio_util::sync::CancellationToken;

use super::{App, events::Event};
use crate::{
    json::{ObjectWriter, Shown as _},
    metrics::Following,
};

/// One client that follows one task.
pub(super) struct EventStream {
    follower: Follower,
    task: TaskId,
    /// The longest silence: then a comment keeps proxies from closing the stream.
    keep_alive: Duration,
    stop: CancellationToken,
    begun: bool,
    _counted: Following,
}

/// Events as they are sent: written once for all who follow a task.
#[derive(Clone)]
struct Written(Bytes);

impl EventStream {
    /// Begins after an event.
    ///
    /// # Errors
    /// `task_not_found`, or a code of the storage.
    pub(super) async fn open(
        app: &App,
        tenant: TenantId,
        task: TaskId,
        after: u64,
    ) -> Result<Self, Error> {
        let settings = &app.settings;
        Ok(Self {
            follower: settings.engine.follow(tenant, task, after).await?,
            task,
            keep_alive: settings.keep_alive,
            stop: settings.stop.clone(),
            begun: false,
            _counted: app.metrics.follower(),
        })
    }

    /// The next piece of the stream; none at its end.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.begun {
            self.begun = true;
            return Some(Bytes::from_static(b"retry: 1000\n\n"));
        }
        // A client whose stream a stop ends comes back with the id of its last event.
        let followed = tokio::select! {
            biased;
            () = self.stop.cancelled() => return None,
            followed = self.follower.next(self.keep_alive) => followed,
        };
        match followed {
            Ok(followed) => followed.map(|followed| write(&followed)),
            Err(error) => {
                tracing::warn!(task = %self.task, %error, "an event stream ends: the log cannot be read");
                None
            }
        }
    }
}

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        let pieces = stream::unfold(self, |mut stream| async move {
            let piece = stream.next().await?;
            Some((Ok::<_, Infallible>(piece), stream))
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

fn write(followed: &Followed) -> Bytes {
    match followed {
        Followed::Events(page) => written(page, log_page),
        Followed::Delta(delta) => written(delta, write_delta),
        Followed::Resync { asked, last } => named("resync", |data| {
            data.value("last_event_id", asked);
            data.value("last_seq", last);
        }),
        Followed::End { last } => named("end", |data| data.value("last_seq", last)),
        Followed::Quiet => Bytes::from_static(b": keep-alive\n\n"),
    }
}

fn written<T>(shared: &Arc<Shared<T>>, write: impl FnOnce(&T) -> Bytes) -> Bytes {
    shared.view(|value| Written(write(value))).0
}

fn log_page(page: &LogPage) -> Bytes {
    let sizes = page.events.iter().map(|event| event.event.body.len() + 192);
    let mut out = Vec::with_capacity(sizes.sum());
    for event in &page.events {
        log_event(&mut out, event);
    }
    out.into()
}

fn log_event(out: &mut Vec<u8>, event: &StoredEvent) {
    out.extend_from_slice(format!("id: {}\nevent: ", event.seq).as_bytes());
    line(out, |out| {
        out.extend_from_slice(event.event.kind.as_bytes());
    });
    out.extend_from_slice(b"data: ");
    line(out, |out| Event::of(event).write(out));
    out.push(b'\n');
}

fn write_delta(delta: &Delta) -> Bytes {
    named("delta", |data| {
        data.value("step", &delta.step);
        data.value("attempt", &delta.attempt);
        data.value("offset", &delta.offset);
        data.value("text", &*delta.text);
    })
}

/// An event without an id: the piece is not of the log.
fn named(name: &str, data: impl FnOnce(&mut ObjectWriter<'_>)) -> Bytes {
    let mut out = format!("event: {name}\ndata: ").into_bytes();
    let mut view = ObjectWriter::begin(&mut out);
    data(&mut view);
    view.end();
    out.extend_from_slice(b"\n\n");
    out.into()
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
