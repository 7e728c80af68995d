//! Approvals: rows that a step's question opens and one decision closes.

use std::sync::LazyLock;

use ops_core::{
    Approval, Micros, NewApproval, TaskId, TenantId,
    ports::{ApprovalDecision, StoreError},
    rules::{approval, links::Lapse},
};
use rusqlite::params;

use crate::sqlite::{
    error::Fault,
    queries::approvals::{one, open},
    schema::{rows::signed, sums::APPROVALS},
    values::pack::Values,
    verbs::follow::carry_out,
    writer::batch::{Batch, Loaded},
};

static ASK: LazyLock<String> = LazyLock::new(|| {
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

static EXPIRES: LazyLock<String> =
    LazyLock::new(|| APPROVALS.update(&["expires_at"], "approval_row = ?2"));

/// Opens an approval with the append that asks for it.
pub(crate) fn ask(batch: &Batch<'_>, task: &Loaded, asked: NewApproval) -> rusqlite::Result<()> {
    let Approval {
        asked,
        revision,
        status,
        asked_at,
        ..
    } = approval::ask(asked, task.life.id, batch.now);
    let mut insert = batch.conn.prepare_cached(&ASK)?;
    insert
        .execute(params![
            task.tenant.0,
            task.row,
            task.life.id.as_bytes(),
            asked.step,
            revision,
            status.as_str(),
            asked.tool,
            asked.tool_digest,
            asked.agent_digest,
            asked.input.to_string(),
            asked.input_digest,
            asked.input_schema.to_string(),
            asked.reason,
            asked_at.0,
            asked.expires_at.map(|at| at.0),
        ])
        .map(drop)
}

/// Decides an approval, and tells the task.
pub(crate) fn judge(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    task: TaskId,
    decision: ApprovalDecision,
    values: &Values,
) -> Result<Approval, Fault> {
    let step = decision.step;
    let before = batch.load(tenant, task)?.ok_or(StoreError::NotFound)?;
    let (row, found) =
        one(&batch.view(), tenant, task, step)?.ok_or(StoreError::NoApproval(step))?;
    let (approval, transition) =
        approval::judge(&found, &before.life, decision, batch.now).map_err(StoreError::from)?;
    carry_out(batch, &before, transition, values)?;
    let mut update = batch.conn.prepare_cached(&DECIDE)?;
    update.execute(params![
        approval.revision,
        approval.status.as_str(),
        approval.asked.input.to_string(),
        approval.asked.input_digest,
        approval.decided_at.map(|at| at.0),
        approval.decided_by,
        approval.note,
        signed(row),
    ])?;
    Ok(approval)
}

/// Closes the open approvals of a task that lapse by now. One that cannot be read stays as it is.
pub(crate) fn lapse(batch: &Batch<'_>, task_row: i64, lapse: Lapse) -> Result<(), Fault> {
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
) -> Result<(), Fault> {
    for (row, found) in open(&batch.view(), task_row)? {
        let Some(expires_at) = approval::correct(&found, from, to) else {
            continue;
        };
        batch
            .conn
            .prepare_cached(&EXPIRES)?
            .execute((expires_at.0, signed(row)))?;
    }
    Ok(())
}
