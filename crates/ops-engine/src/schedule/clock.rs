//! The loop of schedules. The loop writes only when a schedule is due.
//!
//! A date that was computed while the clock was ahead would stop a schedule until then. So the loop
//! compares dates with the calendar at the start, and whenever the clock was set back.

use std::{sync::PoisonError, time::Duration};

use ops_core::{
    Actor, Caller, Micros, TenantId,
    ports::{ExpectedSchedule, NewTask, ScheduleChange, StoreError},
    schedule::{Fire, Occasion, RunOutcome, Schedule, ScheduleName, ScheduleRun},
};

use sha2::{Digest as _, Sha256};

use super::calendar::Calendar;
use crate::{
    Engine,
    clock_watch::Look,
    submit::{EngineLabels, Order, Submit},
};

/// Schedules that are looked at together.
const BATCH: u32 = 64;
/// How often the loop looks whether a waiting run may start.
const WAITING: Duration = Duration::from_secs(1);
/// The longest sleep: the clock may be set meanwhile, and another process may add a schedule.
const MAX_SLEEP: Duration = Duration::from_secs(60);
/// How long the loop pauses after a failure.
const RETRY_DELAY: Duration = Duration::from_secs(1);

impl Engine {
    /// Submits the tasks of schedules when they are due.
    pub(crate) async fn schedules_loop(&self) {
        // What the clock was before the start is not known.
        let mut checked: Option<Look> = None;
        loop {
            let nap = match self.see_to_schedules(&mut checked).await {
                Ok(nap) => nap,
                Err(error) => {
                    tracing::error!(%error, "schedules cannot be read; trying again in a second");
                    RETRY_DELAY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(nap) => {}
                () = self.schedules_changed.notified() => {}
            }
        }
    }

    /// Runs all due schedules, and tells how long the loop has no more work. `checked` is the last look at
    /// which every date was right.
    async fn see_to_schedules(&self, checked: &mut Option<Look>) -> Result<Duration, StoreError> {
        let dated = self.take_dated();
        let look = Look::at(&*self.clock);
        let set_back = |before: Look| before.was_set_back(look);
        if checked.is_none_or(set_back) || dated.is_some_and(set_back) {
            *checked = None;
            self.redate_all().await?;
        }
        *checked = Some(look);
        let found = self.store.due_schedules(BATCH).await?;
        let work = found.due.len() + found.released.len();
        let mut failed = false;
        for schedule in &found.due {
            failed |= self.is_broken(schedule, self.fire_due(schedule).await);
        }
        for schedule in &found.released {
            failed |= self.is_broken(schedule, self.fire_released(schedule).await);
        }
        if failed {
            return Ok(RETRY_DELAY);
        }
        if work > 0 {
            // What was done has moved dates.
            return Ok(Duration::ZERO);
        }
        let until_next = found.next.map_or(MAX_SLEEP, |next| {
            let micros = next.0.saturating_sub(self.clock.now().0);
            Duration::from_micros(u64::try_from(micros).unwrap_or(0))
        });
        let longest = if found.waiting { WAITING } else { MAX_SLEEP };
        Ok(until_next.min(longest))
    }

    fn is_broken(&self, schedule: &Schedule, done: Result<(), StoreError>) -> bool {
        match done {
            // It was removed meanwhile.
            Ok(()) | Err(StoreError::NotFound) => false,
            Err(error) => {
                let name = &schedule.name;
                tracing::error!(schedule = %name, %error, "a schedule could not be seen to");
                true
            }
        }
    }

    async fn redate_all(&self) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.store.all_schedules(after, BATCH).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some((last.tenant, last.name.clone()));
            for schedule in &page {
                let done = self.redate(schedule).await.map(drop);
                self.is_broken(schedule, done);
            }
        }
    }

    /// Gives a schedule its next date by the present clock, if the stored date is later: such a date was
    /// computed while the clock was ahead. No date runs twice. Tells whether the date was wrong.
    pub(super) async fn redate(&self, schedule: &Schedule) -> Result<bool, StoreError> {
        let spec = &schedule.spec;
        let (Some(due), Ok(calendar)) =
            (schedule.next_at, Calendar::new(&spec.cron, &spec.timezone))
        else {
            return Ok(false);
        };
        let next = calendar.after(self.clock.now());
        if next.is_none_or(|next| next >= due) {
            return Ok(false);
        }
        let name = &schedule.name;
        tracing::warn!(schedule = %name, "its next date was computed while the clock was ahead");
        let fire = Fire {
            revision: schedule.revision,
            occasion: Occasion::Due {
                due,
                next,
                missed: false,
            },
            runs: Vec::new(),
        };
        self.fire(schedule, fire).await?;
        Ok(true)
    }

    async fn fire_due(&self, schedule: &Schedule) -> Result<(), StoreError> {
        let Some(due) = schedule.next_at else {
            return Ok(());
        };
        let spec = &schedule.spec;
        let Ok(calendar) = Calendar::new(&spec.cron, &spec.timezone) else {
            return self.stop_unreadable(schedule).await;
        };
        let now = self.clock.now();
        let plan = calendar.plan(spec.catch_up, due, now);
        let runs = plan.runs.into_iter();
        let fire = Fire {
            revision: schedule.revision,
            occasion: Occasion::Due {
                due,
                next: plan.next,
                missed: plan.missed,
            },
            runs: runs
                .map(|date| (date, self.task_of(schedule, own(schedule), now, Some(date))))
                .collect(),
        };
        self.fire(schedule, fire).await.map(drop)
    }

    async fn fire_released(&self, schedule: &Schedule) -> Result<(), StoreError> {
        let Some(due) = schedule.waiting else {
            return Ok(());
        };
        let task = self.task_of(schedule, own(schedule), self.clock.now(), None);
        let fire = Fire {
            revision: schedule.revision,
            occasion: Occasion::Waited { due },
            runs: vec![(due, task)],
        };
        self.fire(schedule, fire).await.map(drop)
    }

    pub(super) async fn fire(
        &self,
        schedule: &Schedule,
        fire: Fire,
    ) -> Result<Vec<ScheduleRun>, StoreError> {
        let name = &schedule.name;
        let fired = self
            .store
            .fire_schedule(schedule.tenant, name.clone(), fire);
        let runs = fired.await?;
        self.schedule_runs.note(&runs);
        for run in &runs {
            match &run.outcome {
                RunOutcome::Started(task) => {
                    tracing::info!(schedule = %name, %task, "a schedule started a task");
                }
                RunOutcome::Refused(why) => {
                    tracing::error!(schedule = %name, why, "the task of a schedule was refused");
                }
                RunOutcome::Missed => {
                    tracing::warn!(schedule = %name, "runs of a schedule were missed");
                }
                RunOutcome::Waiting | RunOutcome::Skipped => {
                    tracing::info!(schedule = %name, "an earlier run of a schedule has not ended");
                }
            }
        }
        Ok(runs)
    }

    /// The task of one run, or why the run has no task. `date` is the run's date by the calendar: the run
    /// may start a little later.
    pub(super) fn task_of(
        &self,
        schedule: &Schedule,
        actor: Actor,
        now: Micros,
        date: Option<Micros>,
    ) -> Result<NewTask, String> {
        let mut template: Submit = serde_json::from_str(schedule.spec.template.as_str())
            .map_err(|error| format!("the stored template cannot be read: {error}"))?;
        if let (Some(date), Some(jitter)) = (date, template.jitter_micros.take()) {
            let start = date.plus(delay(&schedule.name, date, jitter));
            template.run_at = Some(start).filter(|start| *start > now);
        }
        // A release before took this label from clients, and then replaced it.
        EngineLabels::taken_from(&mut template.labels);
        let order = Order {
            labels: EngineLabels {
                schedule: Some(schedule.name.to_string()),
            },
            is_inherited: true,
            ..Order::of(template)
        };
        // Its input was looked at when the schedule was made.
        let caller = Caller {
            tenant: schedule.tenant,
            actor,
        };
        self.new_task(&caller, order, Vec::new(), now)
            .map_err(|error| error.message)
    }

    /// Another release wrote it, or the zone is gone from the system's data.
    async fn stop_unreadable(&self, schedule: &Schedule) -> Result<(), StoreError> {
        let (name, spec) = (&schedule.name, &schedule.spec);
        tracing::error!(
            schedule = %name, cron = spec.cron, timezone = spec.timezone,
            "this release cannot read the dates of a schedule, which is paused; apply it again"
        );
        let pause = ScheduleChange::Pause {
            expected: ExpectedSchedule::Any,
        };
        self.change(schedule.tenant, name, pause).await.map(drop)
    }

    /// A date that was computed at this look is stored: the loop holds it against its own.
    pub(super) fn dated_at(&self, look: Look) {
        {
            let mut dated = self.dated.lock().unwrap_or_else(PoisonError::into_inner);
            *dated = Some(dated.map_or(look, |before| before.further_ahead(look)));
        }
        self.schedules_changed.notify_one();
    }

    fn take_dated(&self) -> Option<Look> {
        let mut dated = self.dated.lock().unwrap_or_else(PoisonError::into_inner);
        dated.take()
    }

    pub(super) async fn change(
        &self,
        tenant: TenantId,
        name: &ScheduleName,
        change: ScheduleChange,
    ) -> Result<Schedule, StoreError> {
        let changed = self.store.change_schedule(tenant, name.clone(), change);
        let changed = changed.await?;
        self.schedules_changed.notify_one();
        Ok(changed)
    }
}

