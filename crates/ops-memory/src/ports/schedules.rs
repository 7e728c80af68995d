//! The verbs of schedules.

use ops_core::{
    TenantId,
    ports::{
        DueSchedules, Fut, LIST_BYTES, Listed, NewSchedule, ScheduleChange, ScheduleStore,
        StoreError,
    },
    rules::schedule as rule,
    schedule::{Fire, Schedule, ScheduleName, ScheduleRun},
    verbs::size,
};

use crate::{
    data::{Data, Scheduled},
    store::{MemoryStore, ready},
};

type Named = (TenantId, ScheduleName);

impl ScheduleStore for MemoryStore {
    fn put_schedule(&self, new: NewSchedule) -> Fut<'_, Result<(Schedule, bool), StoreError>> {
        let fits = size::size(new.spec.template.as_str().len(), self.cap);
        ready(fits.and_then(|()| self.write(|write| write.put_schedule(new))))
    }

    fn schedule(
        &self,
        tenant: TenantId,
        name: ScheduleName,
    ) -> Fut<'_, Result<Schedule, StoreError>> {
        let key = (tenant, name);
        ready(self.read(|data| Ok(one(data, &key)?.schedule.clone())))
    }

    fn schedules(
        &self,
        tenant: TenantId,
        after: Option<ScheduleName>,
        limit: u32,
    ) -> Fut<'_, Result<Listed<Schedule>, StoreError>> {
        ready(Ok(self.read(|data| {
            let of_tenant = data.schedules.iter().filter(|((owner, name), _)| {
                *owner == tenant && after.as_ref().is_none_or(|after| name > after)
            });
            let (mut found, mut bytes) = (Vec::new(), 0);
            for (_, of) in of_tenant.take(limit as usize) {
                bytes += of.schedule.spec.template.as_str().len();
                if bytes > LIST_BYTES && !found.is_empty() {
                    break;
                }
                found.push(of.schedule.clone());
            }
            found.into()
        })))
    }

    fn all_schedules(
        &self,
        after: Option<(TenantId, ScheduleName)>,
        limit: u32,
    ) -> Fut<'_, Result<Vec<Schedule>, StoreError>> {
        ready(Ok(self.read(|data| {
            let later = data.schedules.iter();
            let later = later.filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
            let schedules = later.map(|(_, of)| of.schedule.clone());
            schedules.take(limit as usize).collect()
        })))
    }

    fn change_schedule(
        &self,
        tenant: TenantId,
        name: ScheduleName,
        change: ScheduleChange,
    ) -> Fut<'_, Result<Schedule, StoreError>> {
        ready(self.write(|write| write.change_schedule(tenant, &name, change)))
    }

    fn schedule_runs(
        &self,
        tenant: TenantId,
        name: ScheduleName,
        limit: u32,
    ) -> Fut<'_, Result<Vec<ScheduleRun>, StoreError>> {
        let key = (tenant, name);
        ready(self.read(|data| {
            let newest_first = one(data, &key)?.runs.iter().rev();
            Ok(newest_first.take(limit as usize).cloned().collect())
        }))
    }

    fn due_schedules(&self, limit: u32) -> Fut<'_, Result<DueSchedules, StoreError>> {
        let now = self.clock.now();
        ready(Ok(self.read(|data| {
            let all = || data.schedules.values().map(|of| &of.schedule);
            let mut due: Vec<Schedule> = all()
                .filter(|schedule| rule::is_due(schedule, now))
                .cloned()
                .collect();
            due.sort_by_key(|schedule| schedule.next_at);
            due.truncate(limit as usize);
            let later = all().filter(|schedule| !rule::is_due(schedule, now));
            let mut found = DueSchedules {
                due,
                next: later.filter_map(|schedule| schedule.next_at).min(),
                ..DueSchedules::default()
            };
            let with_run = data.schedules.values();
            for held in with_run.filter(|of| of.schedule.waiting.is_some()) {
                match data.is_busy(held) {
                    true => found.waiting = true,
                    false => found.released.push(held.schedule.clone()),
                }
            }
            found
        })))
    }

    fn fire_schedule(
        &self,
        tenant: TenantId,
        name: ScheduleName,
        fire: Fire,
    ) -> Fut<'_, Result<Vec<ScheduleRun>, StoreError>> {
        let mut tasks = fire.runs.iter().filter_map(|(_, task)| task.as_ref().ok());
        let fits = tasks.try_for_each(|task| size::task(task, self.cap));
        ready(fits.and_then(|()| self.write(|write| write.fire_schedule(tenant, &name, fire))))
    }
}

fn one<'d>(data: &'d Data, key: &Named) -> Result<&'d Scheduled, StoreError> {
    data.schedules.get(key).ok_or(StoreError::NotFound)
}
