//! Reading schedules and their runs.

use ops_core::{
    Json, Micros, TaskId, TenantId,
    ports::{DueSchedules, Listed},
    schedule::{
        CatchUp, Overlap, RunOutcome, Schedule, ScheduleName, ScheduleRun, ScheduleSpec, Trigger,
    },
};
use rusqlite::{OptionalExtension as _, Params, Row};

use crate::sqlite::{
    error::WriteError,
    queries::view::View,
    schema::{
        rows::{bounded, document, intact, micros, named, shown, unsigned},
        sums::intact,
    },
};

/// What [`schedule`] reads, in its order.
macro_rules! columns {
    () => {
        concat!(
            "schedule_row, tenant_id, name, cron, timezone, overlap, catch_up, template, paused, \
             revision, next_at, waiting, created_at, updated_at, ",
            intact!(schedules)
        )
    };
}

/// The place of the one that may be large.
const TEMPLATE: usize = 7;

/// A schedule with its row.
pub(crate) type Found = (i64, Schedule);

fn schedule(row: &Row<'_>) -> rusqlite::Result<Found> {
    intact(row, 14)?;
    let schedule = Schedule {
        tenant: TenantId(row.get(1)?),
        name: named(row, 2, |name| name.parse().ok())?,
        spec: ScheduleSpec {
            cron: row.get(3)?,
            timezone: row.get(4)?,
            overlap: named(row, 5, Overlap::from_name)?,
            catch_up: named(row, 6, CatchUp::from_name)?,
            template: document(row, TEMPLATE)?.unwrap_or_else(Json::null),
        },
        paused: row.get(8)?,
        revision: unsigned(row, 9)?,
        next_at: micros(row, 10)?,
        waiting: micros(row, 11)?,
        created_at: Micros(row.get(12)?),
        updated_at: Micros(row.get(13)?),
    };
    Ok((row.get(0)?, schedule))
}

/// One schedule.
pub(crate) fn one(
    conn: &View<'_>,
    tenant: TenantId,
    name: &ScheduleName,
) -> rusqlite::Result<Option<Found>> {
    conn.prepare_cached(concat!(
        "SELECT ",
        columns!(),
        " FROM schedules WHERE tenant_id = ? AND name = ?"
    ))?
    .query_row((tenant.0, name.as_str()), schedule)
    .optional()
}

/// Schedules by name.
pub(crate) fn page(
    conn: &View<'_>,
    tenant: TenantId,
    after: Option<&ScheduleName>,
    limit: u32,
) -> rusqlite::Result<Listed<Schedule>> {
    let mut select = conn.prepare_cached(concat!(
        "SELECT ",
        columns!(),
        " FROM schedules WHERE tenant_id = ? AND name > ? ORDER BY name"
    ))?;
    let after = after.map_or("", ScheduleName::as_str);
    let rows = select.query((tenant.0, after))?;
    let name = |row: &Row<'_>| shown(row, 2);
    bounded(rows, limit, &[TEMPLATE], name, |row| Ok(schedule(row)?.1))
}

/// Schedules of every tenant.
pub(crate) fn all(
    conn: &View<'_>,
    after: Option<&(TenantId, ScheduleName)>,
    limit: u32,
) -> rusqlite::Result<Vec<Schedule>> {
    let (tenant, name) = match after {
        Some((tenant, name)) => (i64::from(tenant.0), name.as_str()),
        None => (i64::MIN, ""),
    };
    let found = readable(
        conn,
        concat!(
            "SELECT ",
            columns!(),
            " FROM schedules WHERE (tenant_id, name) > (?, ?) ORDER BY tenant_id, name LIMIT ?"
        ),
        (tenant, name, limit),
    )?;
    Ok(found.into_iter().map(|(_, schedule)| schedule).collect())
}

/// The last runs; none if there is no such schedule.
pub(crate) fn runs(
    conn: &View<'_>,
    tenant: TenantId,
    name: &ScheduleName,
    limit: u32,
) -> rusqlite::Result<Option<Vec<ScheduleRun>>> {
    let Some((row, _)) = one(conn, tenant, name)? else {
        return Ok(None);
    };
    let mut select = conn.prepare_cached(concat!(
        "SELECT due, at, cause, outcome, task_id, message, ",
        intact!(schedule_runs),
        " FROM schedule_runs \
         WHERE tenant_id = ? AND schedule_row = ? ORDER BY run_row DESC LIMIT ?"
    ))?;
    let runs = select.query_map((tenant.0, row, limit), run)?;
    runs.collect::<rusqlite::Result<_>>().map(Some)
}

