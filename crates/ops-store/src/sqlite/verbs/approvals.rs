//! Approvals: rows that a step's question opens and one decision closes.

use std::sync::LazyLock;

use ops_core::{
    Approval, ApprovalDetails, Micros, NewApproval, TaskId, TenantId,
    ports::{ApprovalDecision, StoreError},
    rules::{approval, links::Lapse},
};
use rusqlite::params;

use crate::sqlite::{
    error::WriteError,
    queries::approvals::{one, open},
    schema::{rows::signed, sums::APPROVALS},
    values::pack::Values,
    verbs::follow::carry_out,
    writer::batch::{Batch, Loaded},
};

static OPEN_APPROVAL: LazyLock<String> = LazyLock::new(|| {
    let columns = [
        "tenant_id",
        "task_row",
        "task_id",
        "step",
        "revision",
        "status",
        "tool",
        "tool_digest",
        "agent_digest",
        "input",
        "input_digest",
        "input_schema",
        "reason",
        "asked_at",
        "expires_at",
        "details",
    ];
    format!("{} ON CONFLICT DO NOTHING", APPROVALS.insert(&columns, &[]))
});

static DECIDE: LazyLock<String> = LazyLock::new(|| {
    let columns = [
        "revision",
        "status",
        "input",
        "input_digest",
        "decided_at",
        "decided_by",
        "note",
    ];
    APPROVALS.update(&columns, "approval_row = ?8")
});

static LAPSE: LazyLock<String> =
    LazyLock::new(|| APPROVALS.update(&["status", "decided_at"], "approval_row = ?3"));

static CHANGE: LazyLock<String> =
    LazyLock::new(|| APPROVALS.update(&["expires_at", "details"], "approval_row = ?3"));

/// Opens an approval with the append that asks for it, or brings an open one its preview.
pub(crate) fn create(
    batch: &Batch<'_>,
    task: &Loaded,
    request: NewApproval,
) -> rusqlite::Result<()> {
    if let Some((row, open)) = one(&batch.view(), task.tenant, task.life.id, request.step)? {
        return match approval::ask_again(&open, request) {
            Some(after) => change(batch, row, &after),
            None => Ok(()),
        };
    }
    let Approval {
        request,
        revision,
        status,
        asked_at,
        ..
    } = approval::create(request, task.life.id, batch.now);
    let mut insert = batch.conn.prepare_cached(&OPEN_APPROVAL)?;
    insert
        .execute(params![
            task.tenant.0,
            task.row,
            task.life.id.as_bytes(),
            request.step,
            revision,
            status.as_str(),
            request.tool,
            request.tool_digest,
            request.agent_digest,
            request.input.to_string(),
            request.input_digest,
            request.input_schema.to_string(),
            request.reason,
            asked_at.0,
            request.expires_at.map(|at| at.0),
            details(&request.details),
        ])
        .map(drop)
}

/// Decides an approval, and tells the task.
pub(crate) fn decide_approval(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    task: TaskId,
    decision: ApprovalDecision,
    values: &Values,
) -> Result<Approval, WriteError> {
    let step = decision.step;
    let before = batch.load(tenant, task)?.ok_or(StoreError::NotFound)?;
    let (row, found) =
        one(&batch.view(), tenant, task, step)?.ok_or(StoreError::NoApproval(step))?;
    let (approval, transition) =
        approval::decide_approval(&found, &before.life, decision, batch.now)
            .map_err(StoreError::from)?;
    carry_out(batch, &before, transition, values)?;
    let mut update = batch.conn.prepare_cached(&DECIDE)?;
    update.execute(params![
        approval.revision,
        approval.status.as_str(),
        approval.request.input.to_string(),
        approval.request.input_digest,
        approval.decided_at.map(|at| at.0),
        approval.decided_by,
        approval.note,
        signed(row),
    ])?;
    Ok(approval)
}

/// Closes the open approvals of a task that lapse by now. An unreadable approval stays unchanged.
pub(crate) fn lapse(batch: &Batch<'_>, task_row: i64, lapse: Lapse) -> Result<(), WriteError> {
    if units::mutant!("ops-store.own_lapse") {
        return Ok(());
    }
    for (row, found) in open(&batch.view(), task_row)? {
        let Some(status) = approval::lapse(&found, lapse, batch.now) else {
            continue;
        };
        batch
            .conn
            .prepare_cached(&LAPSE)?
            .execute((status.as_str(), batch.now.0, signed(row)))?;
    }
    Ok(())
}

/// Moves the dates of the open approvals of a task whose clock was corrected.
pub(crate) fn correct(
    batch: &Batch<'_>,
    task_row: i64,
    from: Micros,
    to: Micros,
) -> Result<(), WriteError> {
    for (row, found) in open(&batch.view(), task_row)? {
        if let Some(right) = approval::correct(&found, from, to) {
            change(batch, row, &right)?;
        }
    }
    Ok(())
}

/// Changes the dates and the details of an approval.
fn change(batch: &Batch<'_>, row: u64, approval: &Approval) -> rusqlite::Result<()> {
    let request = &approval.request;
    let expires_at = request.expires_at.map(|at| at.0);
    batch
        .conn
        .prepare_cached(&CHANGE)?
        .execute((expires_at, details(&request.details), signed(row)))
        .map(drop)
}

/// Details as they are stored: nothing where there are none.
fn details(details: &ApprovalDetails) -> Option<String> {
    let json = || serde_json::to_string(details).expect("details have string keys only");
    (!details.is_empty()).then(json)
}
