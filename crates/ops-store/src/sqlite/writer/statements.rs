//! The statements of the hot path, prepared once for the writer's life.

use rusqlite::{Connection, Result, Statement};

use crate::sqlite::schema::rows::life_columns;

/// Prepared statements. Rare ones are looked up in the connection's cache instead.
pub(crate) struct Statements<'c> {
    pub(crate) begin: Statement<'c>,
    pub(crate) commit: Statement<'c>,
    pub(crate) load: Statement<'c>,
    pub(crate) queue: Statement<'c>,
    pub(crate) advance: Statement<'c>,
    pub(crate) transition: Statement<'c>,
    pub(crate) insert_event: Statement<'c>,
    pub(crate) insert_task: Statement<'c>,
    pub(crate) insert_request: Statement<'c>,
    pub(crate) count: Statement<'c>,
}

impl<'c> Statements<'c> {
    pub(crate) fn prepare(conn: &'c Connection) -> Result<Self> {
        Ok(Self {
            begin: conn.prepare("BEGIN IMMEDIATE")?,
            commit: conn.prepare("COMMIT")?,
            load: conn.prepare(concat!(
                "SELECT task_row, ",
                life_columns!(),
                " FROM tasks WHERE tenant_id = ? AND task_id = ?"
            ))?,
            queue: conn.prepare("SELECT queue FROM tasks WHERE task_row = ?")?,
            advance: conn.prepare(
                "UPDATE tasks SET seq = ?, lease_losses = ?, run_started = ?, input_tokens = ?, \
                 output_tokens = ?, cost_micros = ?, updated_at = ? \
                 WHERE task_row = ? AND epoch = ? AND seq = ?",
            )?,
            transition: conn.prepare(
                "UPDATE tasks SET state = ?, session_id = ?, due_at = ?, wait_on = ?, wait = ?, \
                 dead_letter = ?, attempt = ?, epoch = ?, seq = ?, lease_losses = ?, \
                 run_started = ?, input_tokens = ?, output_tokens = ?, cost_micros = ?, \
                 started_at = ?, updated_at = ?, completed_at = ?, result = ?, \
                 result_digest = ?, error = ?, flags = ?, children_input_tokens = ?, \
                 children_output_tokens = ?, children_cost_micros = ? \
                 WHERE task_row = ? AND epoch = ? AND seq = ?",
            )?,
            insert_event: conn.prepare(
                "INSERT INTO events (tenant_id, task_row, seq, epoch, at, kind, step, step_kind, \
                 step_status, effect, input_tokens, output_tokens, cost_micros, blobs, body, \
                 body_digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?,
            insert_task: conn.prepare(
                "INSERT INTO tasks (tenant_id, task_id, queue, priority, state, due_at, attempt, \
                 epoch, seq, lease_losses, run_started, input_tokens, output_tokens, cost_micros, \
                 retry_max_attempts, retry_initial_micros, retry_max_micros, \
                 retry_max_lease_losses, updated_at, flags, parent_row, concurrency_key) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, 0, 0, 0, ?, ?, ?, ?, ?, ?, ?, ?) \
                 ON CONFLICT DO NOTHING",
            )?,
            insert_request: conn.prepare(
                "INSERT INTO task_requests (task_row, tenant_id, task_type, name, agent_id, \
                 input, input_digest, labels, limits, retry_of, created_at, run_at, parent_id, \
                 parent_step, depth_left, agent_digest) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?,
            count: conn.prepare(
                "INSERT INTO counters (tenant_id, state, n) VALUES (?, ?, ?) \
                 ON CONFLICT DO UPDATE SET n = n + excluded.n",
            )?,
        })
    }
}
