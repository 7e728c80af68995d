// The tables of both stores: what a row of the one is in the other. SQLite knows tasks by row numbers where
// PostgreSQL has their ids, and packs large values.

use rusqlite::types::ValueRef;

use super::{ImportError, LeftOut, Progress, Target};
use crate::{
    postgres::bulk::{Bulk, Cell},
    sqlite::unpack,
};

/// Rows of one statement.
const ROWS: u64 = 500;
/// Bytes of one statement.
const BYTES: usize = 4 << 20;

/// A table.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// Whether a row is data of somebody; a new database has the tenant `default`.
    pub(super) is_data: bool,
    columns: &'static str,
    /// Gives a row as the table of PostgreSQL has it, in the order of its rows.
    select: &'static str,
    /// A letter for each column.
    kinds: &'static str,
    conflict: &'static str,
}

const fn table(
    name: &'static str,
    columns: &'static str,
    kinds: &'static str,
    select: &'static str,
) -> Table {
    Table {
        name,
        is_data: true,
        columns,
        select,
        kinds,
        conflict: "",
    }
}

// The tables that are copied. Those of sessions and counters are not: no lease outlives its process, and counters
// are counted. Nor are those of calls under way and of rates: a call without its lease is lost, as its ledger has it, and
// tasks that wait look by themselves. Of what is being deleted in the source, nothing is copied.
pub(super) static TABLES: [Table; 16] = [
    Table {
        is_data: false,
        conflict: "ON CONFLICT DO NOTHING",
        ..table(
            "tenants",
            "tenant_id, name",
            "ib",
            "SELECT tenant_id, name FROM tenants ORDER BY tenant_id",
        )
    },
    table(
        "tasks",
        "tenant_id, task_id, queue, priority, state, due_at, wait_on, wait, dead_letter, attempt, epoch, seq, \
         lease_losses, run_started, input_tokens, output_tokens, cost_micros, retry_max_attempts, \
         retry_initial_micros, retry_max_micros, retry_max_lease_losses, started_at, updated_at, completed_at, flags, \
         children_input_tokens, children_output_tokens, children_cost_micros, timeout_micros, start_by, expires_at, \
         parent_id, concurrency_key, result, result_digest, error",
        "ibbitittiiiii?iiiiiiiiiiiiiiiiibbtbt",
        "SELECT tasks.tenant_id, task_id, queue, priority, state, due_at, wait_on, wait, dead_letter, attempt, epoch, \
         seq, lease_losses, run_started, input_tokens, output_tokens, cost_micros, retry_max_attempts, \
         retry_initial_micros, retry_max_micros, retry_max_lease_losses, started_at, updated_at, completed_at, flags, \
         children_input_tokens, children_output_tokens, children_cost_micros, timeout_micros, start_by, expires_at, \
         parent_id, concurrency_key, result, result_digest, error \
         FROM tasks JOIN task_requests USING (task_row) ORDER BY task_row",
    ),
    table(
        "task_requests",
        "tenant_id, task_id, task_type, name, agent_id, agent_digest, input, input_digest, labels, limits, in_force, \
         retry_of, created_at, run_at, parent_step, depth_left",
        "ibbbbbtbtttbiiii",
        "SELECT tasks.tenant_id, task_id, task_type, name, agent_id, agent_digest, input, input_digest, labels, \
         limits, in_force, retry_of, created_at, run_at, parent_step, depth_left \
         FROM tasks JOIN task_requests USING (task_row) ORDER BY task_row",
    ),
    table(
        "events",
        "tenant_id, task_id, seq, epoch, at, kind, step, step_kind, step_status, effect, input_tokens, output_tokens, \
         cost_micros, blobs, body, body_digest",
        "ibiiititttiiitbb",
        "SELECT events.tenant_id, task_id, events.seq, events.epoch, at, kind, step, step_kind, step_status, effect, \
         events.input_tokens, events.output_tokens, events.cost_micros, blobs, body, body_digest \
         FROM events JOIN tasks USING (task_row) ORDER BY event_row",
    ),
    table(
        "blobs",
        "tenant_id, digest, chunk, bytes",
        "ibi*",
        "SELECT tenant_id, digest, chunk, codec, size, bytes FROM blobs WHERE EXISTS (SELECT 1 FROM blob_refs \
         JOIN tasks USING (task_row) WHERE blob_refs.tenant_id = blobs.tenant_id AND blob_refs.digest = blobs.digest) \
         ORDER BY blob_row",
    ),
    table(
        "blob_refs",
        "tenant_id, digest, task_id",
        "ibb",
        "SELECT blob_refs.tenant_id, digest, task_id FROM blob_refs JOIN tasks USING (task_row)",
    ),
    table(
        "snapshots",
        "tenant_id, task_id, seq, version, body",
        "ibii*",
        "SELECT snapshots.tenant_id, snapshots.task_id, snapshots.seq, version, codec, size, body FROM snapshots \
         JOIN tasks ON tasks.tenant_id = snapshots.tenant_id AND tasks.task_id = snapshots.task_id",
    ),
    table(
        "idempotency",
        "tenant_id, key, digest, task_id, created_at",
        "ibbbi",
        "SELECT tenant_id, key, digest, task_id, created_at FROM idempotency",
    ),
    table(
        "task_terms",
        "tenant_id, kind, key, value, folded, task_id",
        "iibbbb",
        // Of a name, the lower case of ASCII.
        "SELECT task_terms.tenant_id, kind, key, value, CASE kind WHEN 2 THEN lower(value) END, task_terms.task_id \
         FROM task_terms JOIN tasks ON tasks.tenant_id = task_terms.tenant_id AND tasks.task_id = task_terms.task_id",
    ),
    table(
        "approvals",
        "tenant_id, task_id, step, revision, status, tool, tool_digest, agent_digest, input, input_digest, \
         input_schema, reason, asked_at, expires_at, decided_at, decided_by, note, details",
        "ibiitbbbtbtbiiibbt",
        "SELECT approvals.tenant_id, tasks.task_id, step, revision, status, tool, tool_digest, agent_digest, input, \
         input_digest, input_schema, reason, asked_at, approvals.expires_at, decided_at, decided_by, note, details \
         FROM approvals JOIN tasks USING (task_row) ORDER BY approval_row",
    ),
    table(
        "agent_versions",
        "tenant_id, name, digest, definition, description, agents, created_at",
        "ibbtbti",
        "SELECT tenant_id, name, digest, definition, description, agents, created_at FROM agent_versions \
         ORDER BY version_row",
    ),
    table(
        "agents",
        "tenant_id, name, digest, revision, created_at, updated_at",
        "ibbiii",
        "SELECT agents.tenant_id, agents.name, digest, revision, agents.created_at, updated_at \
         FROM agents JOIN agent_versions USING (version_row)",
    ),
    table(
        "schedules",
        "tenant_id, name, cron, timezone, overlap, catch_up, template, paused, revision, next_at, waiting, created_at, \
         updated_at",
        "ibbbttt?iiiii",
        "SELECT tenant_id, name, cron, timezone, overlap, catch_up, template, paused, revision, next_at, waiting, \
         created_at, updated_at FROM schedules ORDER BY schedule_row",
    ),
    table(
        "schedule_runs",
        "tenant_id, schedule, due, at, cause, outcome, task_id, message",
        "ibiittbb",
        "SELECT schedule_runs.tenant_id, name, due, at, cause, outcome, task_id, message \
         FROM schedule_runs JOIN schedules USING (schedule_row) ORDER BY run_row",
    ),
    table(
        "mcp_servers",
        "tenant_id, name, pins, updated_at",
        "ibti",
        "SELECT tenant_id, name, pins, updated_at FROM mcp_servers",
    ),
    table(
        "budget_ledgers",
        "tenant_id, budget, since, tokens, cost_micros",
        "ibiii",
        "SELECT tenant_id, budget, since, tokens, cost_micros FROM budget_ledgers",
    ),
];

