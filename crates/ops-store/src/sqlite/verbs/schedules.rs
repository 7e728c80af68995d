//! Schedules: their rows, and committing their runs.

pub(crate) mod fire;

use std::sync::LazyLock;

use ops_core::{
    TenantId,
    ports::{NewSchedule, ScheduleChange, StoreError},
    rules::schedule::{self as rule, Changed, Put},
    schedule::{Schedule, ScheduleName},
};
use rusqlite::params;

use crate::sqlite::{
    error::WriteError,
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

/// Stores a schedule, and says whether it is new.
pub(crate) fn put(batch: &mut Batch<'_>, new: NewSchedule) -> Result<(Schedule, bool), WriteError> {
    let known = schedules::one(&batch.view(), new.tenant, &new.name)?;
    let before = known.as_ref().map(|(_, schedule)| schedule);
    match (rule::put(before, new, batch.now)?, &known) {
        (Put::Changed(after), Some((row, before))) => {
            update(batch, *row, before, &after)?;
            Ok((after, false))
        }
        (Put::Created(after) | Put::Changed(after), _) => {
            insert(batch, &after)?;
            Ok((after, true))
        }
        (Put::Unchanged(before), _) => Ok((before, false)),
    }
}

pub(crate) fn change(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    name: &ScheduleName,
    change: ScheduleChange,
) -> Result<Schedule, WriteError> {
    let (row, before) = schedules::one(&batch.view(), tenant, name)?.ok_or(StoreError::NotFound)?;
    match rule::change(&before, change, batch.now)? {
        Changed::Unchanged => Ok(before),
        Changed::To(after) => {
            update(batch, row, &before, &after)?;
            Ok(after)
        }
        Changed::Removed => {
            for table in ["schedule_runs", "schedules"] {
                batch
                    .conn
                    .prepare_cached(&format!(
                        "DELETE FROM {table} WHERE tenant_id = ? AND schedule_row = ?"
                    ))?
                    .execute((tenant.0, row))?;
            }
            batch.changes.written = true;
            Ok(before)
        }
    }
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
    if let Some(waiting) = rule::passed_over(before, after) {
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
