//! Approvals as they are read.

use ops_core::{
    Approval, ApprovalStatus, Micros, TaskId, TenantId,
    ports::{ApprovalFilter, Listed},
};
use tokio_postgres::{Row, types::Type};

use super::{Found, bounded};
use crate::postgres::{
    connection::{Connection, Param},
    schema::rows::{self, APPROVAL, signed},
};

/// The most approvals that are read at once.
const PAGE: u32 = 1_000;

/// The approval that a step asked for.
pub(crate) fn one(
    conn: &Connection,
    tenant: TenantId,
    task: TaskId,
    step: u32,
) -> Found<Option<Approval>> {
    let sql = format!(
        "SELECT {APPROVAL} FROM approvals WHERE tenant_id = $1 AND task_id = $2 AND step = $3"
    );
    let (number, id, step) = (i64::from(tenant.0), &task.as_bytes()[..], i64::from(step));
    let params: [Param<'_>; 3] = [
        (&number, Type::INT8),
        (&id, Type::BYTEA),
        (&step, Type::INT8),
    ];
    let found = conn.query(&sql, &params)?;
    let approval = found.first().map(rows::approval).transpose();
    Ok(approval.map(|found| found.map(|(_, approval)| approval)))
}

/// Approvals, newest first.
pub(crate) fn list(
    conn: &Connection,
    tenant: TenantId,
    now: Micros,
    filter: &ApprovalFilter,
) -> Found<Listed<(u64, Approval)>> {
    let status = match filter.status {
        // Nobody has to write that the time of one is over: it is not pending any more.
        Some(ApprovalStatus::Pending) => {
            "status = 'pending' AND (expires_at IS NULL OR expires_at > $2)"
        }
        Some(ApprovalStatus::Expired) => {
            "(status = 'expired' OR (status = 'pending' AND expires_at <= $2))"
        }
        Some(_) => "status = $6 AND $2 IS NOT NULL",
        None => "$2 IS NOT NULL",
    };
    let sql = format!(
        "SELECT {APPROVAL} FROM approvals WHERE tenant_id = $1 AND {status} \
         AND ($3::bytea IS NULL OR task_id = $3) AND approval_row < $4 AND $6::text IS NOT NULL \
         ORDER BY approval_row DESC LIMIT $5"
    );
    let number = i64::from(tenant.0);
    let task = filter.task.as_ref().map(|task| &task.as_bytes()[..]);
    let before = filter.before.map_or(i64::MAX, signed);
    let limit = i64::from(filter.limit.min(PAGE));
    let named = filter.status.map_or("", ApprovalStatus::as_str);
    let params: [Param<'_>; 6] = [
        (&number, Type::INT8),
        (&now.0, Type::INT8),
        (&task, Type::BYTEA),
        (&before, Type::INT8),
        (&limit, Type::INT8),
        (&named, Type::TEXT),
    ];
    let found = conn.query(&sql, &params)?;
    let name = |row: &Row| {
        let task = rows::task_id(row, 1).map_or_else(|_| "unknown".into(), |task| task.to_string());
        match rows::get::<i64>(row, 2) {
            Ok(step) => format!("{task}/{step}"),
            Err(_) => task,
        }
    };
    let mut listed = bounded(&found, &[8, 10, 17], name, |row| {
        let (row, approval) = rows::approval(row)?;
        Ok((u64::try_from(row).unwrap_or(0), approval))
    });
    for (_, approval) in &mut listed.found {
        approval.status = approval.standing(now);
    }
    Ok(Ok(listed))
}
