//! The loop that sees to schedules at their time. It writes only when one is due.

use std::time::Duration;

use ops_core::{
    Micros, TenantId,
    ports::{NewTask, ScheduleChange, StoreError},
    schedule::{Fire, Occasion, RunOutcome, Schedule, ScheduleRun},
};

use super::{LABEL, calendar::Calendar};
use crate::{Engine, submit::Submit};

/// Schedules that are looked at together.
const BATCH: u32 = 64;
/// How often it is looked whether a run that waits may start.
const WAITING: Duration = Duration::from_secs(1);
/// The longest sleep: the clock may be set meanwhile, and another process may add a schedule.
const LONGEST: Duration = Duration::from_secs(60);
/// How long the loop rests after something failed.
const REST: Duration = Duration::from_secs(1);

impl Engine {
    /// Submits the tasks of schedules when they are due.
    pub(crate) async fn schedules_loop(&self) {
        loop {
            let nap = match self.see_to_schedules().await {
                Ok(nap) => nap,
                Err(error) => {
                    tracing::error!(%error, "schedules cannot be read; trying again in a second");
                    REST
                }
            };
            tokio::select! {
                () = tokio::time::sleep(nap) => {}
                () = self.schedules_changed.notified() => {}
            }
        }
    }

    /// Sees to everything that is due, and says how long there is nothing more to do.
    async fn see_to_schedules(&self) -> Result<Duration, StoreError> {
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
            return Ok(REST);
        }
        if work > 0 {
            // What was done has moved dates.
            return Ok(Duration::ZERO);
        }
        let until_next = found.next.map_or(LONGEST, |next| {
            let micros = next.0.saturating_sub(self.clock.now().0);
            Duration::from_micros(u64::try_from(micros).unwrap_or(0))
        });
        let longest = if found.waiting { WAITING } else { LONGEST };
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
                .map(|date| (date, self.task_of(schedule, now)))
                .collect(),
        };
        self.fire(schedule, fire).await.map(drop)
    }

    async fn fire_released(&self, schedule: &Schedule) -> Result<(), StoreError> {
        let Some(due) = schedule.waiting else {
            return Ok(());
        };
        let task = self.task_of(schedule, self.clock.now());
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

    /// The task of one run, or why there can be none.
    pub(super) fn task_of(&self, schedule: &Schedule, now: Micros) -> Result<NewTask, String> {
        let mut wish: Submit = serde_json::from_str(schedule.spec.template.as_str())
            .map_err(|error| format!("the stored template cannot be read: {error}"))?;
        wish.labels
            .insert(LABEL.to_owned(), schedule.name.to_string());
        // It was looked at when the schedule was made.
        self.new_task(schedule.tenant, wish, Vec::new(), now)
            .map_err(|error| error.message)
    }

    /// Another release wrote it, or the zone is gone from the system's data.
    async fn stop_unreadable(&self, schedule: &Schedule) -> Result<(), StoreError> {
        let (name, spec) = (&schedule.name, &schedule.spec);
        tracing::error!(
            schedule = %name, cron = spec.cron, timezone = spec.timezone,
            "this release cannot read the dates of a schedule, which is paused; apply it again"
        );
        self.change(schedule.tenant, name, ScheduleChange::Pause)
            .await
            .map(drop)
    }

    pub(super) async fn change(
        &self,
        tenant: TenantId,
        name: &ops_core::schedule::ScheduleName,
        change: ScheduleChange,
    ) -> Result<Schedule, StoreError> {
        let changed = self.store.change_schedule(tenant, name.clone(), change);
        let changed = changed.await?;
        self.schedules_changed.notify_one();
        Ok(changed)
    }
}
