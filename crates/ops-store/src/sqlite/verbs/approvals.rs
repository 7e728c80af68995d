//! Approvals: rows that a step's question opens and one decision closes.

use ops_core::{
    Approval, ApprovalStatus, Command, Judgement, Micros, NewApproval, TaskId, TenantId, decide,
    ports::{ApprovalFilter, Decision, StoreError, Verdict},
};
use rusqlite::{Connection, OptionalExtension as _, Row, params, types::Value};

use crate::sqlite::{
    error::Fault,
    schema::rows::{self, named, signed, unreadable},
    values::prepare::Outside,
    writer::batch::{Batch, Loaded},
};

/// What [`approval`] reads, in its order.
const COLUMNS: &str = "approval_row, task_id, step, revision, status, tool, tool_digest, \
    agent_digest, input, input_digest, input_schema, reason, asked_at, expires_at, decided_at, \
    decided_by, note";
/// The places of those that may be large.
const INPUT: usize = 8;
const INPUT_SCHEMA: usize = 10;

/// The most approvals that are read at once.
const PAGE: u32 = 1_000;

/// Opens an approval with the append that asks for it.
pub(crate) fn ask(batch: &Batch<'_>, task: &Loaded, asked: &NewApproval) -> rusqlite::Result<()> {
    let mut insert = batch.conn.prepare_cached(
        "INSERT INTO approvals (tenant_id, task_row, task_id, step, revision, status, tool, \
         tool_digest, agent_digest, input, input_digest, input_schema, reason, asked_at, expires_at) \
         VALUES (?, ?, ?, ?, 1, 'pending', ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )?;
    insert
        .execute(params![
            task.tenant.0,
            task.row,
            task.life.id.as_bytes(),
            asked.step,
            asked.tool,
            asked.tool_digest,
            asked.agent_digest,
            asked.input.to_string(),
            asked.input_digest,
            asked.input_schema.to_string(),
            asked.reason,
            batch.now.0,
            asked.expires_at.map(|at| at.0),
        ])
        .map(drop)
}

/// Decides an approval, and tells the task.
pub(crate) fn judge(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    task: TaskId,
    verdict: Verdict,
    outside: &Outside,
) -> Result<Approval, Fault> {
    let Verdict {
        step,
        decision,
        revision,
        by,
    } = verdict;
    let before = batch.load(tenant, task)?.ok_or(StoreError::NotFound)?;
    let (row, mut approval) =
        one(batch.conn, tenant, task, step)?.ok_or(StoreError::NoApproval(step))?;
    match approval.standing(batch.now) {
        ApprovalStatus::Pending => {}
        other => return Err(StoreError::Decided(other).into()),
    }
    if let Some(given) = revision.filter(|given| *given != approval.revision) {
        let current = approval.revision;
        return Err(StoreError::WrongRevision { given, current }.into());
    }
    let judgement = match decision {
        Decision::Approve => {
            approval.status = ApprovalStatus::Approved;
            let edited = approval.revision > 1;
            Judgement::Approve {
                input: edited.then(|| approval.asked.input.clone()),
            }
        }
        Decision::Deny { reason } => {
            approval.status = ApprovalStatus::Denied;
            approval.note = Some(reason.clone());
            Judgement::Deny { reason }
        }
        Decision::Edit { input, digest } => {
            approval.revision += 1;
            approval.asked.input = input.clone();
            approval.asked.input_digest = digest;
            Judgement::Edit { input }
        }
    };
    let command = Command::Judge {
        step,
        judgement,
        by: by.clone(),
    };
    let decided = decide(&before.life, command, batch.now).map_err(StoreError::from)?;
    let after = batch.write(&before, decided, outside)?;
    if approval.status != ApprovalStatus::Pending {
        approval.decided_at = Some(after.updated_at);
        approval.decided_by = by;
    }
    let mut update = batch.conn.prepare_cached(
        "UPDATE approvals SET revision = ?, status = ?, input = ?, input_digest = ?, \
         decided_at = ?, decided_by = ?, note = ? WHERE approval_row = ?",
    )?;
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

/// The approvals of a task that ended lapse with it.
pub(crate) fn void(batch: &Batch<'_>, task_row: i64) -> rusqlite::Result<()> {
    let mut update = batch.conn.prepare_cached(
        "UPDATE approvals SET status = 'void', decided_at = ? \
         WHERE tenant_id = (SELECT tenant_id FROM tasks WHERE task_row = ?2) AND task_row = ?2 \
         AND status = 'pending'",
    )?;
    update.execute((batch.now.0, task_row)).map(drop)
}

/// Marks the approvals of a task that nobody decided in time.
pub(crate) fn expire(batch: &Batch<'_>, task_row: i64) -> rusqlite::Result<()> {
    let mut update = batch.conn.prepare_cached(
        "UPDATE approvals SET status = 'expired', decided_at = ?1 \
         WHERE tenant_id = (SELECT tenant_id FROM tasks WHERE task_row = ?2) AND task_row = ?2 \
         AND status = 'pending' AND expires_at <= ?1",
    )?;
    update.execute((batch.now.0, task_row)).map(drop)
}

/// The approval that a step asked for, with its row.
pub(crate) fn one(
    conn: &Connection,
    tenant: TenantId,
    task: TaskId,
    step: u32,
) -> rusqlite::Result<Option<(u64, Approval)>> {
    let mut select = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM approvals WHERE tenant_id = ?1 AND step = ?3 AND task_row = \
         (SELECT task_row FROM tasks WHERE tenant_id = ?1 AND task_id = ?2)"
    ))?;
    select
        .query_row((tenant.0, task.as_bytes(), step), approval)
        .optional()
}

