//! Schedules: `GET /schedules`, `GET|PUT|DELETE /schedules/{name}`,
//! `POST /schedules/{name}/pause|resume|run`, `GET /schedules/{name}/runs`.

pub(super) mod request;
mod schema;
mod view;

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use ops_core::schedule::ScheduleName;
use ops_engine::{ScheduleView, schedule::MAX_PREVIEW};

use self::view::{Run, RunList, Schedule, ScheduleList};
use super::{
    AppState, cursor,
    extract::{Caller, NamePath},
    schema::{Absent, Invalid, Matching, PageQuery},
    shown,
};
use crate::{json::Optional, problem::Problem, query::Query};

/// Next dates of one schedule, unless another number is asked for.
const PREVIEW: usize = 5;

/// Schedules in the order of their names.
#[utoipa::path(
    get, path = "/api/v1/schedules", tag = "Schedules", operation_id = "list_schedules",
    params(PageQuery),
    responses(
        (status = 200, body = ScheduleList, description = "A page, each with one next date."),
        Invalid,
    ),
)]
pub(crate) async fn list(
    State(app): AppState,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::parse(uri.query(), PageQuery::KNOWN, &[]);
    let limit = query.limit(1_000, 100);
    let pages = cursor::List::new("schedules", caller.tenant, "");
    let after: Option<ScheduleName> = pages.name(&mut query);
    query.check()?;
    let engine = &app.settings.engine;
    let found = engine.schedules(caller.tenant, after, limit).await?;
    let next = found.schedules.last().filter(|_| found.more);
    let next = next.map(|last| pages.after_name(&last.schedule.name));
    let list = ScheduleList {
        schedules: found.schedules.iter().map(Schedule::of).collect(),
        next_cursor: next,
        damaged: Optional(Some(&*found.damaged).filter(|damaged| !damaged.is_empty())),
    };
    Ok(shown(StatusCode::OK, 4_096, &list))
}

/// One schedule with its next dates.
#[utoipa::path(
    get, path = "/api/v1/schedules/{name}", tag = "Schedules", operation_id = "get_schedule",
    params(schema::Name, schema::Preview),
    responses(
        (status = 200, body = Schedule, description = "The schedule.",
            headers(("ETag" = String, description = "Its revision in quotes."))),
        schema::NoSchedule, Invalid,
    ),
)]
pub(crate) async fn get(
    State(app): AppState,
    caller: Caller,
    NamePath(name): NamePath,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::parse(uri.query(), schema::Preview::KNOWN, &[]);
    let preview = preview(&mut query);
    query.check()?;
    let engine = &app.settings.engine;
    let found = engine.schedule(caller.tenant, &name, preview).await?;
    Ok(one(StatusCode::OK, &found))
}

/// Stores a schedule, in place of a schedule of the same name.
///
/// A schedule that is stored already changes nothing.
#[utoipa::path(
    put, path = "/api/v1/schedules/{name}", tag = "Schedules", operation_id = "apply_schedule",
    params(schema::Name, schema::ApplyQuery, Matching, Absent),
    request_body = request::ApplySchedule,
    responses(
        (status = 200, body = Schedule, description = "The schedule, which was there.",
            headers(("ETag" = String, description = "Its revision in quotes."))),
        (status = 201, body = Schedule, description = "The schedule, which is new.",
            headers(("ETag" = String, description = "Its revision in quotes."))),
        schema::ScheduleChanged, Invalid,
    ),
)]
pub(crate) async fn apply(
    State(app): AppState,
    caller: Caller,
    NamePath(name): NamePath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let mut query = Query::parse(parts.uri.query(), schema::ApplyQuery::KNOWN, &[]);
    let preview = preview(&mut query);
    let dry_run = query.flag("dry_run");
    query.check()?;
    let expected = request::expected(&parts.headers)?;
    let engine = &app.settings.engine;
    let body = app.bodies.json(&parts.headers, body).await?;
    let mut request = request::parse(body.text(), name)?;
    request.expected = expected;
    if dry_run {
        let seen = engine
            .preview_schedule(caller.tenant, request, preview)
            .await?;
        return Ok(one(StatusCode::OK, &seen));
    }
    let (stored, created) = engine
        .apply_schedule(caller.tenant, request, preview)
        .await?;
    let status = if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(one(status, &stored))
}

