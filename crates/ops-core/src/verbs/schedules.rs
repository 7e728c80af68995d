//! The verbs of schedules that write.

use std::collections::BTreeSet;

use super::{rows::Rows, write::Write};
use crate::{
    Actor, Micros, State, TaskAction, TaskCommand, TenantId,
    ports::{NewSchedule, ScheduleChange, StoreError},
    rules::{
        Cause, decide,
        schedule::{self as rule, Act, Changed, Found, Put},
    },
    schedule::{Fire, RunOutcome, Schedule, ScheduleName, ScheduleRun, Trigger},
};

impl<R: Rows> Write<'_, R> {
    /// Stores a schedule; says whether the schedule is new.
    ///
    /// # Errors
    /// [`StoreError::ScheduleChanged`] if the stored schedule is not as expected.
    pub fn put_schedule(&mut self, new: NewSchedule) -> Result<(Schedule, bool), StoreError> {
        let before = self.rows.schedule(new.tenant, &new.name)?;
        match (rule::put(before.as_ref(), new, self.now)?, before) {
            (Put::Changed(after), Some(before)) => {
                self.replace(&before, &after)?;
                Ok((after, false))
            }
            (Put::Created(schedule) | Put::Changed(schedule), _) => {
                self.rows.put_schedule(&schedule)?;
                Ok((schedule, true))
            }
            (Put::Unchanged(schedule), _) => Ok((schedule, false)),
        }
    }

    /// Changes a schedule, and gives it as it is then, or as it was if it is removed.
    ///
    /// # Errors
    /// The schedule is not there, or not as expected.
    pub fn change_schedule(
        &mut self,
        tenant: TenantId,
        name: &ScheduleName,
        change: ScheduleChange,
    ) -> Result<Schedule, StoreError> {
        let before = self.rows.schedule(tenant, name)?;
        let before = before.ok_or(StoreError::NotFound)?;
        match rule::change(&before, change, self.now)? {
            Changed::Unchanged => Ok(before),
            Changed::To(after) => {
                self.replace(&before, &after)?;
                Ok(after)
            }
            Changed::Removed => {
                self.rows.remove_schedule(tenant, name)?;
                Ok(before)
            }
        }
    }

    /// Sees to the runs of a schedule: submits their tasks and moves the schedule on.
    ///
    /// # Errors
    /// The schedule is not there.
    pub fn fire_schedule(
        &mut self,
        tenant: TenantId,
        name: &ScheduleName,
        fire: Fire,
    ) -> Result<Vec<ScheduleRun>, StoreError> {
        let found = self.rows.schedule(tenant, name)?;
        let mut schedule = found.ok_or(StoreError::NotFound)?;
        let mut runs = self.rows.runs(tenant, name)?;
        let dates: Vec<(Micros, Option<&str>)> = fire
            .runs
            .iter()
            .map(|(due, task)| (*due, task.as_ref().err().map(String::as_str)))
            .collect();
        let by_clock = runs.iter().filter(|run| run.trigger == Trigger::Due);
        let known: BTreeSet<Micros> = by_clock.map(|run| run.due).collect();
        let asked = rule::dates(fire.occasion, &dates);
        let found = Found {
            schedule: &schedule,
            busy: self.is_busy(tenant, &runs)?,
            noted: asked.intersection(&known).copied().collect(),
        };
        let occasion = (fire.revision, fire.occasion);
        let Some(fired) = rule::fire(found, occasion, &dates, self.now) else {
            return Ok(Vec::new());
        };
        let mut tasks: Vec<_> = fire.runs.into_iter().map(|(_, task)| task.ok()).collect();
        let mut ran = Vec::new();
        for act in fired.acts {
            let run = match act {
                Act::Note(run) => run,
                Act::Start { run, due, cancels } => {
                    let Some(task) = tasks.get_mut(run).and_then(Option::take) else {
                        continue;
                    };
                    let id = task.task.id;
                    let submitted = self.submit(task).map(|_| id);
                    if cancels && submitted.is_ok() {
                        self.cancel_earlier(tenant, name, &runs)?;
                    }
                    ScheduleRun {
                        due,
                        at: self.now,
                        trigger: fired.trigger,
                        outcome: rule::started(submitted),
                    }
                }
                Act::Forget(due) => {
                    runs.retain(|run| run.trigger != Trigger::Due || run.due != due);
                    continue;
                }
                Act::PassOver(due) => {
                    pass_over(&mut runs, due);
                    continue;
                }
            };
            runs.push(run.clone());
            ran.push(run);
        }
        schedule.next_at = fired.next_at;
        schedule.waiting = fired.waiting;
        self.rows.put_schedule(&schedule)?;
        self.put_pruned(tenant, name, runs)?;
        Ok(ran)
    }

    /// Cancels the tasks that a schedule started before.
    fn cancel_earlier(
        &mut self,
        tenant: TenantId,
        name: &ScheduleName,
        runs: &[ScheduleRun],
    ) -> Result<(), StoreError> {
        for run in runs {
            let RunOutcome::Started(task) = run.outcome else {
                continue;
            };
            let key = (tenant, task);
            if !self.rows.is_open(key)? {
                continue;
            }
            let life = self.life(key)?;
            if matches!(life.state, State::Cancelling { .. }) {
                continue;
            }
            let cancel = TaskCommand {
                actor: Actor::Schedule(name.clone()),
                action: TaskAction::Cancel,
            };
            let transition = decide(&life, Cause::Task(cancel), self.now)?;
            self.carry_out(key, life, transition, Vec::new())?;
        }
        Ok(())
    }

    /// Whether a task that a schedule started has not ended.
    fn is_busy(&mut self, tenant: TenantId, runs: &[ScheduleRun]) -> Result<bool, StoreError> {
        for run in runs.iter().rev() {
            if self.goes_on(tenant, run)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn goes_on(&mut self, tenant: TenantId, run: &ScheduleRun) -> Result<bool, StoreError> {
        match run.outcome {
            RunOutcome::Started(task) => self.rows.is_open((tenant, task)),
            RunOutcome::Waiting
            | RunOutcome::Skipped
            | RunOutcome::Missed
            | RunOutcome::Refused(_) => Ok(false),
        }
    }

    fn replace(&mut self, before: &Schedule, after: &Schedule) -> Result<(), StoreError> {
        self.rows.put_schedule(after)?;
        if let Some(due) = rule::passed_over(before, after) {
            let mut runs = self.rows.runs(after.tenant, &after.name)?;
            pass_over(&mut runs, due);
            self.rows.put_runs(after.tenant, &after.name, runs)?;
        }
        Ok(())
    }

    /// Keeps the runs but for old runs.
    fn put_pruned(
        &mut self,
        tenant: TenantId,
        name: &ScheduleName,
        runs: Vec<ScheduleRun>,
    ) -> Result<(), StoreError> {
        let count = runs.len();
        let mut kept = Vec::with_capacity(count);
        for (index, run) in runs.into_iter().enumerate() {
            // Whether its task goes on matters only for a run that would be forgotten.
            let newer = count - index - 1;
            let is_old = rule::is_forgotten(&run.outcome, newer, false);
            let goes_on = is_old && self.goes_on(tenant, &run)?;
            if !rule::is_forgotten(&run.outcome, newer, goes_on) {
                kept.push(run);
            }
        }
        self.rows.put_runs(tenant, name, kept)
    }
}

/// Notes that a run that waited is passed over.
fn pass_over(runs: &mut [ScheduleRun], due: Micros) {
    let waited = |run: &&mut ScheduleRun| run.due == due && run.outcome == RunOutcome::Waiting;
    for run in runs.iter_mut().filter(waited) {
        run.outcome = RunOutcome::Skipped;
    }
}
