//! The verbs of schedules.

use ops_core::{
    TenantId,
    ports::{DueSchedules, Fut, Listed, NewSchedule, ScheduleChange, ScheduleStore, StoreError},
    schedule::{Fire, Schedule, ScheduleName, ScheduleRun},
};

use crate::sqlite::{
    queries::schedules,
    store::SqliteStore,
    values::{blob::check_size, pack},
    verbs,
};

impl ScheduleStore for SqliteStore {
    fn put_schedule(&self, new: NewSchedule) -> Fut<'_, Result<(Schedule, bool), StoreError>> {
        Box::pin(async move {
            check_size(new.spec.template.as_str().len(), self.max_value_bytes)?;
            self.write(move |batch| verbs::schedules::put(batch, new))
                .await
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
                .read(move |conn| schedules::one(conn, tenant, &name))
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
    ) -> Fut<'_, Result<Listed<Schedule>, StoreError>> {
        Box::pin(
            self.readers
                .read(move |conn| schedules::page(conn, tenant, after.as_ref(), limit)),
        )
    }

    fn all_schedules(
        &self,
        after: Option<(TenantId, ScheduleName)>,
        limit: u32,
    ) -> Fut<'_, Result<Vec<Schedule>, StoreError>> {
        Box::pin(
            self.readers
                .read(move |conn| schedules::all(conn, after.as_ref(), limit)),
        )
    }

    fn change_schedule(
        &self,
        tenant: TenantId,
        name: ScheduleName,
        change: ScheduleChange,
    ) -> Fut<'_, Result<Schedule, StoreError>> {
        Box::pin(self.write(move |batch| verbs::schedules::change(batch, tenant, &name, change)))
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
                .read(move |conn| schedules::runs(conn, tenant, &name, limit))
                .await?;
            found.ok_or(StoreError::NotFound)
        })
    }

    fn due_schedules(&self, limit: u32) -> Fut<'_, Result<DueSchedules, StoreError>> {
        let now = self.clock.now();
        Box::pin(
            self.readers
                .read(move |conn| schedules::due(conn, now, limit)),
        )
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
                    Ok(new) => {
                        let values = pack::task(&new, self.max_value_bytes).await?;
                        Ok((new, values))
                    }
                    Err(message) => Err(message),
                };
                prepared.push((due, task));
            }
            let fire = verbs::schedules::fire::Prepared {
                revision,
                occasion,
                runs: prepared,
            };
            self.write(move |batch| verbs::schedules::fire::fire(batch, tenant, &name, fire))
                .await
        })
    }
}
