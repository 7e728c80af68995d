//! `GET /tasks/{id}/export`: all records of a task, as lines of JSON. The client's reading
//! drives it: what is held is one page of the log, or one piece of a value.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, header};
use ops_core::{TaskId, TenantId, ports::TaskRecord};
use ops_engine::{Engine, Error};

use super::{
    AppState,
    events::Event,
    extract::{Caller, TaskPath, refused},
    schema,
    steps::Step,
    view::Task,
};
use crate::{json::ObjectWriter, problem::Problem};

/// Steps that are read at once.
const STEPS: u32 = 1_000;
/// Events that are read at once.
const EVENTS: u32 = 64;
/// Bytes of a value in one line.
const PIECE: u64 = 768 << 10;

/// Exports a task with its steps, its log and its large values.
///
/// Each line is an object with `type`: first `task`, then `step` and `event` for each, then `blob` for
/// each piece of each value that the log refers to, and `end` with the numbers of them. An export
/// without `end` is cut.
#[utoipa::path(
    get, path = "/api/v1/tasks/{task_id}/export", tag = "Tasks", operation_id = "export_task",
    params(schema::TaskPath),
    responses(
        (status = 200, body = String, content_type = "application/jsonl", description = "The lines."),
        schema::NoTask,
    ),
)]
pub(crate) async fn export(
    State(app): AppState,
    caller: Caller,
    TaskPath(id): TaskPath,
) -> Result<Response, Problem> {
    let engine = Arc::clone(&app.settings.engine);
    let record = engine.task(caller.tenant, id).await.map_err(refused(id))?;
    let export = Export {
        engine,
        tenant: caller.tenant,
        task: id,
        next: Next::Task(Box::new(record)),
        digests: BTreeSet::new(),
        counts: Counts::default(),
    };
    let lines = stream::unfold(export, |mut export| async move {
        let lines = export.lines().await?;
        Some((Ok::<_, Infallible>(lines), export))
    });
    let mut response = Body::from_stream(lines).into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/jsonl"),
    );
    Ok(response)
}

struct Export {
    engine: Arc<Engine>,
    tenant: TenantId,
    task: TaskId,
    next: Next,
    /// The values that the log refers to and that are still to come.
    digests: BTreeSet<String>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    steps: u64,
    events: u64,
    blobs: u64,
}

/// The next part.
enum Next {
    Task(Box<TaskRecord>),
    StepsAfter(u64),
    EventsAfter(u64),
    Blobs,
    Blob { digest: String, offset: u64 },
    Nothing,
}

impl Export {
    /// The next lines; none at the end.
    async fn lines(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        while out.is_empty() {
            let next = std::mem::replace(&mut self.next, Next::Nothing);
            if matches!(next, Next::Nothing) {
                return None;
            }
            if let Err(error) = self.write(&mut out, next).await {
                // The status was sent long ago: the missing `end` tells, and this says why.
                line(&mut out, "error", |view| {
                    view.value("message", &error.message)
                });
            }
        }
        Some(out.into())
    }

    async fn write(&mut self, out: &mut Vec<u8>, next: Next) -> Result<(), Error> {
        self.next = match next {
            Next::Task(record) => {
                line(out, "task", |line| line.shown("task", &Task::of(&record)));
                Next::StepsAfter(0)
            }
            Next::StepsAfter(after) => {
                let page = self
                    .engine
                    .steps(self.tenant, self.task, after, STEPS)
                    .await?;
                for step in &page.steps {
                    line(out, "step", |line| line.shown("step", &Step::of(step)));
                }
                self.counts.steps += page.steps.len() as u64;
                page.next.map_or(Next::EventsAfter(0), Next::StepsAfter)
            }
            Next::EventsAfter(after) => {
                let page = self
                    .engine
                    .events(self.tenant, self.task, after, EVENTS)
                    .await?;
                for event in &page.events {
                    line(out, "event", |line| line.shown("event", &Event::of(event)));
                    self.digests.extend(event.event.blobs.iter().cloned());
                }
                self.counts.events += page.events.len() as u64;
                page.next.map_or(Next::Blobs, Next::EventsAfter)
            }
            Next::Blobs => match self.digests.pop_first() {
                Some(digest) => {
                    self.counts.blobs += 1;
                    Next::Blob { digest, offset: 0 }
                }
                None => {
                    line(out, "end", |line| {
                        line.value("steps", &self.counts.steps);
                        line.value("events", &self.counts.events);
                        line.value("blobs", &self.counts.blobs);
                    });
                    Next::Nothing
                }
            },
            Next::Blob { digest, offset } => {
                let piece = self
                    .engine
                    .blob(self.tenant, &digest, offset, PIECE)
                    .await?;
                let whole = (piece.len() as u64) < PIECE;
                // An empty value has one line as well.
                if !piece.is_empty() || offset == 0 {
                    line(out, "blob", |line| {
                        line.plain("digest", &digest);
                        line.value("offset", &offset);
                        line.plain("base64", &BASE64_STANDARD.encode(&piece));
                    });
                }
                match whole {
                    true => Next::Blobs,
                    false => Next::Blob {
                        digest,
                        offset: offset + PIECE,
                    },
                }
            }
            Next::Nothing => Next::Nothing,
        };
        Ok(())
    }
}

fn line(out: &mut Vec<u8>, kind: &'static str, fill: impl FnOnce(&mut ObjectWriter<'_>)) {
    let mut view = ObjectWriter::begin(out);
    view.plain("type", &kind);
    fill(&mut view);
    view.end();
    out.push(b'\n');
}
