//! What a transaction has written and not sent yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering::Relaxed,
};

use ops_core::{
    Json, Lifecycle, TaskId, TenantId,
    ports::{StoreError, TaskRecord},
    rules::{Outcome, limits, links::MAX_INLINE_BYTES},
    task::TaskLimits,
    verbs::{Key, Rows as _},
};

use super::Work;
use crate::postgres::{
    bulk::{Bulk, Cell},
    connection::Param,
    error::Failure,
    schema::rows::{Digest, signed},
};

/// Statements for whole tables.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) events: Bulk,
    pub(super) blobs: Bulk,
    pub(super) refs: Bulk,
    pub(super) terms: Bulk,
    pub(super) keys: Bulk,
    // The limits that were asked for, and those in force.
    pub(super) limits: BTreeMap<Key, (Option<TaskLimits>, Option<TaskLimits>)>,
    /// The chunks among the blobs.
    pub(super) kept: BTreeSet<(TenantId, Digest, i64)>,
}

/// So many transactions add rows to the counters before they are added up.
const COMPACTED: u64 = 256;

const TASK_COLUMNS: &str = "tenant_id, task_id, state, session_id, due_at, wait_on, wait, \
    dead_letter, attempt, epoch, seq, lease_losses, run_started, input_tokens, output_tokens, \
    cost_micros, started_at, updated_at, completed_at, flags, children_input_tokens, \
    children_output_tokens, children_cost_micros, timeout_micros, start_by, expires_at, result, \
    result_digest, error";
const NEW_COLUMNS: &str = "retry_max_attempts, retry_initial_micros, retry_max_micros, \
    retry_max_lease_losses, queue, priority, parent_id, concurrency_key";
const REQUEST_COLUMNS: &str = "tenant_id, task_id, task_type, name, agent_id, agent_digest, input, \
    input_digest, labels, limits, retry_of, created_at, run_at, parent_step, depth_left";
pub(super) const EVENT_COLUMNS: &str = "tenant_id, task_id, seq, epoch, at, kind, step, step_kind, \
    step_status, effect, input_tokens, output_tokens, cost_micros, blobs, body, body_digest";

fn number(value: impl Into<i64>) -> Cell {
    Cell::Int(Some(value.into()))
}

fn bytes(value: &[u8]) -> Cell {
    Cell::Bytes(Some(value.to_vec()))
}

/// Text that a caller chose.
pub(super) fn chosen(text: Option<&str>) -> Cell {
    Cell::Bytes(text.map(|text| text.as_bytes().to_vec()))
}

pub(super) fn json<T: serde::Serialize>(value: &T) -> Cell {
    Cell::Text(
        Json::from_value(value)
            .ok()
            .map(|json| json.as_str().to_owned()),
    )
}

/// The columns of [`TASK_COLUMNS`] behind the key.
fn life_cells(life: &Lifecycle, outcome: Option<&Outcome>) -> Vec<Cell> {
    let state = life.state.row();
    let (mut result, mut digest) = (None, None);
    if let Some(Outcome::Result(value)) = outcome {
        match value.as_str().len() > MAX_INLINE_BYTES {
            true => digest = Some(Work::digest(value.as_str().as_bytes()).to_vec()),
            false => result = Some(value.as_str().to_owned()),
        }
    }
    let wait = state.wait.as_ref();
    vec![
        state.name.as_str().into(),
        Cell::Bytes(state.session.map(|session| session.as_bytes().to_vec())),
        state.due.map(|at| at.0).into(),
        Cell::Text(wait.map(|wait| wait.name().to_owned())),
        wait.map_or(Cell::Text(None), json),
        number(state.dead_letter),
        number(life.attempt),
        signed(life.epoch).into(),
        signed(life.seq).into(),
        number(life.lease_losses),
        life.run_started.into(),
        signed(life.usage.input_tokens).into(),
        signed(life.usage.output_tokens).into(),
        signed(life.usage.cost_micros).into(),
        life.started_at.map(|at| at.0).into(),
        life.updated_at.0.into(),
        life.completed_at.map(|at| at.0).into(),
        number(life.flags()),
        signed(life.children_usage.input_tokens).into(),
        signed(life.children_usage.output_tokens).into(),
        signed(life.children_usage.cost_micros).into(),
        life.timeout.into(),
        life.start_by.map(|at| at.0).into(),
        limits::expires(life).map(|at| at.0).into(),
        result.into(),
        digest.into(),
        life.failure.as_ref().map_or(Cell::Text(None), json),
    ]
}

