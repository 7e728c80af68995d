//! Leave that steps ask for: `GET /approvals`, `GET /approvals/{id}/{step}` and the decisions.

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::{StatusCode, Uri};
use ops_core::{
    Approval, ApprovalStatus, Micros, PreviewOutcome, TaskId, ports::ApprovalFilter,
    rules::approval,
};
use ops_engine::{FieldError, StepDecision};
use serde_json::Value;

use super::{
    AppState, cursor,
    extract::{ApprovalPath, Caller, StepPath, refused},
    schema,
    shape::{Any, Body, Text, Whole, body},
    shown,
    view::TaskError,
};
use crate::{
    json::{Optional, view},
    problem::Problem,
    query::Query,
};

/// Lists approvals, newest first; the undecided approvals unless `status` says otherwise.
#[utoipa::path(
    get, path = "/api/v1/approvals", tag = "Approvals", operation_id = "list_approvals",
    params(schema::ApprovalQuery),
    responses(
        (status = 200, body = ApprovalList, description = "A page of them."),
        schema::Invalid,
    ),
)]
pub(crate) async fn list(
    State(app): AppState,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::parse(uri.query(), schema::ApprovalQuery::KNOWN, &[]);
    let limit = query.limit(500, 100);
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
        limit,
    };
    let page = app.settings.engine.approvals(caller.tenant, filter).await?;
    let now = app.settings.engine.clock().now();
    let approvals = page.approvals.iter();
    let list = ApprovalList {
        approvals: approvals
            .map(|approval| ApprovalView::of(approval, now))
            .collect(),
        next_cursor: page.next.map(|row| pages.before_row(row)),
        damaged: Optional::list(page.damaged),
    };
    Ok(shown(StatusCode::OK, 4_096, &list))
}

/// One approval.
#[utoipa::path(
    get, path = "/api/v1/approvals/{task_id}/{step}", tag = "Approvals",
    operation_id = "get_approval",
    params(schema::StepPath),
    responses(
        (status = 200, body = ApprovalView, description = "The approval."),
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
        (status = 200, body = ApprovalView, description = "The approval."),
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
        (status = 200, body = ApprovalView, description = "The approval."),
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
        (status = 200, body = ApprovalView, description = "The approval, to be decided anew."),
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
    shown(StatusCode::OK, 1_024, &ApprovalView::of(approval, now))
}

view! {
    /// Approvals, newest first.
    pub(crate) struct ApprovalList<'a> {
        approvals: Vec<ApprovalView<'a>>,
        /// Null on the last page.
        next_cursor: Option<String>,
        /// Ids or names of entries that are damaged and left out; not there if there are none.
        damaged: Optional<Vec<String>>,
    }
}

view! {
    /// Leave that a step asks for.
    pub(crate) struct ApprovalView<'a> as Approval {
        task_id: TaskId,
        step: u32,
        /// `pending`, `approved`, `denied`, `expired` or `void` (its task ended first).
        status: ApprovalStatus,
        /// 1, and one more with each edit.
        revision: u32,
        tool: &'a str,
        /// The exact arguments that would run.
        input: &'a Value,
        /// Why leave is needed.
        reason: &'a str,
        /// JSON Schema of the arguments.
        input_schema: &'a Value,
        /// SHA-256 of the arguments as RFC 8785 JSON.
        input_digest: &'a str,
        /// SHA-256 of the tool's definition; another one does not run.
        tool_digest: &'a str,
        /// SHA-256 of the agent's definition.
        agent_digest: &'a str,
        asked_at: Micros,
        expires_at: Option<Micros>,
        decided_at: Option<Micros>,
        decided_by: Option<&'a str>,
        /// Reason of a denial.
        note: Option<&'a str>,
        /// The group that is asked next; null where no rule names one.
        escalation: Option<Escalation<'a>>,
        /// What the reviewer is shown; null where no rule declares a preview.
        preview: Option<Preview<'a>>,
    }
}

view! {
    /// An approval goes to another group if nobody answers.
    pub(crate) struct Escalation<'a> {
        // In the order of their names, as the bytes were from the start.
        /// From when.
        at: Micros,
        /// Whether the group is asked by now.
        escalated: bool,
        /// The group.
        to: &'a str,
    }
}

view! {
    /// A read-only call of the machine's own that shows what an approval is about.
    pub(crate) struct Preview<'a> {
        /// Why there is no output.
        error: Option<TaskError<'a>>,
        /// Arguments of the tool.
        input: &'a Value,
        /// Whether the arguments of the step were edited since.
        outdated: bool,
        /// Output of the call, or the beginning of a large output.
        output: Option<&'a Value>,
        /// `pending`, `completed` or `failed`. A failed preview does not hold up the decision.
        status: &'static str,
        /// Step of the call; null until the call has its outcome.
        step: Option<u32>,
        /// The tool that looks.
        tool: &'a str,
    }
}

impl<'a> ApprovalView<'a> {
    fn of(approval: &'a Approval, now: Micros) -> Self {
        let request = &approval.request;
        let escalation = request.details.escalation.as_ref();
        Self {
            task_id: approval.task,
            step: request.step,
            status: approval.status,
            revision: approval.revision,
            tool: &request.tool,
            input: &request.input,
            reason: &request.reason,
            input_schema: &request.input_schema,
            input_digest: &request.input_digest,
            tool_digest: &request.tool_digest,
            agent_digest: &request.agent_digest,
            asked_at: approval.asked_at,
            expires_at: request.expires_at,
            decided_at: approval.decided_at,
            decided_by: approval.decided_by.as_deref(),
            note: approval.note.as_deref(),
            escalation: escalation.map(|escalation| Escalation {
                at: escalation.at,
                escalated: approval.escalated(now).is_some(),
                to: &escalation.to,
            }),
            preview: Preview::of(approval),
        }
    }
}

impl<'a> Preview<'a> {
    /// The call that shows what is at stake. It was made with the arguments of the first revision.
    fn of(approval: &'a Approval) -> Option<Self> {
        let preview = approval.request.details.preview.as_ref()?;
        let (status, output, error) = match &preview.outcome {
            PreviewOutcome::Pending => ("pending", None, None),
            PreviewOutcome::Completed { output } => ("completed", Some(output), None),
            PreviewOutcome::Failed { error } => ("failed", None, Some(TaskError::of(error))),
        };
        Some(Self {
            error,
            input: &preview.input,
            outdated: approval::is_edited(approval),
            output,
            status,
            step: preview.step,
            tool: &preview.tool,
        })
    }
}
