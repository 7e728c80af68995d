//! Leave that steps ask for: `GET /approvals`, `GET /approvals/{id}/{step}` and the decisions.

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::{StatusCode, Uri};
use ops_core::{
    Approval, ApprovalStatus, Micros, PreviewOutcome, ports::ApprovalFilter, rules::approval,
};
use ops_engine::{FieldError, StepDecision};
use serde_json::{Value, json};

use super::{
    AppState, answer, cursor,
    extract::{ApprovalPath, Caller, StepPath, refused},
    schema,
    shape::{Any, Body, Text, Whole, body},
    view,
};
use crate::{json::ObjectWriter, problem::Problem, query::Query, time};

/// Lists approvals, newest first; the undecided approvals unless `status` says otherwise.
#[utoipa::path(
    get, path = "/api/v1/approvals", tag = "Approvals", operation_id = "list_approvals",
    params(schema::ApprovalQuery),
    responses(
        (status = 200, body = schema::ApprovalList, description = "A page of them."),
        schema::Invalid,
    ),
)]
pub(crate) async fn list(
    State(app): AppState,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::parse(uri.query(), &["status", "task_id", "limit", "cursor"], &[]);
    let limit = query.number("limit", 1..=500).unwrap_or(100);
    let status = match query.get("status") {
        None => Some(ApprovalStatus::Pending),
        Some("all") => None,
        Some(name) => match ApprovalStatus::from_name(name) {
            Some(status) => Some(status),
            None => {
                let mut known: Vec<_> = ApprovalStatus::ALL.iter().map(|s| s.as_str()).collect();
                known.push("all");
                let message = units::nearest::unknown("status", name, known.iter().copied());
                query.fail("status", "enum", message);
                None
            }
        },
    };
    let task = match query.get("task_id").map(str::parse) {
        None => None,
        Some(Ok(task)) => Some(task),
        Some(Err(error)) => {
            query.fail("task_id", "value_error", format!("{error}"));
            None
        }
    };
    let pages = cursor::List::new("approvals", caller.tenant, &format!("{status:?} {task:?}"));
    let before = pages.row(&mut query);
    query.check()?;
    let filter = ApprovalFilter {
        status,
        task,
        before,
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
    };
    let page = app.settings.engine.approvals(caller.tenant, filter).await?;
    let next = page.next.map(|row| pages.before_row(row));
    let damaged = &page.damaged;
    let now = app.settings.engine.clock().now();
    Ok(view::page_beside(
        "approvals",
        &page.approvals,
        |out, approval| write(out, approval, now),
        next,
        damaged,
    ))
}

/// One approval.
#[utoipa::path(
    get, path = "/api/v1/approvals/{task_id}/{step}", tag = "Approvals",
    operation_id = "get_approval",
    params(schema::StepPath),
    responses(
        (status = 200, body = schema::Approval, description = "The approval."),
        schema::NoTask,
    ),
)]
pub(crate) async fn get(
    State(app): AppState,
    caller: Caller,
    ApprovalPath(StepPath { task, step }): ApprovalPath,
) -> Result<Response, Problem> {
    let found = app
        .settings
        .engine
        .approval(caller.tenant, task, step)
        .await;
    let found = found.map_err(refused(task))?;
    Ok(one(&found, app.settings.engine.clock().now()))
}

/// Lets a step run, once, with exactly the arguments that are shown.
#[utoipa::path(
    post, path = "/api/v1/approvals/{task_id}/{step}/approve", tag = "Approvals",
    operation_id = "approve_step",
    params(schema::StepPath),
    request_body = Approve,
    responses(
        (status = 200, body = schema::Approval, description = "The approval."),
        schema::NoTask, schema::Conflict, schema::Invalid,
    ),
)]
pub(crate) async fn approve(
    state: AppState,
    caller: Caller,
    path: ApprovalPath,
    request: Request,
) -> Result<Response, Problem> {
    decide_approval(state, caller, path, request, |body: Approve, _| {
        DecisionRequest {
            decision: StepDecision::Approve,
            revision: body.revision,
            by: body.by,
        }
    })
    .await
}

/// Forbids a step; the model is told why.
#[utoipa::path(
    post, path = "/api/v1/approvals/{task_id}/{step}/deny", tag = "Approvals",
    operation_id = "deny_step",
    params(schema::StepPath),
    request_body = Deny,
    responses(
        (status = 200, body = schema::Approval, description = "The approval."),
        schema::NoTask, schema::Conflict, schema::Invalid,
    ),
)]
pub(crate) async fn deny(
    state: AppState,
    caller: Caller,
    path: ApprovalPath,
    request: Request,
) -> Result<Response, Problem> {
    decide_approval(state, caller, path, request, |body: Deny, _| {
        DecisionRequest {
            decision: StepDecision::Deny {
                reason: body.reason.unwrap_or_default(),
            },
            revision: body.revision,
            by: body.by,
        }
    })
    .await
}