fn new_cells(record: &TaskRecord) -> Vec<Cell> {
    let (task, retry) = (&record.task, record.life.retry);
    vec![
        number(retry.max_attempts),
        retry.initial_micros.into(),
        retry.max_micros.into(),
        number(retry.max_lease_losses),
        chosen(Some(&task.queue)),
        number(task.priority),
        Cell::Bytes(task.parent.map(|parent| parent.task.as_bytes().to_vec())),
        chosen(task.concurrency_key.as_deref()),
    ]
}

fn request_cells(record: &TaskRecord) -> Vec<Cell> {
    let task = &record.task;
    let input = task.input.as_str();
    let large = input.len() > MAX_INLINE_BYTES;
    vec![
        number(task.tenant.0),
        bytes(task.id.as_bytes()),
        chosen(Some(&task.task_type)),
        chosen(task.name.as_deref()),
        chosen(task.agent_id.as_deref()),
        Cell::Bytes(task.agent_digest.map(|digest| digest.as_bytes().to_vec())),
        Cell::Text((!large).then(|| input.to_owned())),
        Cell::Bytes(large.then(|| Work::digest(input.as_bytes()).to_vec())),
        match task.labels.is_empty() {
            true => Cell::Text(None),
            false => json(&task.labels),
        },
        match task.limits == TaskLimits::default() {
            true => Cell::Text(None),
            false => json(&task.limits),
        },
        Cell::Bytes(
            task.retry_of
                .as_ref()
                .map(|of: &TaskId| of.as_bytes().to_vec()),
        ),
        task.created_at.0.into(),
        task.run_at.map(|at| at.0).into(),
        task.parent.map(|parent| i64::from(parent.step)).into(),
        task.parent
            .map(|parent| i64::from(parent.depth_left))
            .into(),
    ]
}

