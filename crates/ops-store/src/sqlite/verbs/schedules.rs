//! Schedules: what is stored of them, and seeing to their runs.

pub(crate) mod fire;

use std::sync::LazyLock;

use ops_core::{
    TenantId,
    ports::{NewSchedule, ScheduleChange, StoreError},
    schedule::{Schedule, ScheduleName},
};
use rusqlite::params;

use crate::sqlite::{
    error::Fault,
    queries::schedules,
    schema::{rows::signed, sums::SCHEDULES},
    writer::batch::Batch,
};

static INSERT: LazyLock<String> = LazyLock::new(|| {
    let columns = [
        "tenant_id",
        "name",
        "cron",
        "timezone",
        "overlap",
        "catch_up",
        "template",
        "paused",
        "revision",
        "next_at",
        "created_at",
        "updated_at",
    ];
    SCHEDULES.insert(&columns, &[])
});

static UPDATE: LazyLock<String> = LazyLock::new(|| {
    let columns = [
        "cron",
        "timezone",
        "overlap",
        "catch_up",
        "template",
        "paused",
        "revision",
        "next_at",
        "waiting",
        "updated_at",
    ];
    SCHEDULES.update(&columns, "schedule_row = ?11")
});

/// Stores a schedule. What is wanted already changes nothing; a change of anything but the dates
/// keeps the next one, so that what was missed is still made up for.
pub(crate) fn put(batch: &mut Batch<'_>, new: NewSchedule) -> Result<(Schedule, bool), Fault> {
    let NewSchedule {
        tenant,
        name,
        spec,
        paused,
        next_at,
        expected,
    } = new;
    let known = schedules::one(batch.conn, tenant, &name)?;
    let before = known.as_ref().map(|(_, schedule)| schedule);
    expected.check(before.map(|before| before.revision))?;
    let paused = paused.or(before.map(|before| before.paused)) == Some(true);
    let keeps_dates = |before: &&Schedule| {
        !before.paused && before.spec.cron == spec.cron && before.spec.timezone == spec.timezone
    };
    let next_at = match before.filter(keeps_dates) {
        _ if paused => None,
        Some(before) => before.next_at,
        None => next_at,
    };
    let after = Schedule {
        tenant,
        name,
        spec,
        paused,
        revision: before.map_or(1, |before| before.revision + 1),
        next_at,
        waiting: before.and_then(|before| before.waiting).filter(|_| !paused),
        created_at: before.map_or(batch.now, |before| before.created_at),
        updated_at: batch.now,
    };
    let Some((row, before)) = known else {
        insert(batch, &after)?;
        return Ok((after, true));
    };
    if before.spec == after.spec && before.paused == after.paused {
        return Ok((before, false));
    }
    update(batch, row, &before, &after)?;
    Ok((after, false))
}

pub(crate) fn change(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    name: &ScheduleName,
    change: ScheduleChange,
) -> Result<Schedule, Fault> {
    let (row, before) = schedules::one(batch.conn, tenant, name)?.ok_or(StoreError::NotFound)?;
    let (ScheduleChange::Pause { expected }
    | ScheduleChange::Resume { expected, .. }
    | ScheduleChange::Remove { expected }) = change;
    expected.check(Some(before.revision))?;
    let paused = match change {
        ScheduleChange::Pause { .. } => true,
        ScheduleChange::Resume { .. } => false,
        ScheduleChange::Remove { .. } => {
            for table in ["schedule_runs", "schedules"] {
                batch
                    .conn
                    .prepare_cached(&format!(
                        "DELETE FROM {table} WHERE tenant_id = ? AND schedule_row = ?"
                    ))?
                    .execute((tenant.0, row))?;
            }
            batch.changes.written = true;
            return Ok(before);
        }
    };
    if before.paused == paused {
        return Ok(before);
    }
    let after = Schedule {
        paused,
        revision: before.revision + 1,
        next_at: match change {
            ScheduleChange::Resume { next_at, .. } => next_at,
            ScheduleChange::Pause { .. } | ScheduleChange::Remove { .. } => None,
        },
        waiting: None,
        updated_at: batch.now,
        ..before.clone()
    };
    update(batch, row, &before, &after)?;
    Ok(after)
}

fn insert(batch: &mut Batch<'_>, schedule: &Schedule) -> rusqlite::Result<()> {
    let mut insert = batch.conn.prepare_cached(&INSERT)?;
    let spec = &schedule.spec;
    insert.execute(params![
        schedule.tenant.0,
        schedule.name.as_str(),
        spec.cron,
        spec.timezone,
        spec.overlap.as_str(),
        spec.catch_up.as_str(),
        spec.template.as_str(),
        schedule.paused,
        signed(schedule.revision),
        schedule.next_at.map(|at| at.0),
        schedule.created_at.0,
        schedule.updated_at.0,
    ])?;
    batch.changes.written = true;
    Ok(())
}

fn update(
    batch: &mut Batch<'_>,
    row: i64,
    before: &Schedule,
    after: &Schedule,
) -> rusqlite::Result<()> {
    if let Some(waiting) = before.waiting.filter(|_| after.waiting.is_none()) {
        fire::pass_over(batch, (after.tenant, row), waiting)?;
    }
    let mut update = batch.conn.prepare_cached(&UPDATE)?;
    let spec = &after.spec;
    update.execute(params![
        spec.cron,
        spec.timezone,
        spec.overlap.as_str(),
        spec.catch_up.as_str(),
        spec.template.as_str(),
        after.paused,
        signed(after.revision),
        after.next_at.map(|at| at.0),
        after.waiting.map(|at| at.0),
        after.updated_at.0,
        row,
    ])?;
    batch.changes.written = true;
    Ok(())
}