/// A run from `due, at, cause, outcome, task_id, message`, and whether its row is intact.
pub(crate) fn run(row: &Row<'_>) -> rusqlite::Result<ScheduleRun> {
    intact(row, 6)?;
    let task: Option<[u8; 16]> = row.get(4)?;
    let message: Option<String> = row.get(5)?;
    Ok(ScheduleRun {
        due: Micros(row.get(0)?),
        at: Micros(row.get(1)?),
        trigger: named(row, 2, |name| match name {
            "clock" => Some(Trigger::Due),
            "manual" => Some(Trigger::Manual),
            _ => None,
        })?,
        outcome: named(row, 3, |name| match name {
            "started" => task.map(|id| RunOutcome::Started(TaskId::from_bytes(id))),
            "waiting" => Some(RunOutcome::Waiting),
            "skipped" => Some(RunOutcome::Skipped),
            "missed" => Some(RunOutcome::Missed),
            "refused" => Some(RunOutcome::Refused(message.unwrap_or_default())),
            _ => None,
        })?,
    })
}

/// The schedules that ask for something by now.
pub(crate) fn due(conn: &View<'_>, now: Micros, limit: u32) -> rusqlite::Result<DueSchedules> {
    let due = readable(
        conn,
        concat!(
            "SELECT ",
            columns!(),
            " FROM schedules WHERE next_at IS NOT NULL AND next_at <= ? ORDER BY next_at LIMIT ?"
        ),
        (now.0, limit),
    )?;
    let held = readable(
        conn,
        concat!(
            "SELECT ",
            columns!(),
            " FROM schedules WHERE waiting IS NOT NULL"
        ),
        (),
    )?;
    let mut found = DueSchedules {
        due: due.into_iter().map(|(_, schedule)| schedule).collect(),
        next: conn
            .prepare_cached(
                "SELECT min(next_at) FROM schedules WHERE next_at IS NOT NULL AND next_at > ?",
            )?
            .query_row([now.0], |row| micros(row, 0))?,
        ..DueSchedules::default()
    };
    for (row, schedule) in held {
        if is_busy(conn, schedule.tenant, row)? {
            found.waiting = true;
        } else {
            found.released.push(schedule);
        }
    }
    Ok(found)
}

/// The schedules of a query; one that cannot be read is reported and holds up nobody else.
fn readable(conn: &View<'_>, select: &str, params: impl Params) -> rusqlite::Result<Vec<Found>> {
    let mut select = conn.prepare_cached(select)?;
    let mut rows = select.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        match schedule(row).map_err(WriteError::from) {
            Ok(schedule) => found.push(schedule),
            Err(WriteError::Refused(error)) => {
                let name: String = row.get(2).unwrap_or_default();
                tracing::error!(schedule = name, %error, "a schedule cannot be read and is passed over");
            }
            Err(WriteError::Broken(error)) => return Err(error),
        }
    }
    Ok(found)
}

/// The tasks of a schedule's runs that have neither ended nor are being cancelled, the oldest first.
pub(crate) fn going_on(
    conn: &View<'_>,
    tenant: TenantId,
    row: i64,
) -> rusqlite::Result<Vec<TaskId>> {
    let mut select = conn.prepare_cached(
        "SELECT run.task_id FROM schedule_runs AS run JOIN tasks USING (tenant_id, task_id) \
         WHERE run.tenant_id = ? AND schedule_row = ? AND outcome = 'started' \
         AND state NOT IN ('completed', 'failed', 'cancelled') AND state <> 'cancelling' \
         ORDER BY run_row LIMIT 1000",
    )?;
    let rows = select.query_map((tenant.0, row), |row| Ok(TaskId::from_bytes(row.get(0)?)))?;
    rows.collect()
}

/// Whether a task of the schedule has not ended.
pub(crate) fn is_busy(conn: &View<'_>, tenant: TenantId, row: i64) -> rusqlite::Result<bool> {
    let sql = match units::mutant!("ops-store.a_run_that_waits_has_ended") {
        false => {
            "SELECT EXISTS (SELECT 1 FROM schedule_runs AS run JOIN tasks USING (tenant_id, task_id) \
             WHERE run.tenant_id = ? AND schedule_row = ? AND outcome = 'started' \
             AND state NOT IN ('completed', 'failed', 'cancelled'))"
        }
        true => {
            "SELECT EXISTS (SELECT 1 FROM schedule_runs AS run JOIN tasks USING (tenant_id, task_id) \
             WHERE run.tenant_id = ? AND schedule_row = ? AND outcome = 'started' \
             AND state IN ('pending', 'running'))"
        }
    };
    conn.prepare_cached(sql)?
        .query_row((tenant.0, row), |row| row.get(0))
}
