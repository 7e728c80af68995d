//! Commands: load a task, decide, write the transition and its effects.

use std::sync::LazyLock;

use ops_core::{
    Json, Lifecycle, RunAction, RunCommand, TaskAction, TaskCommand, TaskId, TenantId,
    ports::StoreError,
    rules::{
        Cause, decide,
        deduplicate::{self, Body, Recorded},
        lease::replaces,
        limits, provider,
    },
    task::TaskLimits,
};
use rusqlite::OptionalExtension as _;
use sha2::{Digest as _, Sha256};

use crate::sqlite::{
    error::WriteError,
    queries,
    schema::{
        rows::{self, event_columns, signed, unsigned},
        sums::{SNAPSHOTS, TASK_REQUESTS, intact},
    },
    values::{
        blob::Digest,
        pack::{PackedSnapshot, Values},
    },
    verbs::{budgets, follow::carry_out},
    writer::batch::{Batch, Loaded},
};

static LIMITS: LazyLock<String> =
    LazyLock::new(|| TASK_REQUESTS.update(&["limits", "in_force"], "task_row = ?3"));

/// A damaged row stays as it is.
static IN_FORCE: LazyLock<String> = LazyLock::new(|| {
    let condition = format!("task_row = ?2 AND {}", TASK_REQUESTS.intact);
    TASK_REQUESTS.update(&["in_force"], &condition)
});

/// The version and the number of the stored snapshot, unless the snapshot is damaged.
static STORED_SNAPSHOT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT version, seq FROM snapshots WHERE tenant_id = ? AND task_id = ? AND {}",
        SNAPSHOTS.intact
    )
});

/// Replaces a stored snapshot.
static SNAPSHOT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{} ON CONFLICT DO UPDATE SET seq = excluded.seq, version = excluded.version, \
         size = excluded.size, codec = excluded.codec, body = excluded.body, sum = excluded.sum",
        SNAPSHOTS.insert(
            &[
                "tenant_id",
                "task_id",
                "seq",
                "version",
                "size",
                "codec",
                "body"
            ],
            &[]
        ),
    )
});

/// Applies a caller's command to a task.
pub(crate) fn apply(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    task: TaskId,
    command: TaskCommand,
    values: &Values,
) -> Result<Lifecycle, WriteError> {
    let before = batch.load(tenant, task)?.ok_or(StoreError::NotFound)?;
    let given = match &command.action {
        TaskAction::Limit(given) => Some(*given),
        TaskAction::Cancel
        | TaskAction::Pause
        | TaskAction::Resume
        | TaskAction::Signal { .. }
        | TaskAction::Resolve { .. } => None,
    };
    let transition =
        decide(&before.life, Cause::Task(command), batch.now).map_err(StoreError::from)?;
    let after = carry_out(batch, &before, transition, values)?;
    if let Some(given) = given {
        lay_over(batch, before.row, given)?;
    }
    Ok(after)
}

/// Lays limits over the limits of the submit, since a repetition of the task begins with them, and over the
/// limits of the present run.
fn lay_over(batch: &Batch<'_>, row: i64, given: TaskLimits) -> Result<(), WriteError> {
    let (asked, in_force): (Option<String>, Option<String>) = batch
        .conn
        .prepare_cached(concat!(
            "SELECT limits, in_force, ",
            intact!(task_requests),
            " FROM task_requests WHERE task_row = ?"
        ))?
        .query_row([row], |row| {
            rows::intact(row, 2)?;
            Ok((row.get(0)?, row.get(1)?))
        })?;
    // What cannot be read is laid over as a whole.
    let over = |text: Option<&str>| {
        let below: Option<TaskLimits> = text.and_then(|text| serde_json::from_str(text).ok());
        Json::from_value(&limits::lay_over(given, below.unwrap_or_default())).ok()
    };
    let in_force = in_force.and_then(|text| over(Some(&text)));
    if let Some(asked) = over(asked.as_deref()) {
        let in_force = in_force.as_ref().map(Json::as_str);
        batch
            .conn
            .prepare_cached(&LIMITS)?
            .execute((asked.as_str(), in_force, row))?;
    }
    Ok(())
}

/// Keeps the limits that hold for a run.
fn keep_limits(batch: &Batch<'_>, row: i64, in_force: &TaskLimits) -> Result<(), WriteError> {
    if let Ok(in_force) = Json::from_value(in_force) {
        batch
            .conn
            .prepare_cached(&IN_FORCE)?
            .execute((in_force.as_str(), row))?;
    }
    Ok(())
}