/// Approvals, newest first.
pub(crate) fn list(
    conn: &Connection,
    tenant: TenantId,
    now: Micros,
    filter: &ApprovalFilter,
) -> rusqlite::Result<Vec<(u64, Approval)>> {
    let mut sql = format!("SELECT {COLUMNS} FROM approvals WHERE tenant_id = ?");
    let mut values = vec![Value::from(tenant.0)];
    match filter.status {
        // Nobody has to write that the time of one is over: it is not pending any more.
        Some(ApprovalStatus::Pending) => {
            sql += " AND status = 'pending' AND (expires_at IS NULL OR expires_at > ?)";
            values.push(now.0.into());
        }
        Some(ApprovalStatus::Expired) => {
            sql += " AND (status = 'expired' OR (status = 'pending' AND expires_at <= ?))";
            values.push(now.0.into());
        }
        Some(status) => {
            sql += " AND status = ?";
            values.push(status.as_str().to_owned().into());
        }
        None => {}
    }
    if let Some(task) = filter.task {
        sql += " AND task_row = (SELECT task_row FROM tasks WHERE tenant_id = ? AND task_id = ?)";
        values.push(tenant.0.into());
        values.push(task.as_bytes().to_vec().into());
    }
    sql += " AND approval_row < ? ORDER BY approval_row DESC LIMIT ?";
    values.push(filter.before.map_or(i64::MAX, signed).into());
    values.push(filter.limit.min(PAGE).into());
    let mut select = conn.prepare_cached(&sql)?;
    let rows = select.query(rusqlite::params_from_iter(values))?;
    let mut found = rows::bounded(rows, &[INPUT, INPUT_SCHEMA], approval)?;
    for (_, approval) in &mut found {
        approval.status = approval.standing(now);
    }
    Ok(found)
}

fn approval(row: &Row<'_>) -> rusqlite::Result<(u64, Approval)> {
    let json = |column| {
        let text = row.get_ref(column)?.as_str()?;
        serde_json::from_str(text).map_err(|error| unreadable(column, error.into()))
    };
    let micros = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(Micros));
    let asked = NewApproval {
        step: row.get(2)?,
        tool: row.get(5)?,
        tool_digest: row.get(6)?,
        agent_digest: row.get(7)?,
        input: json(INPUT)?,
        input_digest: row.get(9)?,
        input_schema: json(INPUT_SCHEMA)?,
        reason: row.get(11)?,
        expires_at: micros(13)?,
    };
    let approval = Approval {
        task: TaskId::from_bytes(row.get(1)?),
        asked,
        revision: row.get(3)?,
        status: named(row, 4, ApprovalStatus::from_name)?,
        asked_at: Micros(row.get(12)?),
        decided_at: micros(14)?,
        decided_by: row.get(15)?,
        note: row.get(16)?,
    };
    Ok((crate::sqlite::schema::rows::unsigned(row, 0)?, approval))
}