/// Takes a schedule away; its tasks stay.
#[utoipa::path(
    delete, path = "/api/v1/schedules/{name}", tag = "Schedules", operation_id = "remove_schedule",
    params(schema::Name, Matching),
    responses(
        (status = 204, description = "It is gone."),
        schema::NoSchedule, schema::ScheduleChanged,
    ),
)]
pub(crate) async fn remove(
    State(app): AppState,
    caller: Caller,
    NamePath(name): NamePath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let expected = request::expected(&headers)?;
    let engine = &app.settings.engine;
    engine
        .remove_schedule(caller.tenant, &name, expected)
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// No runs until it is resumed.
#[utoipa::path(
    post, path = "/api/v1/schedules/{name}/pause", tag = "Schedules", operation_id = "pause_schedule",
    params(schema::Name, Matching),
    responses(
        (status = 200, body = Schedule, description = "The schedule."),
        schema::NoSchedule, schema::ScheduleChanged,
    ),
)]
pub(crate) async fn pause(
    State(app): AppState,
    caller: Caller,
    NamePath(name): NamePath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let expected = request::expected(&headers)?;
    let engine = &app.settings.engine;
    let changed = engine.pause_schedule(caller.tenant, &name, expected);
    let changed = changed.await?;
    Ok(one(StatusCode::OK, &changed))
}

/// Runs again from now on.
#[utoipa::path(
    post, path = "/api/v1/schedules/{name}/resume", tag = "Schedules", operation_id = "resume_schedule",
    params(schema::Name, Matching),
    responses(
        (status = 200, body = Schedule, description = "The schedule."),
        schema::NoSchedule, schema::ScheduleChanged,
    ),
)]
pub(crate) async fn resume(
    State(app): AppState,
    caller: Caller,
    NamePath(name): NamePath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let expected = request::expected(&headers)?;
    let engine = &app.settings.engine;
    let changed = engine.resume_schedule(caller.tenant, &name, expected);
    let changed = changed.await?;
    Ok(one(StatusCode::OK, &changed))
}

/// Starts a run now.
#[utoipa::path(
    post, path = "/api/v1/schedules/{name}/run", tag = "Schedules", operation_id = "run_schedule",
    params(schema::Name),
    responses(
        (status = 201, body = Run, description = "The run, beside the schedule's dates."),
        schema::NoSchedule, Invalid,
    ),
)]
pub(crate) async fn run(
    State(app): AppState,
    caller: Caller,
    NamePath(name): NamePath,
) -> Result<Response, Problem> {
    let engine = &app.settings.engine;
    let run = engine.run_schedule(&caller, &name).await?;
    Ok(shown(StatusCode::CREATED, 256, &Run::of(&run)))
}

/// Outcomes of the last runs, newest first.
#[utoipa::path(
    get, path = "/api/v1/schedules/{name}/runs", tag = "Schedules", operation_id = "list_schedule_runs",
    params(schema::Name, schema::RunQuery),
    responses(
        (status = 200, body = RunList, description = "Newest first."),
        schema::NoSchedule, Invalid,
    ),
)]
pub(crate) async fn runs(
    State(app): AppState,
    caller: Caller,
    NamePath(name): NamePath,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::parse(uri.query(), schema::RunQuery::KNOWN, &[]);
    let limit = query.limit(1_000, 20);
    query.check()?;
    let engine = &app.settings.engine;
    let runs = engine.schedule_runs(caller.tenant, &name, limit).await?;
    let list = RunList {
        runs: runs.iter().map(Run::of).collect(),
    };
    Ok(shown(StatusCode::OK, 4_096, &list))
}

fn preview(query: &mut Query) -> usize {
    let next = query.number("next", 0..=MAX_PREVIEW as u64);
    next.and_then(|next| usize::try_from(next).ok())
        .unwrap_or(PREVIEW)
}

/// A schedule, with its revision as its `ETag`.
fn one(status: StatusCode, seen: &ScheduleView) -> Response {
    let about = 1_024 + seen.task.input.as_str().len();
    let mut response = shown(status, about, &Schedule::of(seen));
    let tag = HeaderValue::try_from(format!("\"{}\"", seen.schedule.revision));
    let tag = tag.expect("digits are a header value");
    response.headers_mut().insert(header::ETAG, tag);
    response
}
