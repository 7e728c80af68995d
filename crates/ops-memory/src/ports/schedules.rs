//! The verbs of schedules.

use std::collections::BTreeSet;

use ops_core::{
    Micros, TenantId,
    ports::{
        DueSchedules, Fut, LIST_BYTES, Listed, NewSchedule, ScheduleChange, ScheduleStore,
        StoreError,
    },
    rules::schedule::{self as rule, Act, Changed, Found, Put},
    schedule::{Fire, RunOutcome, Schedule, ScheduleName, ScheduleRun, Trigger},
};

use crate::{
    check,
    data::{Data, Scheduled},
    store::{MemoryStore, ready},
    write::Write,
};

type Named = (TenantId, ScheduleName);

impl ScheduleStore for MemoryStore {
    fn put_schedule(&self, new: NewSchedule) -> Fut<'_, Result<(Schedule, bool), StoreError>> {
        let size = check::size(new.spec.template.as_str().len(), self.cap);
        ready(size.and_then(|()| self.write(|write| put(write, new))))
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
        let key = (tenant, name);
        ready(self.write(|write| {
            let before = one(write.data, &key)?.schedule.clone();
            match rule::change(&before, change, write.now)? {
                Changed::Unchanged => Ok(before),
                Changed::To(after) => {
                    replace(write, &key, &before, after.clone());
                    Ok(after)
                }
                Changed::Removed => {
                    write.data.schedules.remove(&key);
                    Ok(before)
                }
            }
        }))
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
        let size = tasks.try_for_each(|task| check::task(task, self.cap));
        let key = (tenant, name);
        ready(size.and_then(|()| self.write(|write| carry_out(write, &key, fire))))
    }
}

fn one<'d>(data: &'d Data, key: &Named) -> Result<&'d Scheduled, StoreError> {
    data.schedules.get(key).ok_or(StoreError::NotFound)
}

fn put(write: &mut Write<'_>, new: NewSchedule) -> Result<(Schedule, bool), StoreError> {
    let key = (new.tenant, new.name.clone());
    let before = write.data.schedules.get(&key);
    let before = before.map(|of| of.schedule.clone());
    match (rule::put(before.as_ref(), new, write.now)?, before) {
        (Put::Changed(after), Some(before)) => {
            replace(write, &key, &before, after.clone());
            Ok((after, false))
        }
        (Put::Created(schedule) | Put::Changed(schedule), _) => {
            let stored = Scheduled {
                schedule: schedule.clone(),
                runs: Vec::new(),
            };
            write.data.schedules.insert(key, stored);
            Ok((schedule, true))
        }
        (Put::Unchanged(schedule), _) => Ok((schedule, false)),
    }
}

fn replace(write: &mut Write<'_>, key: &Named, before: &Schedule, after: Schedule) {
    let passed_over = rule::passed_over(before, &after);
    if let Some(of) = write.data.schedules.get_mut(key) {
        of.schedule = after;
        if let Some(due) = passed_over {
            pass_over(&mut of.runs, due);
        }
    }
}

fn carry_out(
    write: &mut Write<'_>,
    key: &Named,
    fire: Fire,
) -> Result<Vec<ScheduleRun>, StoreError> {
    let of = one(write.data, key)?;
    let dates: Vec<(Micros, Option<&str>)> = fire
        .runs
        .iter()
        .map(|(due, task)| (*due, task.as_ref().err().map(String::as_str)))
        .collect();
    let by_clock = of.runs.iter().filter(|run| run.trigger == Trigger::Clock);
    let known: BTreeSet<Micros> = by_clock.map(|run| run.due).collect();
    let asked = rule::dates(fire.occasion, &dates);
    let found = Found {
        schedule: &of.schedule,
        busy: write.data.is_busy(of),
        noted: asked.intersection(&known).copied().collect(),
    };
    let occasion = (fire.revision, fire.occasion);
    let Some(fired) = rule::fire(found, occasion, &dates, write.now) else {
        return Ok(Vec::new());
    };
    let mut tasks: Vec<_> = fire.runs.into_iter().map(|(_, task)| task.ok()).collect();
    let mut ran = Vec::new();
    for act in fired.acts {
        let run = match act {
            Act::Note(run) => run,
            Act::Start { run, due } => {
                let Some(task) = tasks.get_mut(run).and_then(Option::take) else {
                    continue;
                };
                let id = task.task.id;
                let submitted = write.submit(task).map(|_| id);
                ScheduleRun {
                    due,
                    at: write.now,
                    trigger: fired.trigger,
                    outcome: rule::started(submitted),
                }
            }
            Act::Forget(due) => {
                let is_it = |run: &ScheduleRun| run.trigger == Trigger::Clock && run.due == due;
                runs(write, key)?.retain(|run| !is_it(run));
                continue;
            }
            Act::PassOver(due) => {
                pass_over(runs(write, key)?, due);
                continue;
            }
        };
        runs(write, key)?.push(run.clone());
        ran.push(run);
    }
    let of = write
        .data
        .schedules
        .get_mut(key)
        .ok_or(StoreError::NotFound)?;
    of.schedule.next_at = fired.next_at;
    of.schedule.waiting = fired.waiting;
    prune(write, key)?;
    Ok(ran)
}

fn runs<'w>(write: &'w mut Write<'_>, key: &Named) -> Result<&'w mut Vec<ScheduleRun>, StoreError> {
    let of = write.data.schedules.get_mut(key);
    Ok(&mut of.ok_or(StoreError::NotFound)?.runs)
}

/// Notes that a run that waited is passed over.
fn pass_over(runs: &mut [ScheduleRun], due: Micros) {
    let waited = |run: &&mut ScheduleRun| run.due == due && run.outcome == RunOutcome::Waiting;
    for run in runs.iter_mut().filter(waited) {
        run.outcome = RunOutcome::Skipped;
    }
}

/// Forgets old runs.
fn prune(write: &mut Write<'_>, key: &Named) -> Result<(), StoreError> {
    let of = one(write.data, key)?;
    let count = of.runs.len();
    let stays = of.runs.iter().enumerate().filter(|(index, run)| {
        let newer = count - index - 1;
        let goes_on = write.data.goes_on(key.0, &run.outcome);
        !rule::is_forgotten(&run.outcome, newer, goes_on)
    });
    let stays: Vec<ScheduleRun> = stays.map(|(_, run)| run.clone()).collect();
    *runs(write, key)? = stays;
    Ok(())
}
