//! Schedules of a transaction, and their runs.

use ops_core::{
    TenantId,
    ports::StoreError,
    schedule::{Schedule, ScheduleName, ScheduleRun, Trigger},
    verbs::ScheduleRows,
};
use tokio_postgres::types::Type;

use super::Work;
use crate::postgres::{
    connection::Param,
    schema::rows::{self, RUN, SCHEDULE, signed},
};

type Result<T> = std::result::Result<T, StoreError>;

impl ScheduleRows for Work<'_> {
    fn schedule(&mut self, tenant: TenantId, name: &ScheduleName) -> Result<Option<Schedule>> {
        let sql = format!(
            "SELECT {SCHEDULE} FROM schedules WHERE tenant_id = $1 AND name = $2 FOR UPDATE"
        );
        let (number, bytes) = (i64::from(tenant.0), name.as_str().as_bytes());
        let params: [Param<'_>; 2] = [(&number, Type::INT8), (&bytes, Type::BYTEA)];
        let found = self.ask(&sql, &params)?;
        found.first().map(rows::schedule).transpose()
    }

    fn put_schedule(&mut self, schedule: &Schedule) -> Result<()> {
        // The row is locked if it is there; if two are the first, the second one looks again.
        let update = "UPDATE schedules SET cron = $3, timezone = $4, overlap = $5, catch_up = $6, \
            template = $7, paused = $8, revision = $9, next_at = $10, waiting = $11, \
            created_at = $12, updated_at = $13 WHERE tenant_id = $1 AND name = $2";
        let insert = format!(
            "INSERT INTO schedules ({SCHEDULE}) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
        );
        let spec = &schedule.spec;
        let (number, name) = (
            i64::from(schedule.tenant.0),
            schedule.name.as_str().as_bytes(),
        );
        let (next_at, waiting) = (
            schedule.next_at.map(|at| at.0),
            schedule.waiting.map(|at| at.0),
        );
        let revision = signed(schedule.revision);
        let params: [Param<'_>; 13] = [
            (&number, Type::INT8),
            (&name, Type::BYTEA),
            (&spec.cron.as_bytes(), Type::BYTEA),
            (&spec.timezone.as_bytes(), Type::BYTEA),
            (&spec.overlap.as_str(), Type::TEXT),
            (&spec.catch_up.as_str(), Type::TEXT),
            (&spec.template.as_str(), Type::TEXT),
            (&schedule.paused, Type::BOOL),
            (&revision, Type::INT8),
            (&next_at, Type::INT8),
            (&waiting, Type::INT8),
            (&schedule.created_at.0, Type::INT8),
            (&schedule.updated_at.0, Type::INT8),
        ];
        if self.execute(update, &params)? == 0 {
            self.execute(&insert, &params)?;
        }
        Ok(())
    }

    fn remove_schedule(&mut self, tenant: TenantId, name: &ScheduleName) -> Result<()> {
        let (number, bytes) = (i64::from(tenant.0), name.as_str().as_bytes());
        let params: [Param<'_>; 2] = [(&number, Type::INT8), (&bytes, Type::BYTEA)];
        for sql in [
            "DELETE FROM schedules WHERE tenant_id = $1 AND name = $2",
            "DELETE FROM schedule_runs WHERE tenant_id = $1 AND schedule = $2",
        ] {
            self.execute(sql, &params)?;
        }
        Ok(())
    }

    fn runs(&mut self, tenant: TenantId, name: &ScheduleName) -> Result<Vec<ScheduleRun>> {
        let runs = self.runs_of(tenant, name)?;
        Ok(runs.into_iter().map(|(_, run)| run).collect())
    }

    // Makes the stored runs those, by what differs.
    fn put_runs(
        &mut self,
        tenant: TenantId,
        name: &ScheduleName,
        runs: Vec<ScheduleRun>,
    ) -> Result<()> {
        let mut stored = self.runs_of(tenant, name)?;
        let (mut changed, mut new) = (Vec::new(), Vec::new());
        for run in runs {
            let same =
                |of: &ScheduleRun| (of.due, of.at, of.trigger) == (run.due, run.at, run.trigger);
            match stored.iter().position(|(_, of)| same(of)) {
                Some(index) => {
                    let (row, of) = stored.remove(index);
                    if of.outcome != run.outcome {
                        changed.push((row, run));
                    }
                }
                None => new.push(run),
            }
        }
        for (row, _) in stored {
            let sql = "DELETE FROM schedule_runs WHERE run_row = $1";
            self.execute(sql, &[(&row, Type::INT8)])?;
        }
        for (row, run) in changed {
            let (outcome, task, message) = rows::outcome(&run.outcome);
            let (task, message) = (
                task.as_ref().map(|task| &task.as_bytes()[..]),
                message.map(str::as_bytes),
            );
            let sql = "UPDATE schedule_runs SET outcome = $2, task_id = $3, message = $4 \
                WHERE run_row = $1";
            let params: [Param<'_>; 4] = [
                (&row, Type::INT8),
                (&outcome, Type::TEXT),
                (&task, Type::BYTEA),
                (&message, Type::BYTEA),
            ];
            self.execute(sql, &params)?;
        }
        for run in new {
            self.insert_run(tenant, name, &run)?;
        }
        Ok(())
    }
}

impl Work<'_> {
    /// The runs of a schedule with their rows, oldest first.
    fn runs_of(
        &mut self,
        tenant: TenantId,
        name: &ScheduleName,
    ) -> Result<Vec<(i64, ScheduleRun)>> {
        let sql = format!(
            "SELECT {RUN} FROM schedule_runs WHERE tenant_id = $1 AND schedule = $2 \
             ORDER BY run_row"
        );
        let (number, bytes) = (i64::from(tenant.0), name.as_str().as_bytes());
        let params: [Param<'_>; 2] = [(&number, Type::INT8), (&bytes, Type::BYTEA)];
        let found = self.ask(&sql, &params)?;
        found.iter().map(rows::run).collect()
    }

    fn insert_run(
        &mut self,
        tenant: TenantId,
        name: &ScheduleName,
        run: &ScheduleRun,
    ) -> Result<()> {
        let sql = "INSERT INTO schedule_runs (tenant_id, schedule, due, at, cause, outcome, \
            task_id, message) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let (outcome, task, message) = rows::outcome(&run.outcome);
        let (task, message) = (
            task.as_ref().map(|task| &task.as_bytes()[..]),
            message.map(str::as_bytes),
        );
        let (number, name) = (i64::from(tenant.0), name.as_str().as_bytes());
        let trigger = match run.trigger {
            Trigger::Due => "clock",
            Trigger::Manual => "manual",
        };
        let params: [Param<'_>; 8] = [
            (&number, Type::INT8),
            (&name, Type::BYTEA),
            (&run.due.0, Type::INT8),
            (&run.at.0, Type::INT8),
            (&trigger, Type::TEXT),
            (&outcome, Type::TEXT),
            (&task, Type::BYTEA),
            (&message, Type::BYTEA),
        ];
        self.execute(sql, &params)?;
        Ok(())
    }
}
