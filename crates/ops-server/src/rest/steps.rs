//! `GET /tasks/{id}/steps`.

use axum::{extract::State, response::Response};
use http::Uri;
use ops_engine::Step;
use serde_json::Value;

use super::{
    AppState, cursor,
    extract::{Caller, TaskPath, refused},
    schema, view,
};
use crate::{json::ObjectWriter, problem::Problem, query::Query, time};

/// Lists the model calls, tool calls and waits of a task, in the order in which they began.
#[utoipa::path(
    get, path = "/api/v1/tasks/{task_id}/steps", tag = "Tasks", operation_id = "list_steps",
    params(schema::TaskPath, schema::LogPage),
    responses(
        (status = 200, body = schema::StepList, description = "A page."),
        schema::NoTask, schema::Invalid,
    ),
)]
pub(crate) async fn list(
    State(app): AppState,
    caller: Caller,
    TaskPath(id): TaskPath,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::parse(uri.query(), &["after", "cursor", "limit"], &[]);
    let pages = cursor::List::new("steps", caller.tenant, &id.to_string());
    let after = pages.seq(&mut query);
    let limit = query.number("limit", 1..=1_000).unwrap_or(100);
    query.check()?;
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let page = app.surface.engine.steps(caller.tenant, id, after, limit);
    let page = page.await.map_err(refused(id))?;
    let next = page.next.map(|seq| pages.after_seq(seq));
    Ok(view::page("steps", &page.steps, write, next))
}

/// Writes a step.
pub(super) fn write(out: &mut Vec<u8>, step: &Step) {
    let mut view = ObjectWriter::begin(out);
    view.value("seq", &step.seq);
    view.value("step", &step.number);
    view.plain("kind", &step.kind);
    view.value("name", &step.name);
    view.plain("status", &step.status.as_str());
    view.value("attempt", &step.attempt);
    view.value("effect", &step.effect);
    view.value("initiator", &step.initiator);
    match (&step.input, step.until) {
        (Some(Value::Object(fields)), Some(until)) => {
            let mut fields = fields.clone();
            fields.insert("until".into(), time::text(until).into());
            view.value("input", &fields);
        }
        (input, _) => view.value("input", input),
    }
    view.value("output", &step.output);
    view.value("parts", &step.parts);
    view.value("error", &step.error);
    view::usage(view.key("usage"), &step.usage);
    view.time("started_at", Some(step.started_at));
    view.time("ended_at", step.ended_at);
    view.end();
}
