//! Schedules as they are read.

use ops_core::{
    Micros, TenantId,
    ports::{DueSchedules, Listed},
    schedule::{Schedule, ScheduleName, ScheduleRun},
};
use tokio_postgres::types::Type;

use super::{Found, bounded, read, shown};
use crate::postgres::{
    connection::{Connection, Param},
    error::Failure,
    schema::rows::{self, RUN, SCHEDULE},
};

/// One schedule.
pub(crate) fn one(
    conn: &Connection,
    tenant: TenantId,
    name: &ScheduleName,
) -> Found<Option<Schedule>> {
    let sql = format!("SELECT {SCHEDULE} FROM schedules WHERE tenant_id = $1 AND name = $2");
    let (number, name) = (i64::from(tenant.0), name.as_str().as_bytes());
    let found = conn.query(&sql, &[(&number, Type::INT8), (&name, Type::BYTEA)])?;
    Ok(found.first().map(rows::schedule).transpose())
}

/// Schedules by name.
pub(crate) fn page(
    conn: &Connection,
    tenant: TenantId,
    after: Option<&ScheduleName>,
    limit: u32,
) -> Found<Listed<Schedule>> {
    let sql = format!(
        "SELECT {SCHEDULE} FROM schedules WHERE tenant_id = $1 AND name > $2 ORDER BY name LIMIT $3"
    );
    let after = after.map_or("", ScheduleName::as_str).as_bytes();
    let (number, limit) = (i64::from(tenant.0), i64::from(limit));
    let params: [Param<'_>; 3] = [
        (&number, Type::INT8),
        (&after, Type::BYTEA),
        (&limit, Type::INT8),
    ];
    let found = conn.query(&sql, &params)?;
    let listed = bounded(&found, &[6], |row| shown(row, 1), rows::schedule);
    Ok(Ok(listed))
}

/// Schedules of every tenant.
pub(crate) fn all(
    conn: &Connection,
    after: Option<&(TenantId, ScheduleName)>,
    limit: u32,
) -> Found<Vec<Schedule>> {
    let sql = format!(
        "SELECT {SCHEDULE} FROM schedules WHERE (tenant_id, name) > ($1, $2) \
         ORDER BY tenant_id, name LIMIT $3"
    );
    let (tenant, name) = match after {
        Some((tenant, name)) => (i64::from(tenant.0), name.as_str().as_bytes()),
        None => (i64::MIN, &b""[..]),
    };
    let limit = i64::from(limit);
    let params: [Param<'_>; 3] = [
        (&tenant, Type::INT8),
        (&name, Type::BYTEA),
        (&limit, Type::INT8),
    ];
    Ok(Ok(readable(conn, &sql, &params)?))
}

// The last runs; none if there is no such schedule.
pub(crate) fn runs(
    conn: &Connection,
    tenant: TenantId,
    name: &ScheduleName,
    limit: u32,
) -> Found<Option<Vec<ScheduleRun>>> {
    if read!(one(conn, tenant, name)?).is_none() {
        return Ok(Ok(None));
    }
    let sql = format!(
        "SELECT {RUN} FROM schedule_runs WHERE tenant_id = $1 AND schedule = $2 \
         ORDER BY run_row DESC LIMIT $3"
    );
    let (number, name, limit) = (
        i64::from(tenant.0),
        name.as_str().as_bytes(),
        i64::from(limit),
    );
    let params: [Param<'_>; 3] = [
        (&number, Type::INT8),
        (&name, Type::BYTEA),
        (&limit, Type::INT8),
    ];
    let found = conn.query(&sql, &params)?;
    let runs: Result<Vec<_>, _> = found.iter().map(rows::run).collect();
    Ok(runs.map(|runs| Some(runs.into_iter().map(|(_, run)| run).collect())))
}

// The schedules that ask for something by now.
pub(crate) fn due(conn: &Connection, now: Micros, limit: u32) -> Found<DueSchedules> {
    let sql = format!(
        "SELECT {SCHEDULE} FROM schedules WHERE next_at IS NOT NULL AND next_at <= $1 \
         ORDER BY next_at LIMIT $2"
    );
    let limit = i64::from(limit);
    let due = readable(conn, &sql, &[(&now.0, Type::INT8), (&limit, Type::INT8)])?;
    let sql = format!("SELECT {SCHEDULE} FROM schedules WHERE waiting IS NOT NULL");
    let held = readable(conn, &sql, &[])?;
    let sql = "SELECT min(next_at) FROM schedules WHERE next_at IS NOT NULL AND next_at > $1";
    let next = conn.query(sql, &[(&now.0, Type::INT8)])?;
    let mut found = DueSchedules {
        due,
        next: read!(next.first().map_or(Ok(None), |row| rows::micros(row, 0))),
        ..DueSchedules::default()
    };
    for schedule in held {
        match is_busy(conn, &schedule)? {
            true => found.waiting = true,
            false => found.released.push(schedule),
        }
    }
    Ok(Ok(found))
}

// The schedules of a query; one that cannot be read is reported and holds up nobody else.
fn readable(conn: &Connection, sql: &str, params: &[Param<'_>]) -> Result<Vec<Schedule>, Failure> {
    let mut found = Vec::new();
    for row in &conn.query(sql, params)? {
        match rows::schedule(row) {
            Ok(schedule) => found.push(schedule),
            Err(error) => {
                let schedule = shown(row, 1);
                tracing::error!(schedule, %error, "a schedule cannot be read and is passed over");
            }
        }
    }
    Ok(found)
}

/// Whether a task of the schedule has not ended.
fn is_busy(conn: &Connection, schedule: &Schedule) -> Result<bool, Failure> {
    let sql = "SELECT 1 FROM schedule_runs AS run JOIN tasks USING (tenant_id, task_id) \
        WHERE run.tenant_id = $1 AND run.schedule = $2 AND run.outcome = 'started' \
        AND tasks.completed_at IS NULL LIMIT 1";
    let (number, name) = (
        i64::from(schedule.tenant.0),
        schedule.name.as_str().as_bytes(),
    );
    let found = conn.query(sql, &[(&number, Type::INT8), (&name, Type::BYTEA)])?;
    Ok(!found.is_empty())
}
