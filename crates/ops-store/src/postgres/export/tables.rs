// The tables of both stores, in the other direction than `import::tables`: what a row of PostgreSQL is in SQLite.

use std::path::Path;

use rusqlite::{params_from_iter, types::Value};
use tokio_postgres::Row;

use super::{ExportError, Progress, Source};
use crate::sqlite::{BackupError, Chunk, SUMMED};

/// A table.
pub(super) struct Table {
    name: &'static str,
    /// The columns of SQLite.
    columns: &'static str,
    /// A letter for each column that PostgreSQL gives: `i` a number, `t` text, `s` the bytes of a text, `b` bytes,
    /// `?` a truth, `*` bytes that SQLite packs into three columns: size, codec and bytes.
    kinds: &'static str,
    /// Gives the rows.
    select: &'static str,
    /// Rows that are read at once.
    batch: u64,
}

const fn table(
    name: &'static str,
    columns: &'static str,
    kinds: &'static str,
    select: &'static str,
) -> Table {
    Table {
        name,
        columns,
        kinds,
        select,
        batch: 500,
    }
}

// No session is copied: the leases are those of workers that a restored database does not know. Of what is being
// deleted, nothing is copied.
pub(super) static TABLES: [Table; 17] = [
    table(
        "tenants",
        "tenant_id, name",
        "is",
        "SELECT tenant_id, name FROM tenants ORDER BY tenant_id",
    ),
    table(
        "tasks",
        "task_row, tenant_id, task_id, queue, priority, state, session_id, due_at, wait_on, wait, dead_letter, attempt, \
         epoch, seq, lease_losses, run_started, input_tokens, output_tokens, cost_micros, retry_max_attempts, \
         retry_initial_micros, retry_max_micros, retry_max_lease_losses, started_at, updated_at, completed_at, result, \
         result_digest, error, flags, children_input_tokens, children_output_tokens, children_cost_micros, parent_row, \
         concurrency_key, timeout_micros, start_by, expires_at",
        "iibsitbittiiiii?iiiiiiiiiitbtiiiiisiii",
        "SELECT t.task_row, t.tenant_id, t.task_id, t.queue, t.priority, t.state, t.session_id, t.due_at, t.wait_on, \
         t.wait, t.dead_letter, t.attempt, t.epoch, t.seq, t.lease_losses, t.run_started, t.input_tokens, \
         t.output_tokens, t.cost_micros, t.retry_max_attempts, t.retry_initial_micros, t.retry_max_micros, \
         t.retry_max_lease_losses, t.started_at, t.updated_at, t.completed_at, t.result, t.result_digest, t.error, \
         t.flags, t.children_input_tokens, t.children_output_tokens, t.children_cost_micros, parent.task_row, \
         t.concurrency_key, t.timeout_micros, t.start_by, t.expires_at \
         FROM tasks AS t LEFT JOIN tasks AS parent \
         ON parent.tenant_id = t.tenant_id AND parent.task_id = t.parent_id ORDER BY t.task_row",
    ),
    table(
        "task_requests",
        "task_row, tenant_id, task_type, name, agent_id, input, input_digest, labels, limits, retry_of, created_at, \
         run_at, parent_id, parent_step, depth_left, agent_digest, in_force",
        "iissstbttbiibiibt",
        "SELECT task_row, tenant_id, task_type, name, agent_id, input, input_digest, labels, limits, retry_of, \
         created_at, run_at, parent_id, parent_step, depth_left, agent_digest, in_force \
         FROM task_requests JOIN tasks USING (tenant_id, task_id) ORDER BY task_row",
    ),
    table(
        "events",
        "tenant_id, task_row, seq, epoch, at, kind, step, step_kind, step_status, effect, input_tokens, output_tokens, \
         cost_micros, blobs, body, body_digest",
        "iiiiititttiiitbb",
        "SELECT e.tenant_id, task_row, e.seq, e.epoch, at, kind, step, step_kind, step_status, effect, e.input_tokens, \
         e.output_tokens, e.cost_micros, blobs, body, body_digest \
         FROM events AS e JOIN tasks USING (tenant_id, task_id)",
    ),
    Table {
        batch: 16,
        ..table(
            "blobs",
            "tenant_id, digest, chunk, size, codec, bytes, whole",
            "ibi*i",
            "SELECT tenant_id, digest, chunk, bytes, (SELECT sum(octet_length(part.bytes)) FROM blobs AS part \
             WHERE part.tenant_id = blobs.tenant_id AND part.digest = blobs.digest)::int8 \
             FROM blobs WHERE EXISTS (SELECT 1 FROM blob_refs JOIN tasks USING (tenant_id, task_id) \
             WHERE blob_refs.tenant_id = blobs.tenant_id AND blob_refs.digest = blobs.digest)",
        )
    },
    table(
        "blob_refs",
        "tenant_id, digest, task_row",
        "ibi",
        "SELECT tenant_id, digest, task_row FROM blob_refs JOIN tasks USING (tenant_id, task_id)",
    ),
    Table {
        batch: 16,
        ..table(
            "snapshots",
            "tenant_id, task_id, seq, version, size, codec, body",
            "ibii*",
            "SELECT tenant_id, task_id, snapshots.seq, version, body \
             FROM snapshots JOIN tasks USING (tenant_id, task_id)",
        )
    },
    table(
        "idempotency",
        "tenant_id, key, digest, task_id, created_at",
        "isbbi",
        "SELECT tenant_id, key, digest, task_id, created_at FROM idempotency",
    ),
    table(
        "counters",
        "tenant_id, state, n",
        "iti",
        "SELECT tenant_id, state, count(*) FROM tasks GROUP BY tenant_id, state",
    ),
    table(
        "task_terms",
        "tenant_id, kind, key, value, task_id",
        "iissb",
        "SELECT tenant_id, kind, key, value, task_id FROM task_terms JOIN tasks USING (tenant_id, task_id)",
    ),
    table(
        "approvals",
        "tenant_id, task_row, task_id, step, revision, status, tool, tool_digest, agent_digest, input, input_digest, \
         input_schema, reason, asked_at, expires_at, decided_at, decided_by, note, details",
        "iibiitssststsiiisst",
        "SELECT tenant_id, task_row, task_id, step, revision, status, tool, tool_digest, agent_digest, input, \
         input_digest, input_schema, reason, asked_at, a.expires_at, decided_at, decided_by, note, details \
         FROM approvals AS a JOIN tasks USING (tenant_id, task_id) ORDER BY approval_row",
    ),
    table(
        "agent_versions",
        "version_row, tenant_id, name, digest, definition, description, agents, created_at",
        "iisbtsti",
        "SELECT version_row, tenant_id, name, digest, definition, description, agents, created_at \
         FROM agent_versions ORDER BY version_row",
    ),
    table(
        "agents",
        "tenant_id, name, version_row, revision, created_at, updated_at",
        "isiiii",
        "SELECT tenant_id, agents.name, version_row, revision, agents.created_at, updated_at \
         FROM agents JOIN agent_versions USING (tenant_id, digest)",
    ),
    table(
        "schedules",
        "schedule_row, tenant_id, name, cron, timezone, overlap, catch_up, template, paused, revision, next_at, \
         waiting, created_at, updated_at",
        "iisssttt?iiiii",
        "SELECT row_number() OVER (ORDER BY tenant_id, name), tenant_id, name, cron, timezone, overlap, catch_up, \
         template, paused, revision, next_at, waiting, created_at, updated_at FROM schedules ORDER BY tenant_id, name",
    ),
    table(
        "schedule_runs",
        "tenant_id, schedule_row, due, at, cause, outcome, task_id, message",
        "iiiittbs",
        "SELECT tenant_id, schedule_row, due, at, cause, outcome, task_id, message FROM schedule_runs \
         JOIN (SELECT tenant_id, name AS schedule, row_number() OVER (ORDER BY tenant_id, name) AS schedule_row \
           FROM schedules) AS numbered USING (tenant_id, schedule) ORDER BY run_row",
    ),
    table(
        "mcp_servers",
        "tenant_id, name, pins, updated_at",
        "isti",
        "SELECT tenant_id, name, pins, updated_at FROM mcp_servers",
    ),
    table(
        "budget_ledgers",
        "tenant_id, budget, since, tokens, cost_micros",
        "isiii",
        "SELECT tenant_id, budget, since, tokens, cost_micros FROM budget_ledgers",
    ),
];

