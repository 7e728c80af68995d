//! The verbs of schedules.

use ops_core::{
    TenantId,
    ports::{DueSchedules, Fut, Listed, NewSchedule, ScheduleChange, ScheduleStore, StoreError},
    schedule::{Fire, Schedule, ScheduleName, ScheduleRun},
    verbs::size,
};

use super::there;
use crate::postgres::{PostgresStore, queries::schedules};

impl ScheduleStore for PostgresStore {
    fn put_schedule(&self, new: NewSchedule) -> Fut<'_, Result<(Schedule, bool), StoreError>> {
        Box::pin(async move {
            let bytes = new.spec.template.as_str().len();
            size::size(bytes, self.shared.options.max_value_bytes)?;
            self.write(Vec::new(), move |write| write.put_schedule(new.clone()))
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
                .read(move |conn| schedules::one(conn, tenant, &name))
                .await?;
            there(found)
        })
    }

    fn schedules(
        &self,
        tenant: TenantId,
        after: Option<ScheduleName>,
        limit: u32,
    ) -> Fut<'_, Result<Listed<Schedule>, StoreError>> {
        Box::pin(self.read(move |conn| schedules::page(conn, tenant, after.as_ref(), limit)))
    }

    fn all_schedules(
        &self,
        after: Option<(TenantId, ScheduleName)>,
        limit: u32,
    ) -> Fut<'_, Result<Vec<Schedule>, StoreError>> {
        Box::pin(self.read(move |conn| schedules::all(conn, after.as_ref(), limit)))
    }

    fn change_schedule(
        &self,
        tenant: TenantId,
        name: ScheduleName,
        change: ScheduleChange,
    ) -> Fut<'_, Result<Schedule, StoreError>> {
        Box::pin(self.write(Vec::new(), move |write| {
            write.change_schedule(tenant, &name, change)
        }))
    }

    fn schedule_runs(
        &self,
        tenant: TenantId,
        name: ScheduleName,
        limit: u32,
    ) -> Fut<'_, Result<Vec<ScheduleRun>, StoreError>> {
        Box::pin(async move {
            let found = self
                .read(move |conn| schedules::runs(conn, tenant, &name, limit))
                .await?;
            there(found)
        })
    }

    fn due_schedules(&self, limit: u32) -> Fut<'_, Result<DueSchedules, StoreError>> {
        Box::pin(self.read_at(move |conn, now| schedules::due(conn, now, limit)))
    }

    fn fire_schedule(
        &self,
        tenant: TenantId,
        name: ScheduleName,
        fire: Fire,
    ) -> Fut<'_, Result<Vec<ScheduleRun>, StoreError>> {
        Box::pin(async move {
            let cap = self.shared.options.max_value_bytes;
            let mut tasks = fire.runs.iter().filter_map(|(_, task)| task.as_ref().ok());
            tasks.try_for_each(|task| size::task(task, cap))?;
            self.write(Vec::new(), move |write| {
                write.fire_schedule(tenant, &name, fire.clone())
            })
            .await
        })
    }
}