/// How much later than its date a run starts: the same each time it is asked, and spread evenly over the
/// names of schedules that have the same date.
fn delay(name: &ScheduleName, date: Micros, jitter: i64) -> i64 {
    let digest = Sha256::new()
        .chain_update(name.as_str())
        .chain_update(date.0.to_be_bytes())
        .finalize();
    let luck = digest
        .iter()
        .take(8)
        .fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    let within = luck % u64::try_from(jitter).unwrap_or(0).max(1);
    i64::try_from(within).unwrap_or(0)
}

/// A run that the clock starts is the schedule's own.
fn own(schedule: &Schedule) -> Actor {
    Actor::Schedule(schedule.name.clone())
}

#[cfg(test)]
mod tests {
    use ops_core::time::SECOND;

    use super::*;

    #[test]
    fn runs_of_one_date_are_spread_and_a_run_asked_for_again_is_the_same() {
        let (date, jitter) = (Micros(1_764_000_000 * SECOND), 600 * SECOND);
        let delays: Vec<i64> = (0..100)
            .map(|n| delay(&format!("report-{n}").parse().unwrap(), date, jitter))
            .collect();
        assert!(delays.iter().all(|delay| (0..jitter).contains(delay)));
        // Some of a hundred are in each fifth.
        for fifth in 0..5 {
            let of = |delay: &&i64| **delay / (jitter / 5) == fifth;
            assert!(delays.iter().filter(of).count() > 5, "{delays:?}");
        }
        let name = "nightly".parse().unwrap();
        assert_eq!(delay(&name, date, jitter), delay(&name, date, jitter));
        assert_ne!(
            delay(&name, date, jitter),
            delay(&name, date.plus(SECOND), jitter)
        );
        assert_eq!(delay(&name, date, 1), 0);
    }
}