/// The statement that writes a row, with the checksum that the table has.
fn insert(table: &Table) -> String {
    let columns: Vec<&str> = table.columns.split(", ").collect();
    let summed = SUMMED.iter().find(|summed| summed.name == table.name);
    match summed {
        Some(summed) => summed.insert(&columns, &[]),
        // The tenant `default` is in every database.
        None => format!(
            "INSERT OR REPLACE INTO {} ({}) VALUES ({})",
            table.name,
            table.columns,
            vec!["?"; columns.len()].join(", ")
        ),
    }
}

/// Copies a table.
pub(super) fn copy(
    table: &Table,
    source: &Source<'_>,
    (target, file): (&rusqlite::Connection, &Path),
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(), ExportError> {
    let failed = |source| BackupError::Copy {
        file: file.to_owned(),
        source,
    };
    let unreadable = |why: String| ExportError::Unreadable {
        table: table.name,
        why,
    };
    let mut insert = target.prepare(&insert(table)).map_err(failed)?;
    let conn = source.conn;
    let declare = format!("DECLARE copied NO SCROLL CURSOR FOR {}", table.select);
    source.check(conn.execute_all(&declare))?;
    let fetch = format!("FETCH FORWARD {} FROM copied", table.batch);
    let mut rows = 0;
    loop {
        let found = source.check(conn.query(&fetch, &[]))?;
        for row in &found {
            let values = values(table, row).map_err(unreadable)?;
            insert.execute(params_from_iter(values)).map_err(failed)?;
        }
        rows += found.len() as u64;
        progress(Progress {
            part: table.name,
            rows,
        });
        if (found.len() as u64) < table.batch {
            return source.check(conn.execute_all("CLOSE copied"));
        }
    }
}

/// A row as SQLite has it.
fn values(table: &Table, row: &Row) -> Result<Vec<Value>, String> {
    let mut values = Vec::new();
    for (column, kind) in table.kinds.chars().enumerate() {
        let unread = |error: tokio_postgres::Error| format!("column {column}: {error}");
        let value = match kind {
            'i' => row.try_get(column).map(|value: Option<i64>| value.into()),
            '?' => row
                .try_get(column)
                .map(|value: bool| Value::Integer(value.into())),
            't' => row
                .try_get(column)
                .map(|value: Option<String>| value.into()),
            'b' => row
                .try_get(column)
                .map(|value: Option<Vec<u8>>| value.into()),
            's' => {
                let bytes: Option<Vec<u8>> = row.try_get(column).map_err(unread)?;
                let text = bytes.map(String::from_utf8).transpose();
                Ok(text
                    .map_err(|error| format!("column {column}: {error}"))?
                    .into())
            }
            _ => {
                let chunk = Chunk::pack(row.try_get(column).map_err(unread)?);
                values.push(Value::Integer(chunk.size.into()));
                values.push(Value::Integer(chunk.codec().into()));
                Ok(Value::Blob(chunk.bytes))
            }
        };
        values.push(value.map_err(unread)?);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One letter for each column; a packed value has three.
    #[test]
    fn each_column_has_a_kind() {
        for table in &TABLES {
            let columns = table.columns.split(',').count();
            let packed = table.kinds.matches('*').count();
            assert_eq!(columns, table.kinds.len() + 2 * packed, "{}", table.name);
        }
    }
}