/// Applies a lease holder's command to its task.
pub(crate) fn record(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    task: TaskId,
    command: RunCommand,
    values: &Values,
) -> Result<Lifecycle, WriteError> {
    let before = batch.load(tenant, task)?.ok_or(StoreError::NotFound)?;
    if is_duplicate(batch, &before, &command, values)? {
        return Ok(before.life);
    }
    let (in_force, budget, provider) = match &command.action {
        RunAction::Append(append) => (
            append.limits.clone(),
            append.budget.clone(),
            append.provider.clone(),
        ),
        RunAction::Release => (None, Vec::new(), Vec::new()),
    };
    let again = (!provider.is_empty()).then(|| command.clone());
    let decided = decide(&before.life, Cause::Run(command), batch.now);
    let mut transition = decided.map_err(|rejection| {
        batch.changes.work.stale_writes += u64::from(rejection.is_stale());
        StoreError::from(rejection)
    })?;
    // A provider that takes no call refuses the append before anything is written.
    let providers = provider::changes(&provider, batch.now, |key| {
        Ok::<_, WriteError>(queries::budgets::provider(&batch.view(), key)?)
    })?;
    if let (Some(turn), Some(mut command)) = (providers.turn, again) {
        provider::wait_until(&mut command, turn);
        transition =
            decide(&before.life, Cause::Run(command), batch.now).map_err(StoreError::from)?;
        batch.changes.work.provider_waits += 1;
    }
    let at = transition.after.updated_at;
    // A window without room refuses the append before anything is written.
    let changes = budgets::changes(batch, tenant, &budget, at)?;
    let after = carry_out(batch, &before, transition, values)?;
    for (key, state) in &providers.states {
        budgets::put_provider(batch, *key, state)?;
    }
    budgets::put(batch, tenant, changes, &after)?;
    if let Some(in_force) = in_force {
        keep_limits(batch, before.row, &in_force)?;
    }
    Ok(after)
}

/// Whether an append was committed before: see [`ops_core::rules::deduplicate`].
fn is_duplicate(
    batch: &Batch<'_>,
    task: &Loaded,
    command: &RunCommand,
    values: &Values,
) -> Result<bool, WriteError> {
    let RunAction::Append(append) = &command.action else {
        return Ok(false);
    };
    let Some(range) = deduplicate::candidates(&task.life, append) else {
        return Ok(false);
    };
    let mut select = batch.conn.prepare_cached(concat!(
        "SELECT ",
        event_columns!(),
        ", epoch FROM events WHERE tenant_id = ? AND task_row = ? AND seq BETWEEN ? AND ? \
         ORDER BY seq"
    ))?;
    let ends = (signed(*range.start()), signed(*range.end()));
    let mut found = Vec::new();
    let mut rows = select.query((task.tenant.0, task.row, ends.0, ends.1))?;
    while let Some(row) = rows.next()? {
        found.push((rows::event(row)?, unsigned(row, rows::EVENT_COLUMNS)?));
    }
    let stored: Vec<_> = found
        .iter()
        .map(|((event, digest), epoch)| Recorded {
            epoch: *epoch,
            kind: &event.event.kind,
            step: event.event.step,
            body: digest.map_or(Body::Inline(&event.event.body), Body::Stored),
        })
        .collect();
    let result = batch
        .conn
        .prepare_cached("SELECT result, result_digest FROM tasks WHERE task_row = ?")?
        .query_row([task.row], |row| {
            Ok((
                row.get::<_, Option<String>>(0)?,
                row.get::<_, Option<Digest>>(1)?,
            ))
        })
        .optional()?;
    let result = match &result {
        Some((_, Some(digest))) => Some(Body::Stored(*digest)),
        Some((Some(text), None)) => Some(Body::Inline(text.as_bytes())),
        Some((None, None)) | None => None,
    };
    let digest = |content: &[u8]| {
        let packed = values.find(content);
        packed.unwrap_or_else(|| Sha256::digest(content).into())
    };
    Ok(deduplicate::is_duplicate(
        (command.epoch, append),
        &stored,
        result,
        digest,
    ))
}

/// Replaces a stored snapshot, for the holder of the lease of this epoch.
pub(crate) fn put_snapshot(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    task: TaskId,
    epoch: u64,
    snapshot: &PackedSnapshot,
) -> Result<(), WriteError> {
    let before = batch.load(tenant, task)?.ok_or(StoreError::NotFound)?;
    before.life.check_epoch(epoch).map_err(|rejection| {
        batch.changes.work.stale_writes += 1;
        StoreError::from(rejection)
    })?;
    let old = batch
        .conn
        .prepare_cached(&STORED_SNAPSHOT)?
        .query_row((tenant.0, task.as_bytes()), |row| {
            Ok((row.get(0)?, unsigned(row, 1)?))
        })
        .optional()?;
    if old.is_some_and(|old| !replaces((snapshot.version, snapshot.seq), old)) {
        return Ok(());
    }
    let mut upsert = batch.conn.prepare_cached(&SNAPSHOT)?;
    upsert.execute((
        tenant.0,
        task.as_bytes(),
        signed(snapshot.seq),
        snapshot.version,
        snapshot.body.size,
        snapshot.body.codec(),
        snapshot.body.bytes.as_slice(),
    ))?;
    batch.changes.written = true;
    Ok(())
}