impl Work<'_> {
    // Sends what was written, as one statement for each table.
    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        if let Some(failure) = &self.broken {
            return Err(failure.clone().into_store_error());
        }
        let Pending {
            events,
            blobs,
            refs,
            terms,
            keys,
            limits: changed,
            kept: _,
        } = std::mem::take(&mut self.pending);
        let (mut tasks, mut requests, mut moved) =
            (Bulk::default(), Bulk::default(), Bulk::default());
        for key in std::mem::take(&mut self.dirty) {
            let new = self.new.remove(&key);
            let Some(slot) = self.tasks.get_mut(&key).and_then(Option::as_mut) else {
                continue;
            };
            let life = &slot.linked.life;
            let outcome = slot.outcome.take();
            let id = [number(key.0.0), bytes(key.1.as_bytes())];
            let cells = id.into_iter().chain(life_cells(life, outcome.as_ref()));
            match (slot.stored, new) {
                (Some((epoch, seq)), _) => {
                    moved.push(cells.chain([signed(epoch).into(), signed(seq).into()]));
                }
                (None, Some(record)) => {
                    tasks.push(cells.chain(new_cells(&record)));
                    requests.push(request_cells(&record));
                }
                (None, None) => {}
            }
            slot.stored = Some((life.epoch, life.seq));
        }
        let mut counts = Bulk::default();
        for ((tenant, state), by) in std::mem::take(&mut self.counts) {
            if by != 0 {
                counts.push([number(tenant.0), state.as_str().into(), by.into()]);
            }
        }
        let mut limits = Bulk::default();
        for (key, (asked, in_force)) in changed {
            limits.push([
                number(key.0.0),
                bytes(key.1.as_bytes()),
                asked.as_ref().map_or(Cell::Text(None), json),
                in_force.as_ref().map_or(Cell::Text(None), json),
            ]);
        }
        let mut statements: Vec<(String, Vec<Param<'_>>)> = Vec::new();
        let mut guarded = None;
        let new_columns = format!("{TASK_COLUMNS}, {NEW_COLUMNS}");
        let inserts = [
            (&tasks, "tasks", new_columns.as_str(), ""),
            (&requests, "task_requests", REQUEST_COLUMNS, ""),
            (&events, "events", EVENT_COLUMNS, ""),
            // The update locks a value that is there already, so that nobody deletes it meanwhile.
            (
                &blobs,
                "blobs",
                "tenant_id, digest, chunk, bytes",
                "ON CONFLICT (tenant_id, digest, chunk) DO UPDATE SET chunk = excluded.chunk",
            ),
            (
                &refs,
                "blob_refs",
                "tenant_id, digest, task_id",
                "ON CONFLICT DO NOTHING",
            ),
            (
                &terms,
                "task_terms",
                "tenant_id, kind, key, value, folded, task_id",
                "",
            ),
            (
                &keys,
                "idempotency",
                "tenant_id, key, digest, task_id, created_at",
                "",
            ),
            (&counts, "counters", "tenant_id, state, n", ""),
        ];
        if moved.rows() > 0 {
            guarded = Some((statements.len(), moved.rows()));
            let columns = format!("{TASK_COLUMNS}, old_epoch, old_seq");
            statements.push((moved.with(&columns, &update_tasks()), moved.params()));
        }
        for (bulk, table, columns, conflict) in inserts {
            if bulk.rows() > 0 {
                statements.push((bulk.insert(table, columns, conflict), bulk.params()));
            }
        }
        if limits.rows() > 0 {
            let sql = "UPDATE task_requests SET limits = coalesce(given.limits, task_requests.limits), \
                in_force = coalesce(given.in_force, task_requests.in_force) FROM {given} \
                WHERE task_requests.tenant_id = given.tenant_id \
                AND task_requests.task_id = given.task_id";
            let columns = "tenant_id, task_id, limits, in_force";
            statements.push((limits.with(columns, sql), limits.params()));
        }
        if statements.is_empty() {
            return Ok(());
        }
        if self.shared.uncompacted.fetch_add(1, Relaxed) % COMPACTED == COMPACTED - 1 {
            // Rows that another transaction adds up just now are left to it.
            let sql = "WITH gone AS (DELETE FROM counters WHERE ctid = ANY (ARRAY( \
                SELECT ctid FROM counters FOR UPDATE SKIP LOCKED)) RETURNING *) \
                INSERT INTO counters (tenant_id, state, n) SELECT tenant_id, state, sum(n)::int8 \
                FROM gone GROUP BY tenant_id, state HAVING sum(n) <> 0";
            statements.push((sql.to_owned(), Vec::new()));
        }
        let changed = self.conn.execute_each(&statements);
        let changed = changed.map_err(|failure| self.fail(failure))?;
        if let Some((index, rows)) = guarded
            && changed.get(index) != Some(&rows)
            && !units::mutant!("ops-store.postgres_epoch_guard")
        {
            let why = "a task was written to by somebody else meanwhile";
            return Err(self.fail(Failure::again(why)));
        }
        Ok(())
    }
}

/// Updates tasks from rows of [`TASK_COLUMNS`]. A lease that is over, or a log that has grown, is another
/// row: the guard is here as well as in the rules.
fn update_tasks() -> String {
    let columns = TASK_COLUMNS.split(", ").map(str::trim);
    let set: Vec<String> = columns
        .filter(|column| !matches!(*column, "tenant_id" | "task_id"))
        .map(|column| match column {
            "result" | "result_digest" => {
                format!("{column} = coalesce(given.{column}, tasks.{column})")
            }
            // 2 stays: another task has taken the dead letter over.
            "dead_letter" => {
                "dead_letter = greatest(given.dead_letter, tasks.dead_letter)".to_owned()
            }
            column => format!("{column} = given.{column}"),
        })
        .collect();
    format!(
        "UPDATE tasks SET {} FROM {{given}} WHERE tasks.tenant_id = given.tenant_id \
         AND tasks.task_id = given.task_id AND tasks.epoch = given.old_epoch \
         AND tasks.seq = given.old_seq",
        set.join(", ")
    )
}
