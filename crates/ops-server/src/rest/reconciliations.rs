//! Steps whose outcome nobody knows: `GET /reconciliations`, `POST /reconciliations/{id}/{step}`.

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::Uri;
use ops_core::{Code, TaskId, event::Resolution};
use ops_engine::{FieldError, Step};

use super::{
    AppState, cursor,
    extract::{Caller, StepPath},
    schema, tasks, view,
};
use crate::{
    json::{Fields, ObjectWriter, object},
    problem::Problem,
    query::Query,
};

const FIELDS: &[&str] = &["resolution", "output", "message"];
const RESOLUTIONS: &[&str] = &["done", "failed", "retry"];

/// Lists the steps that wait for somebody's word.
#[utoipa::path(
    get, path = "/api/v1/reconciliations", tag = "Reconciliations",
    operation_id = "list_reconciliations",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000,
            description = "Tasks at the most. Default: 100"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
    ),
    responses(
        (status = 200, body = schema::ReconciliationList, description = "The steps."),
        schema::Invalid,
    ),
)]
pub(crate) async fn list(
    State(app): AppState,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::parse(uri.query(), &["limit", "cursor"], &[]);
    let limit = query.number("limit", 1..=1_000).unwrap_or(100);
    let pages = cursor::List::new("reconciliations", caller.tenant, "");
    let before = pages.task(&mut query);
    query.check()?;
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let engine = &app.surface.engine;
    let page = engine.reconciliations(caller.tenant, before, limit).await?;
    let next = page.next.map(|task| pages.after_task(task));
    let write = |out: &mut Vec<u8>, (task, step): &(TaskId, Step)| write(out, *task, step);
    Ok(view::page("reconciliations", &page.steps, write, next))
}

/// Decides what became of a step that is in doubt.
#[utoipa::path(
    post, path = "/api/v1/reconciliations/{task_id}/{step}", tag = "Reconciliations",
    operation_id = "resolve_step",
    params(
        schema::TaskPath,
        ("step" = u32, Path, description = "The number of the step in its run."),
    ),
    request_body = schema::Resolve,
    responses(
        (status = 200, body = schema::Task, description = "The task, which goes on at once."),
        schema::NoTask, schema::Conflict, schema::Invalid,
    ),
)]
pub(crate) async fn resolve(
    State(app): AppState,
    caller: Caller,
    StepPath { task, step }: StepPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = app.bodies.json(&parts.headers, body).await?;
    let resolution = parse(body.text())?;
    let engine = &app.surface.engine;
    let resolved = engine.resolve(&caller, task, step, resolution);
    tasks::changed(task, resolved).await
}

fn write(out: &mut Vec<u8>, task: TaskId, step: &Step) {
    let mut view = ObjectWriter::begin(out);
    view.plain("task_id", &task);
    view.value("step", &step.number);
    view.value("name", &step.name);
    view.value("effect", &step.effect);
    view.value("input", &step.input);
    view.time("started_at", Some(step.started_at));
    view.value("attempt", &step.attempt);
    view.plain("status", &step.status.as_str());
    view.end();
}

fn parse(text: &str) -> Result<Resolution, Problem> {
    let mut errors = Vec::new();
    let body = object(text, FIELDS, &[], &mut errors);
    let resolution = match body.string("resolution", &mut errors).as_deref() {
        Some("done") => done(&body, &mut errors),
        Some("failed") => failed(&body, &mut errors),
        Some("retry") => {
            refuse_extra(&body, &["output", "message"], "retry", &mut errors);
            Some(Resolution::Retry)
        }
        Some(other) => {
            let message = units::nearest::unknown("resolution", other, RESOLUTIONS.iter().copied());
            let message = format!("is wrong: {message}");
            errors.push(body.error(Some("resolution"), "enum", &message));
            None
        }
        None => {
            if errors.is_empty() {
                let message = "is missing; it is `done`, `failed` or `retry`";
                errors.push(body.error(Some("resolution"), "missing", message));
            }
            None
        }
    };
    match resolution {
        Some(resolution) if errors.is_empty() => Ok(resolution),
        Some(_) | None => Err(Problem::parts(Code::InvalidBody, "body", errors)),
    }
}

fn done(body: &Fields<'_>, errors: &mut Vec<FieldError>) -> Option<Resolution> {
    refuse_extra(body, &["message"], "done", errors);
    if !body.has("output") {
        let message = "is missing: say what the step returned, `null` if nothing";
        errors.push(body.error(Some("output"), "missing", message));
        return None;
    }
    let output = body.value("output", errors).unwrap_or_default();
    Some(Resolution::Done { output })
}

fn failed(body: &Fields<'_>, errors: &mut Vec<FieldError>) -> Option<Resolution> {
    refuse_extra(body, &["output"], "failed", errors);
    let message = body.string("message", errors);
    if body.raw("message").is_none() {
        let message = "is missing: say what the agent is to be told";
        errors.push(body.error(Some("message"), "missing", message));
    }
    Some(Resolution::Failed { message: message? })
}

fn refuse_extra(body: &Fields<'_>, names: &[&str], resolution: &str, errors: &mut Vec<FieldError>) {
    for name in names.iter().filter(|name| body.raw(name).is_some()) {
        let message = format!("does not go with the resolution `{resolution}`");
        errors.push(body.error(Some(name), "value_error", &message));
    }
}
