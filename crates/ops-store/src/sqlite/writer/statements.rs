//! The statements of the hot path, prepared once for the writer's life.

use rusqlite::{Connection, Result, Statement};

use crate::sqlite::schema::{
    rows::life_columns,
    sums::{COUNTERS, EVENTS, Others, TASK_REQUESTS, TASKS},
};

/// Prepared statements. Rare statements are looked up in the connection's cache instead.
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
            advance: conn.prepare(&TASKS.update(
                &[
                    "seq",
                    "lease_losses",
                    "run_started",
                    "input_tokens",
                    "output_tokens",
                    "cost_micros",
                    "updated_at",
                ],
                "task_row = ?8 AND epoch = ?9 AND seq = ?10",
            ))?,
            transition: conn.prepare(&TASKS.update(
                &[
                    "state",
                    "session_id",
                    "due_at",
                    "wait_on",
                    "wait",
                    "dead_letter",
                    "attempt",
                    "epoch",
                    "seq",
                    "lease_losses",
                    "run_started",
                    "input_tokens",
                    "output_tokens",
                    "cost_micros",
                    "started_at",
                    "updated_at",
                    "completed_at",
                    "result",
                    "result_digest",
                    "error",
                    "flags",
                    "children_input_tokens",
                    "children_output_tokens",
                    "children_cost_micros",
                    "timeout_micros",
                    "start_by",
                    "expires_at",
                ],
                "task_row = ?28 AND epoch = ?29 AND seq = ?30",
            ))?,
            insert_event: conn.prepare(&EVENTS.insert(
                &[
                    "tenant_id",
                    "task_row",
                    "seq",
                    "epoch",
                    "at",
                    "kind",
                    "step",
                    "step_kind",
                    "step_status",
                    "effect",
                    "input_tokens",
                    "output_tokens",
                    "cost_micros",
                    "blobs",
                    "body",
                    "body_digest",
                ],
                &[],
            ))?,
            insert_task: conn.prepare(&format!(
                "{} ON CONFLICT DO NOTHING",
                TASKS.insert(
                    &[
                        "tenant_id",
                        "task_id",
                        "queue",
                        "priority",
                        "state",
                        "due_at",
                        "attempt",
                        "epoch",
                        "seq",
                        "run_started",
                        "retry_max_attempts",
                        "retry_initial_micros",
                        "retry_max_micros",
                        "retry_max_lease_losses",
                        "updated_at",
                        "flags",
                        "parent_row",
                        "concurrency_key",
                        "timeout_micros",
                        "start_by",
                        "expires_at",
                    ],
                    &[
                        ("dead_letter", "0"),
                        ("lease_losses", "0"),
                        ("input_tokens", "0"),
                        ("output_tokens", "0"),
                        ("cost_micros", "0"),
                        ("children_input_tokens", "0"),
                        ("children_output_tokens", "0"),
                        ("children_cost_micros", "0"),
                    ],
                )
            ))?,
            insert_request: conn.prepare(&TASK_REQUESTS.insert(
                &[
                    "task_row",
                    "tenant_id",
                    "task_type",
                    "name",
                    "agent_id",
                    "input",
                    "input_digest",
                    "labels",
                    "limits",
                    "retry_of",
                    "created_at",
                    "run_at",
                    "parent_id",
                    "parent_step",
                    "depth_left",
                    "agent_digest",
                ],
                &[],
            ))?,
            // A counter that is damaged stays so, and is counted anew where it is read.
            count: conn.prepare(&format!(
                "{} ON CONFLICT DO UPDATE SET n = n + excluded.n, sum = iif({}, {}, 0)",
                COUNTERS.insert(&["tenant_id", "state", "n"], &[]),
                COUNTERS.intact,
                COUNTERS.sum(&[("n", "n + excluded.n")], Others::Unchanged),
            ))?,
        })
    }
}
