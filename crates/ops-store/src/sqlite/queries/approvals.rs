//! Approvals as they are read.

use ops_core::{
    Approval, ApprovalDetails, ApprovalStatus, Micros, NewApproval, TaskId, TenantId,
    ports::{ApprovalFilter, Listed},
};
use rusqlite::{OptionalExtension as _, Row, types::Value};

use crate::sqlite::{
    error::WriteError,
    queries::view::View,
    schema::{
        rows::{self, named, signed, unreadable},
        sums::intact,
    },
};

/// What [`approval`] reads, in its order.
const COLUMNS: &str = concat!(
    "approval_row, task_id, step, revision, status, tool, tool_digest, agent_digest, input, \
     input_digest, input_schema, reason, asked_at, expires_at, decided_at, decided_by, note, details, ",
    intact!(approvals)
);
const INTACT: usize = 18;
/// The places of those that may be large.
const INPUT: usize = 8;
const INPUT_SCHEMA: usize = 10;
const DETAILS: usize = 17;

/// The most approvals that are read at once.
const PAGE: u32 = 1_000;

/// The approvals of a task that are open, with their rows; those that can be read.
pub(crate) fn open(conn: &View<'_>, task_row: i64) -> rusqlite::Result<Vec<(u64, Approval)>> {
    let mut select = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM approvals \
         WHERE tenant_id = (SELECT tenant_id FROM tasks WHERE task_row = ?1) AND task_row = ?1 \
         AND status = 'pending' ORDER BY approval_row"
    ))?;
    let mut rows = select.query([task_row])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        match approval(row).map_err(WriteError::from) {
            Ok(approval) => found.push(approval),
            Err(WriteError::Refused(error)) => {
                tracing::error!(task_row, %error, "an approval cannot be read and stays open");
            }
            Err(WriteError::Broken(error)) => return Err(error),
        }
    }
    Ok(found)
}

/// The approval that a step asked for, with its row.
pub(crate) fn one(
    conn: &View<'_>,
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
    conn: &View<'_>,
    tenant: TenantId,
    now: Micros,
    filter: &ApprovalFilter,
) -> rusqlite::Result<Listed<(u64, Approval)>> {
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
    sql += " AND approval_row < ? ORDER BY approval_row DESC";
    values.push(filter.before.map_or(i64::MAX, signed).into());
    let mut select = conn.prepare_cached(&sql)?;
    let rows = select.query(rusqlite::params_from_iter(values))?;
    let name = |row: &Row<'_>| {
        let step = row
            .get::<_, u32>(2)
            .map_or_else(|_| String::new(), |step| format!("/{step}"));
        rows::shown_id(row, 1) + &step
    };
    let limit = filter.limit.min(PAGE);
    let mut found = rows::bounded(rows, limit, &[INPUT, INPUT_SCHEMA, DETAILS], name, approval)?;
    for (_, approval) in &mut found.found {
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
    rows::intact(row, INTACT)?;
    let request = NewApproval {
        step: row.get(2)?,
        tool: row.get(5)?,
        tool_digest: row.get(6)?,
        agent_digest: row.get(7)?,
        input: json(INPUT)?,
        input_digest: row.get(9)?,
        input_schema: json(INPUT_SCHEMA)?,
        reason: row.get(11)?,
        expires_at: micros(13)?,
        details: match row.get_ref(DETAILS)?.as_str_or_null()? {
            Some(text) => {
                serde_json::from_str(text).map_err(|error| unreadable(DETAILS, error.into()))?
            }
            None => ApprovalDetails::default(),
        },
    };
    let approval = Approval {
        task: TaskId::from_bytes(row.get(1)?),
        request,
        revision: row.get(3)?,
        status: named(row, 4, ApprovalStatus::from_name)?,
        asked_at: Micros(row.get(12)?),
        decided_at: micros(14)?,
        decided_by: row.get(15)?,
        note: row.get(16)?,
    };
    Ok((rows::unsigned(row, 0)?, approval))
}
