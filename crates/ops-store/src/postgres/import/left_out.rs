// Damaged tasks and rows that a copy leaves out.

use ops_core::{TaskId, TenantId};
use tokio_postgres::types::Type;

use super::{ImportError, Target};
use crate::{postgres::connection::Param, sqlite::Damage};

/// Lines of a report.
const NAMED: usize = 100;

/// Tables with rows of a task.
const OF_A_TASK: [&str; 8] = [
    "tasks",
    "task_requests",
    "events",
    "blob_refs",
    "snapshots",
    "idempotency",
    "task_terms",
    "approvals",
];

/// What a copy has left out.
pub(super) struct LeftOut {
    damage: Damage,
    named: Vec<String>,
    more: u64,
}

impl LeftOut {
    pub(super) fn new(damage: Damage) -> Self {
        Self {
            damage,
            named: Vec::new(),
            more: 0,
        }
    }

    /// Notes a loss, or fails with it where damage is refused. A failure of the database is no damage.
    pub(super) fn note(&mut self, error: ImportError) -> Result<(), ImportError> {
        let line = match (self.damage, &error) {
            (Damage::Accepted, ImportError::Unreadable { why }) => format!("left out: {why}"),
            (Damage::Accepted, ImportError::Differs { what }) => {
                format!("left out: {what} is damaged")
            }
            (Damage::Accepted | Damage::Refused, _) => return Err(error),
        };
        match self.named.len() < NAMED {
            true => self.named.push(line),
            false => self.more += 1,
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// A line for each loss, and their number where there are too many.
    pub(super) fn named(self) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("left out: {} more", self.more));
        self.named.into_iter().chain(more).collect()
    }
}

/// Deletes all rows of a task.
pub(super) fn delete(
    target: &Target<'_>,
    tenant: TenantId,
    task: TaskId,
) -> Result<(), ImportError> {
    let (number, id) = (i64::from(tenant.0), &task.as_bytes()[..]);
    let params: [Param<'_>; 2] = [(&number, Type::INT8), (&id, Type::BYTEA)];
    for table in OF_A_TASK {
        let sql = format!("DELETE FROM {table} WHERE tenant_id = $1 AND task_id = $2");
        target.check(target.conn.execute(&sql, &params))?;
    }
    Ok(())
}

/// Deletes rows whose task was left out: those of tasks that the table of tasks has lost, and values without a task.
pub(super) fn sweep(target: &Target<'_>) -> Result<(), ImportError> {
    for table in OF_A_TASK.iter().filter(|table| **table != "tasks") {
        let sql = format!(
            "DELETE FROM {table} WHERE NOT EXISTS (SELECT 1 FROM tasks \
             WHERE tasks.tenant_id = {table}.tenant_id AND tasks.task_id = {table}.task_id)"
        );
        target.check(target.conn.execute_all(&sql))?;
    }
    let values = "DELETE FROM blobs WHERE NOT EXISTS (SELECT 1 FROM blob_refs \
        WHERE blob_refs.tenant_id = blobs.tenant_id AND blob_refs.digest = blobs.digest)";
    target.check(target.conn.execute_all(values))
}
