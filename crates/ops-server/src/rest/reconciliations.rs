//! Steps in doubt: `GET /reconciliations`, `POST /reconciliations/{id}/{step}`.

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::{StatusCode, Uri};
use ops_core::{
    Micros, TaskId,
    event::{EffectClass, Resolution},
};
use ops_engine::{FieldError, Step, StepState};
use serde_json::{Value, json};

use super::{
    AppState, cursor,
    extract::{Caller, StepPath},
    schema,
    shape::{self, AnyOrNull, Body, Choice, Names, Text, body},
    shown, tasks,
    view::Task,
};
use crate::{json::view, problem::Problem, query::Query};

/// Lists the steps that wait for somebody's word.
#[utoipa::path(
    get, path = "/api/v1/reconciliations", tag = "Reconciliations",
    operation_id = "list_reconciliations",
    params(schema::PageQuery),
    responses(
        (status = 200, body = ReconciliationList, description = "The steps."),
        schema::Invalid,
    ),
)]
pub(crate) async fn list(
    State(app): AppState,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::parse(uri.query(), schema::PageQuery::KNOWN, &[]);
    let limit = query.limit(1_000, 100);
    let pages = cursor::List::new("reconciliations", caller.tenant, "");
    let before = pages.task(&mut query);
    query.check()?;
    let engine = &app.settings.engine;
    let page = engine.reconciliations(caller.tenant, before, limit).await?;
    let list = ReconciliationList {
        reconciliations: page.steps.iter().map(Reconciliation::of).collect(),
        next_cursor: page.next.map(|task| pages.after_task(task)),
    };
    Ok(shown(StatusCode::OK, 4_096, &list))
}

/// Settles a step that is in doubt.
#[utoipa::path(
    post, path = "/api/v1/reconciliations/{task_id}/{step}", tag = "Reconciliations",
    operation_id = "resolve_step",
    params(
        schema::TaskPath,
        ("step" = u32, Path, description = "The number of the step in its run."),
    ),
    request_body = Resolve,
    responses(
        (status = 200, body = Task, description = "The task, which goes on at once."),
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
    let (resolution, by) = parse(body.text())?;
    let engine = &app.settings.engine;
    let resolved = engine.resolve(&caller, task, step, resolution, by);
    tasks::changed(task, resolved).await
}

view! {
    /// Steps that wait for somebody's word.
    pub(crate) struct ReconciliationList<'a> {
        reconciliations: Vec<Reconciliation<'a>>,
        /// Null on the last page.
        next_cursor: Option<String>,
    }
}

view! {
    /// A `write` call that may or may not have taken effect.
    pub(crate) struct Reconciliation<'a> {
        task_id: TaskId,
        step: u32,
        /// The tool.
        name: &'a str,
        effect: EffectClass,
        /// Its arguments.
        input: Option<&'a Value>,
        started_at: Micros,
        attempt: u32,
        status: StepState,
    }
}

impl<'a> Reconciliation<'a> {
    fn of((task, step): &'a (TaskId, Step)) -> Self {
        Self {
            task_id: *task,
            // Waits have neither, and only calls are in doubt.
            step: step.number.unwrap_or_default(),
            name: &step.name,
            effect: step.effect.unwrap_or(EffectClass::Write),
            input: step.input.as_ref(),
            started_at: step.started_at,
            attempt: step.attempt,
            status: step.status,
        }
    }
}

/// The decision, and who decided.
fn parse(text: &str) -> Result<(Resolution, Option<String>), Problem> {
    let mut by = None;
    let resolution = Resolve::read(text, |body, errors| {
        by = body.by;
        let outcome = body.resolution?;
        let (output, message) = (body.output, body.message);
        // A `null` beside a resolution that takes none is a missing one.
        let spare = output.as_ref().is_some_and(|output| !output.is_null());
        let extra: &[_] = match outcome {
            Outcome::Done => &[("message", message.is_some())],
            Outcome::Failed => &[("output", spare)],
            Outcome::Retry => &[("output", spare), ("message", message.is_some())],
        };
        for (name, _) in extra.iter().filter(|(_, given)| *given) {
            let message = format!("does not go with the resolution `{}`", outcome.as_str());
            errors.push(FieldError::new(&[name], "value_error", message));
        }
        let missing = |name: &str, message: &str| FieldError::new(&[name], "missing", message);
        match outcome {
            Outcome::Done if output.is_none() => {
                let message = "is missing: say what the step returned, `null` if nothing";
                errors.push(missing("output", message));
                None
            }
            Outcome::Done => output.map(|output| Resolution::Done { output }),
            Outcome::Failed if message.is_none() => {
                let message = "is missing: say what the agent is to be told";
                errors.push(missing("message", message));
                None
            }
            Outcome::Failed => message.map(|message| Resolution::Failed { message }),
            Outcome::Retry => Some(Resolution::Retry),
        }
    })?;
    let resolution = resolution.expect("a body without a mistake says what became of the step");
    Ok((resolution, by))
}

body! {
    /// Settlement of a step.
    pub(super) struct Resolve {
        /// `done`: the call took effect. `failed`: the call did not and is not tried again. `retry`: the
        /// call runs again.
        resolution: Choice<Outcome>; required "is missing; it is `done`, `failed` or `retry`",
        /// With `done`, and required there: the call's return value, any JSON.
        output: AnyOrNull,
        /// With `failed`, and required there: the message to the model.
        message: Text,
        /// Who decides, for the log.
        by: Text = {"minLength": 1, "maxLength": 128},
    }
    with {
        let of = |outcome: Outcome| json!({"properties": {"resolution": {"const": outcome.as_str()}}});
        json!({"anyOf": [
            {"allOf": [of(Outcome::Done), {"required": ["output"]}, shape::none_given(&["message"])]},
            {"allOf": [
                of(Outcome::Failed), shape::one_given(&["message"]), shape::none_given(&["output"]),
            ]},
            {"allOf": [of(Outcome::Retry), shape::none_given(&["output", "message"])]},
        ]})
    };
}

/// How a step that was in doubt is settled.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    Done,
    Failed,
    Retry,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Retry => "retry",
        }
    }
}

impl Names for Outcome {
    const NAMES: &'static [&'static str] = &["done", "failed", "retry"];

    fn named(name: &str) -> Option<Self> {
        let all = [Self::Done, Self::Failed, Self::Retry];
        all.into_iter().find(|outcome| outcome.as_str() == name)
    }
}
