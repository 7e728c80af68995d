//! `GET /tasks/{id}/events`: the log, as pages or as a stream.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, Uri, header};
use ops_core::{Micros, StoredEvent};

use super::{
    AppState, cursor,
    extract::{Caller, TaskPath, refused},
    schema, shown, sse,
};
use crate::{
    json::{self, Raw, view},
    problem::{LAST_EVENT_ID, Problem},
    query::Query,
};

/// Reads the log of a task, as pages or as a stream.
///
/// With `Accept: text/event-stream`, it is the log from a place on and everything that comes after
/// it. The place is the header `Last-Event-ID`, else `last_event_id`, else `after` or `cursor`, else
/// the start.
#[utoipa::path(
    get, path = "/api/v1/tasks/{task_id}/events", tag = "Tasks", operation_id = "list_events",
    params(
        schema::TaskPath, schema::EventPage,
        ("Last-Event-ID" = Option<u64>, Header, description = "Where a stream goes on."),
    ),
    responses(
        (status = 200, description = "A page, or the stream.", content(
            (EventList = "application/json"),
            (String = "text/event-stream"),
        )),
        schema::NoTask, schema::Invalid,
    ),
)]
pub(crate) async fn list(
    State(app): AppState,
    caller: Caller,
    TaskPath(id): TaskPath,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::parse(uri.query(), schema::EventPage::KNOWN, &[]);
    let pages = cursor::List::new("events", caller.tenant, &id.to_string());
    let after = pages.seq(&mut query);
    let limit = query.limit(1_000, 100);
    let last = query.number("last_event_id", 0..=cursor::LAST_SEQ);
    let stream = wants_stream(&headers);
    let resumed = if stream {
        last_event_id(&headers, &mut query).or(last)
    } else {
        last
    };
    query.check()?;
    let after = resumed.unwrap_or(after);
    if stream {
        let stream = sse::EventStream::open(&app, caller.tenant, id, after).await;
        return Ok(stream.map_err(refused(id))?.into_response());
    }
    let page = app.settings.engine.events(caller.tenant, id, after, limit);
    let page = page.await.map_err(refused(id))?;
    let list = EventList {
        events: page.events.iter().map(Event::of).collect(),
        next_cursor: page.next.map(|seq| pages.after_seq(seq)),
    };
    Ok(shown(StatusCode::OK, 4_096, &list))
}

view! {
    /// A page of a task's log.
    pub(crate) struct EventList<'a> {
        events: Vec<Event<'a>>,
        /// Null on the last page.
        next_cursor: Option<String>,
    }
}

view! {
    /// An event of a task. An event never changes.
    pub(crate) struct Event<'a> {
        /// From 1, without a gap.
        seq: u64,
        /// Like `task.submitted` or `tool.completed`.
        r#type: &'a str,
        at: Micros,
        /// `type`, `v` and what belongs to the type. Times in it are microseconds since 1970.
        data: Raw<'a> = {"type": "object"},
    }
}

impl<'a> Event<'a> {
    /// The stored body is shown as it is.
    pub(super) fn of(event: &'a StoredEvent) -> Self {
        Self {
            seq: event.seq,
            r#type: &event.event.kind,
            at: event.at,
            data: Raw(std::str::from_utf8(&event.event.body).unwrap_or("null")),
        }
    }
}

/// An event as clients see it: the JSON text of `{seq, type, at, data}`.
#[must_use]
pub fn event_view(event: &StoredEvent) -> Vec<u8> {
    json::text(event.event.body.len() + 96, &Event::of(event))
}

fn wants_stream(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|accept| accept.to_str().ok())
        .flat_map(|accept| accept.split(','))
        .any(|range| {
            let kind = range.split(';').next().unwrap_or_default();
            kind.trim().eq_ignore_ascii_case("text/event-stream")
        })
}

/// The place of the header; an empty one is none.
fn last_event_id(headers: &HeaderMap, query: &mut Query) -> Option<u64> {
    let given = headers.get("last-event-id")?;
    if given.is_empty() {
        return None;
    }
    let id = given.to_str().ok().and_then(|text| {
        let digits = text.bytes().all(|digit| digit.is_ascii_digit());
        let id = text.parse().ok().filter(|_| digits);
        id.filter(|id| *id <= cursor::LAST_SEQ)
    });
    if id.is_none() {
        let message = format!(
            "is not the id of an event: a whole number up to {}",
            cursor::LAST_SEQ
        );
        query.fail(LAST_EVENT_ID, "int_type", message);
    }
    id
}
