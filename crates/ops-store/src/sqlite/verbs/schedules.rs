//! Schedules: what is stored of them, and seeing to their runs.

mod fire;
mod read;

use ops_core::{
    TenantId,
    ports::{DueSchedules, Fut, NewSchedule, ScheduleChange, ScheduleStore, StoreError},
    schedule::{Fire, Schedule, ScheduleName, ScheduleRun},
};
use rusqlite::params;

use crate::sqlite::{
    error::Fault,
    schema::rows::signed,
    store::SqliteStore,
    values::{blob::check_size, prepare},
    writer::batch::Batch,
};

impl ScheduleStore for SqliteStore {
    fn put_schedule(&self, new: NewSchedule) -> Fut<'_, Result<(Schedule, bool), StoreError>> {
        Box::pin(async move {
            check_size(new.spec.template.as_str().len(), self.max_value_bytes)?;
            self.write(move |batch| put(batch, new)).await
        })
    }

    fn schedule(
        &self,
        tenant: TenantId,
        name: ScheduleName,
    ) -> Fut<'_, Result<Schedule, StoreError>> {
        Box::pin(async move {
            let found = self
                .readers
                .read(move |conn| read::one(conn, tenant, &name))
                .await?;
            found
                .map(|(_, schedule)| schedule)
                .ok_or(StoreError::NotFound)
        })
    }

    fn schedules(
        &self,
        tenant: TenantId,
        after: Option<ScheduleName>,
        limit: u32,
    ) -> Fut<'_, Result<Vec<Schedule>, StoreError>> {
        Box::pin(
            self.readers
                .read(move |conn| read::page(conn, tenant, after.as_ref(), limit)),
        )
    }

    fn all_schedules(
        &self,
        after: Option<(TenantId, ScheduleName)>,
        limit: u32,
    ) -> Fut<'_, Result<Vec<Schedule>, StoreError>> {
        Box::pin(
            self.readers
                .read(move |conn| read::all(conn, after.as_ref(), limit)),
        )
    }

    fn change_schedule(
        &self,
        tenant: TenantId,
        name: ScheduleName,
        change: ScheduleChange,
    ) -> Fut<'_, Result<Schedule, StoreError>> {
        Box::pin(self.write(move |batch| self::change(batch, tenant, &name, change)))
    }

    fn schedule_runs(
        &self,
        tenant: TenantId,
        name: ScheduleName,
        limit: u32,
    ) -> Fut<'_, Result<Vec<ScheduleRun>, StoreError>> {
        Box::pin(async move {
            let found = self
                .readers
                .read(move |conn| read::runs(conn, tenant, &name, limit))
                .await?;
            found.ok_or(StoreError::NotFound)
        })
    }

    fn due_schedules(&self, limit: u32) -> Fut<'_, Result<DueSchedules, StoreError>> {
        let now = self.clock.now();
        Box::pin(self.readers.read(move |conn| read::due(conn, now, limit)))
    }

    fn fire_schedule(
        &self,
        tenant: TenantId,
        name: ScheduleName,
        fire: Fire,
    ) -> Fut<'_, Result<Vec<ScheduleRun>, StoreError>> {
        Box::pin(async move {
            let Fire {
                revision,
                occasion,
                runs,
            } = fire;
            let mut prepared = Vec::with_capacity(runs.len());
            for (due, task) in runs {
                let task = match task {
                    Ok(new) => Ok(prepare::task(new, self.max_value_bytes).await?),
                    Err(message) => Err(message),
                };
                prepared.push((due, task));
            }
            let fire = fire::Prepared {
                revision,
                occasion,
                runs: prepared,
            };
            self.write(move |batch| fire::fire(batch, tenant, &name, fire))
                .await
        })
    }
}

/// Stores a schedule. What is wanted already changes nothing; a change of anything but the dates
/// keeps the next one, so that what was missed is still made up for.
fn put(batch: &mut Batch<'_>, new: NewSchedule) -> Result<(Schedule, bool), Fault> {
    let NewSchedule {
        tenant,
        name,
        spec,
        paused,
        next_at,
        expected,
    } = new;
    let known = read::one(batch.conn, tenant, &name)?;
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

fn change(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    name: &ScheduleName,
    change: ScheduleChange,
) -> Result<Schedule, Fault> {
    let (row, before) = read::one(batch.conn, tenant, name)?.ok_or(StoreError::NotFound)?;
    let paused = match change {
        ScheduleChange::Pause => true,
        ScheduleChange::Resume { .. } => false,
        ScheduleChange::Remove { expected } => {
            expected.check(Some(before.revision))?;
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
            ScheduleChange::Resume { next_at } => next_at,
            ScheduleChange::Pause | ScheduleChange::Remove { .. } => None,
        },
        waiting: None,
        updated_at: batch.now,
        ..before.clone()
    };
    update(batch, row, &before, &after)?;
    Ok(after)
}

fn insert(batch: &mut Batch<'_>, schedule: &Schedule) -> rusqlite::Result<()> {
    let mut insert = batch.conn.prepare_cached(
        "INSERT INTO schedules (tenant_id, name, cron, timezone, overlap, catch_up, template, \
         paused, revision, next_at, waiting, created_at, updated_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?, ?)",
    )?;
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
    let mut update = batch.conn.prepare_cached(
        "UPDATE schedules SET cron = ?, timezone = ?, overlap = ?, catch_up = ?, template = ?, \
         paused = ?, revision = ?, next_at = ?, waiting = ?, updated_at = ? \
         WHERE schedule_row = ?",
    )?;
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