/// Copies a table; gives the number of its rows.
pub(super) fn copy(
    table: &Table,
    source: &rusqlite::Connection,
    target: &Target<'_>,
    (left_out, progress): (&mut LeftOut, &(dyn Fn(Progress) + Sync)),
) -> Result<u64, ImportError> {
    let mut select = source.prepare(table.select)?;
    let mut found = select.query([])?;
    let (mut bulk, mut bytes, mut rows) = (Bulk::default(), 0, 0);
    loop {
        let row = match found.next() {
            Ok(Some(row)) => row,
            Ok(None) => break,
            Err(error) => {
                let why = format!("rows of `{}` behind a damaged page: {error}", table.name);
                left_out.note(ImportError::Unreadable { why })?;
                break;
            }
        };
        let cells = match cells(table, row) {
            Ok(cells) => cells,
            Err(error) => {
                left_out.note(error)?;
                continue;
            }
        };
        bytes += cells.iter().map(size).sum::<usize>();
        bulk.push(cells);
        rows += 1;
        if bulk.rows() == ROWS || bytes > BYTES {
            send(table, &std::mem::take(&mut bulk), target)?;
            bytes = 0;
            progress(Progress {
                part: table.name,
                rows,
            });
        }
    }
    if bulk.rows() > 0 {
        send(table, &bulk, target)?;
    }
    let there = target.number(&format!("SELECT count(*) FROM {}", table.name))?;
    if u64::try_from(there) != Ok(rows) {
        return Err(ImportError::Differs {
            what: format!("the number of rows of `{}`", table.name),
        });
    }
    Ok(rows)
}