/// Edits a step's arguments. The new arguments need approval as well: `revision` grows.
#[utoipa::path(
    post, path = "/api/v1/approvals/{task_id}/{step}/edit", tag = "Approvals",
    operation_id = "edit_step",
    params(schema::StepPath),
    request_body = Edit,
    responses(
        (status = 200, body = schema::Approval, description = "The approval, to be decided anew."),
        schema::NoTask, schema::Conflict, schema::Invalid,
    ),
)]
pub(crate) async fn edit(
    state: AppState,
    caller: Caller,
    path: ApprovalPath,
    request: Request,
) -> Result<Response, Problem> {
    decide_approval(state, caller, path, request, |body: Edit, _| {
        DecisionRequest {
            decision: StepDecision::Edit {
                input: body.input.unwrap_or_default(),
            },
            revision: body.revision,
            by: body.by,
        }
    })
    .await
}

body! {
    /// Leave to run.
    pub(super) struct Approve {
        /// The revision that the client looked at; another revision refuses. Without a revision, the first:
        /// edited arguments are approved by their revision only.
        revision: Whole<u32>,
        /// Who decides.
        by: Text = {"minLength": 1, "maxLength": 128},
    }
}

body! {
    /// No leave to run.
    pub(super) struct Deny {
        /// Why; the model is told.
        reason: Text = {"maxLength": 4096}; required "is missing: say what the agent is to be told",
        /// The revision that was looked at; another one refuses.
        revision: Whole<u32>,
        /// Who decides.
        by: Text = {"minLength": 1, "maxLength": 128},
    }
}

body! {
    /// Other arguments.
    pub(super) struct Edit {
        /// They must fit `input_schema`.
        input: Any = {"not": {"type": "null"}}; required
            "is missing: give the arguments that the step is to run with",
        /// The revision that was looked at; another one refuses.
        revision: Whole<u32>,
        /// Who edits.
        by: Text = {"minLength": 1, "maxLength": 128},
    }
}

/// A decision about a step.
struct DecisionRequest {
    decision: StepDecision,
    revision: Option<u32>,
    by: Option<String>,
}

async fn decide_approval<B: Body>(
    State(app): AppState,
    caller: Caller,
    ApprovalPath(StepPath { task, step }): ApprovalPath,
    request: Request,
    read: impl FnOnce(B, &mut Vec<FieldError>) -> DecisionRequest,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = app.bodies.json_or_nothing(&parts.headers, body).await?;
    let DecisionRequest {
        decision,
        revision,
        by,
    } = B::read(body.text(), read)?;
    let engine = &app.settings.engine;
    let decided = engine.decide_approval(&caller, task, step, decision, revision, by);
    let decided = decided.await.map_err(refused(task))?;
    Ok(one(&decided, engine.clock().now()))
}

fn one(approval: &Approval, now: Micros) -> Response {
    let mut out = Vec::with_capacity(1_024);
    write(&mut out, approval, now);
    answer(StatusCode::OK, out)
}

fn write(out: &mut Vec<u8>, approval: &Approval, now: Micros) {
    let request = &approval.request;
    let mut view = ObjectWriter::begin(out);
    view.plain("task_id", &approval.task);
    view.value("step", &request.step);
    view.plain("status", &approval.status.as_str());
    view.value("revision", &approval.revision);
    view.value("tool", &request.tool);
    view.value("input", &request.input);
    view.value("reason", &request.reason);
    view.value("input_schema", &request.input_schema);
    view.value("input_digest", &request.input_digest);
    view.value("tool_digest", &request.tool_digest);
    view.value("agent_digest", &request.agent_digest);
    view.time("asked_at", Some(approval.asked_at));
    view.time("expires_at", request.expires_at);
    view.time("decided_at", approval.decided_at);
    view.value("decided_by", &approval.decided_by);
    view.value("note", &approval.note);
    view.value("escalation", &escalation(approval, now));
    view.value("preview", &preview(approval));
    view.end();
}

/// The group that is asked next, or is asked by now.
fn escalation(approval: &Approval, now: Micros) -> Value {
    let escalation = approval.request.details.escalation.as_ref();
    escalation.map_or(Value::Null, |escalation| {
        json!({
            "to": escalation.to,
            "at": time::text(escalation.at),
            "escalated": approval.escalated(now).is_some(),
        })
    })
}

/// The call that shows what is at stake. It was made with the arguments of the first revision.
fn preview(approval: &Approval) -> Value {
    let Some(preview) = &approval.request.details.preview else {
        return Value::Null;
    };
    let (status, output, error) = match &preview.outcome {
        PreviewOutcome::Pending => ("pending", None, None),
        PreviewOutcome::Completed { output } => ("completed", Some(output), None),
        PreviewOutcome::Failed { error } => ("failed", None, Some(error)),
    };
    json!({
        "status": status,
        "tool": preview.tool,
        "input": preview.input,
        "step": preview.step,
        "output": output,
        "error": error,
        "outdated": approval::is_edited(approval),
    })
}