/// A row as PostgreSQL has it.
fn cells(table: &Table, row: &rusqlite::Row<'_>) -> Result<Vec<Cell>, ImportError> {
    let mut cells = Vec::with_capacity(table.kinds.len());
    for (column, kind) in table.kinds.chars().enumerate() {
        cells.push(match kind {
            '*' => Cell::Bytes(Some(unpack(
                row.get(column)?,
                row.get(column + 1)?,
                row.get(column + 2)?,
            )?)),
            kind => cell(kind, row.get_ref(column)?).ok_or_else(|| ImportError::Unreadable {
                why: format!("column {column} of a row of `{}` is damaged", table.name),
            })?,
        });
    }
    Ok(cells)
}

/// Bytes of a value.
fn size(cell: &Cell) -> usize {
    match cell {
        Cell::Bytes(Some(bytes)) => bytes.len(),
        Cell::Text(Some(text)) => text.len(),
        Cell::Bytes(None) | Cell::Text(None) | Cell::Int(_) | Cell::Bool(_) => 8,
    }
}

fn send(table: &Table, bulk: &Bulk, target: &Target<'_>) -> Result<(), ImportError> {
    let sql = bulk.insert(table.name, table.columns, table.conflict);
    target.check(target.conn.execute(&sql, &bulk.params()))?;
    Ok(())
}

/// A value as a column of PostgreSQL has it: `i` a number, `t` text, `b` bytes, `?` a truth.
fn cell(kind: char, value: ValueRef<'_>) -> Option<Cell> {
    let bytes = match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => None,
    };
    let is_null = matches!(value, ValueRef::Null);
    match (kind, value) {
        ('i', ValueRef::Integer(number)) => Some(Cell::Int(Some(number))),
        ('i', ValueRef::Null) => Some(Cell::Int(None)),
        ('?', ValueRef::Integer(number)) => Some(Cell::Bool(number != 0)),
        ('b', _) if is_null => Some(Cell::Bytes(None)),
        ('b', _) => bytes.map(|bytes| Cell::Bytes(Some(bytes.to_vec()))),
        ('t', _) if is_null => Some(Cell::Text(None)),
        ('t', _) => {
            let text = std::str::from_utf8(bytes?).ok()?;
            Some(Cell::Text(Some(text.to_owned())))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One letter for each column.
    #[test]
    fn each_column_has_a_kind() {
        for table in &TABLES {
            let columns = table.columns.split(',').count();
            assert_eq!(columns, table.kinds.len(), "{}", table.name);
        }
    }
}
