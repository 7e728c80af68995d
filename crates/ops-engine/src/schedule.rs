//! Schedules: commands for surfaces. Dates are in `calendar`, the loop in `clock`.

mod calendar;
mod clock;
mod counts;

use ops_core::{
    Caller, Code, Json, Micros, TenantId,
    ports::{ExpectedSchedule, InputCheck, NewSchedule, ScheduleChange, StoreError},
    schedule::{
        CatchUp, Fire, Occasion, Overlap, RunOutcome, Schedule, ScheduleName, ScheduleRun,
        ScheduleSpec,
    },
    time::SECOND,
};

pub(crate) use self::calendar::Calendar;
pub(crate) use self::counts::RunCounts;
use crate::{
    Engine, Error, FieldError,
    clock_watch::Look,
    submit::{Order, RetryRequest, Submit},
};

/// The label that names the schedule of a task.
pub const LABEL: &str = "schedule";
/// The longest jitter of a schedule: a day.
const MAX_JITTER: i64 = 24 * 3_600 * SECOND;
/// The most dates that a preview shows.
pub const MAX_PREVIEW: usize = 100;

/// A wish for a schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleRequest {
    /// Its name.
    pub name: String,
    /// When: a cron pattern.
    pub cron: String,
    /// The zone that it is read in.
    pub timezone: String,
    /// Treatment of a run while an earlier run has not ended.
    pub overlap: Overlap,
    /// Treatment of missed runs.
    pub catch_up: CatchUp,
    /// Whether the schedule is paused; `None` keeps the present state.
    pub paused: Option<bool>,
    /// Precondition on the stored schedule.
    pub expected: ExpectedSchedule,
    /// The task to submit; without a start, an idempotency key or a task to repeat.
    pub task: Submit,
}

/// A schedule with its computed dates.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleView {
    /// The schedule.
    pub schedule: Schedule,
    /// The task to submit.
    pub task: Submit,
    /// The next dates; of a paused schedule, the dates after a resume.
    pub next: Vec<Micros>,
    /// Warnings about the task, for the client that applies the schedule.
    pub warnings: Vec<FieldError>,
}

/// A page of schedules.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulePage {
    /// The schedules, in the order of their names.
    pub schedules: Vec<ScheduleView>,
    /// Whether there are more.
    pub more: bool,
    /// Names of unreadable schedules.
    pub damaged: Vec<String>,
}

impl Engine {
    /// Stores a schedule in place of a schedule of the same name; tells whether the schedule is new.
    ///
    /// # Errors
    /// `invalid_body` names each invalid field; `schedule_changed` if the precondition fails; or a code of
    /// [`Engine::submit`] or the storage.
    pub async fn apply_schedule(
        &self,
        tenant: TenantId,
        request: ScheduleRequest,
        preview: usize,
    ) -> Result<(ScheduleView, bool), Error> {
        let look = Look::at(&*self.clock);
        let (new, warnings) = self.checked_schedule(tenant, request).await?;
        let (mut schedule, created) = self.store.put_schedule(new).await?;
        if self.redate(&schedule).await? {
            let name = schedule.name.clone();
            schedule = self.store.schedule(tenant, name).await?;
        }
        self.dated_at(look);
        let view = ScheduleView {
            warnings,
            ..self.seen(schedule, preview)
        };
        Ok((view, created))
    }

    /// Previews [`Engine::apply_schedule`]. The preview writes nothing.
    ///
    /// # Errors
    /// The errors of [`Engine::apply_schedule`].
    pub async fn preview_schedule(
        &self,
        tenant: TenantId,
        request: ScheduleRequest,
        preview: usize,
    ) -> Result<ScheduleView, Error> {
        let (new, warnings) = self.checked_schedule(tenant, request).await?;
        let current = match self.store.schedule(tenant, new.name.clone()).await {
            Ok(schedule) => Some(schedule.revision),
            Err(StoreError::NotFound) => None,
            Err(error) => return Err(error.into()),
        };
        new.expected.check(current)?;
        let now = self.clock.now();
        let schedule = Schedule {
            tenant,
            name: new.name,
            spec: new.spec,
            paused: new.paused == Some(true),
            revision: 0,
            next_at: new.next_at,
            waiting: None,
            created_at: now,
            updated_at: now,
        };
        Ok(ScheduleView {
            warnings,
            ..self.seen(schedule, preview)
        })
    }

    /// One schedule with its next dates.
    ///
    /// # Errors
    /// `schedule_not_found`, or a code of the storage.
    pub async fn schedule(
        &self,
        tenant: TenantId,
        name: &str,
        preview: usize,
    ) -> Result<ScheduleView, Error> {
        let parsed = known(name)?;
        let schedule = self.store.schedule(tenant, parsed).await;
        Ok(self.seen(schedule.map_err(missing(name))?, preview))
    }

    /// Schedules in the order of their names, after the schedule of this name, each with its next dates.
    ///
    /// # Errors
    /// A code of the storage.
    pub async fn schedules(
        &self,
        tenant: TenantId,
        after: Option<ScheduleName>,
        limit: u32,
    ) -> Result<SchedulePage, Error> {
        let mut found = self.store.schedules(tenant, after, limit + 1).await?;
        let mut more = found.len() > limit as usize;
        found.found.truncate(limit as usize);
        if let Some(last) = found.last().filter(|_| !more) {
            // It may have ended early because it is large.
            let after = Some(last.name.clone());
            more = !self.store.schedules(tenant, after, 1).await?.is_empty();
        }
        let damaged = std::mem::take(&mut found.damaged);
        let schedules = found.into_iter().map(|schedule| self.seen(schedule, 1));
        Ok(SchedulePage {
            schedules: schedules.collect(),
            more,
            damaged,
        })
    }

    /// No runs until it is resumed.
    ///
    /// # Errors
    /// `schedule_not_found`, `schedule_changed` if it is not as expected, or a code of the storage.
    pub async fn pause_schedule(
        &self,
        tenant: TenantId,
        name: &str,
        expected: ExpectedSchedule,
    ) -> Result<ScheduleView, Error> {
        let parsed = known(name)?;
        let pause = ScheduleChange::Pause { expected };
        let changed = self.change(tenant, &parsed, pause).await;
        Ok(self.seen(changed.map_err(missing(name))?, 1))
    }

    /// Runs again from now on.
    ///
    /// # Errors
    /// `schedule_not_found`, `schedule_changed` if it is not as expected, or a code of the storage.
    pub async fn resume_schedule(
        &self,
        tenant: TenantId,
        name: &str,
        expected: ExpectedSchedule,
    ) -> Result<ScheduleView, Error> {
        let parsed = known(name)?;
        let found = self.store.schedule(tenant, parsed.clone()).await;
        let spec = found.map_err(missing(name))?.spec;
        let calendar = Calendar::new(&spec.cron, &spec.timezone).map_err(Error::invalid)?;
        let look = Look::at(&*self.clock);
        let next_at = calendar.after(self.clock.now());
        let resume = ScheduleChange::Resume { next_at, expected };
        let changed = self.change(tenant, &parsed, resume).await;
        self.dated_at(look);
        Ok(self.seen(changed.map_err(missing(name))?, 1))
    }

    /// Takes a schedule away; its tasks stay.
    ///
    /// # Errors
    /// `schedule_not_found`, `schedule_changed` if it is not as expected, or a code of the storage.
    pub async fn remove_schedule(
        &self,
        tenant: TenantId,
        name: &str,
        expected: ExpectedSchedule,
    ) -> Result<ScheduleView, Error> {
        let parsed = known(name)?;
        let remove = ScheduleChange::Remove { expected };
        let removed = self.change(tenant, &parsed, remove).await;
        Ok(self.seen(removed.map_err(missing(name))?, 0))
    }

    /// Starts a run now, beside its dates, even if the schedule is paused or an earlier run has not ended.
    ///
    /// # Errors
    /// `schedule_not_found`, a code of [`Engine::submit`], or a code of the storage.
    pub async fn run_schedule(&self, caller: &Caller, name: &str) -> Result<ScheduleRun, Error> {
        let parsed = known(name)?;
        loop {
            let found = self.store.schedule(caller.tenant, parsed.clone()).await;
            let schedule = found.map_err(missing(name))?;
            let now = self.clock.now();
            let task = self.task_of(&schedule, caller.actor.clone(), now, None);
            let fire = Fire {
                revision: schedule.revision,
                occasion: Occasion::Manual,
                runs: vec![(now, Ok(task.map_err(refused)?))],
            };
            let runs = self.fire(&schedule, fire).await.map_err(missing(name))?;
            // It changed meanwhile: the run is to be of what it is now.
            let Some(run) = runs.into_iter().next() else {
                continue;
            };
            return match run.outcome {
                RunOutcome::Refused(message) => Err(refused(message)),
                RunOutcome::Started(_)
                | RunOutcome::Waiting
                | RunOutcome::Skipped
                | RunOutcome::Missed => Ok(run),
            };
        }
    }

    /// Outcomes of the last runs, newest first.
    ///
    /// # Errors
    /// `schedule_not_found`, or a code of the storage.
    pub async fn schedule_runs(
        &self,
        tenant: TenantId,
        name: &str,
        limit: u32,
    ) -> Result<Vec<ScheduleRun>, Error> {
        let runs = self.store.schedule_runs(tenant, known(name)?, limit);
        runs.await.map_err(missing(name))
    }

    /// The schedule to store, and warnings for its client.
    async fn checked_schedule(
        &self,
        tenant: TenantId,
        mut request: ScheduleRequest,
    ) -> Result<(NewSchedule, Vec<FieldError>), Error> {
        let now = self.clock.now();
        let mut fields = Vec::new();
        let name = request.name.parse::<ScheduleName>();
        if let Err(error) = &name {
            fields.push(FieldError::new(&["name"], "value_error", error.to_string()));
        }
        let calendar = Calendar::new(&request.cron, &request.timezone);
        let calendar = calendar.map_err(|mut wrong| fields.append(&mut wrong)).ok();
        let next_at = calendar.as_ref().and_then(|calendar| calendar.after(now));
        if calendar.is_some() && next_at.is_none() {
            let message = format!(
                "`{}` is never due: no such date is to come; look at its day, month and year",
                request.cron
            );
            fields.push(FieldError::new(&["cron"], "never_due", message));
        }
        let jitter = request.task.jitter_micros;
        if jitter.is_some_and(|jitter| !(1..=MAX_JITTER).contains(&jitter)) {
            let message = "must be more than 0, and a day at most";
            fields.push(FieldError::new(&["jitter"], "value_error", message));
        }
        let agent = self
            .named_agent(tenant, request.task.agent_id.as_deref())
            .await;
        let definition = agent.as_ref().ok().cloned().flatten();
        let InputCheck {
            wrong,
            mut warnings,
            refused,
        } = self.check_input(&request.task, definition).await;
        for warning in &mut warnings {
            warning.path.insert(0, "task".to_owned());
        }
        // What the configuration says when a schedule is applied goes on to hold for it.
        let policy = |retry: RetryRequest| retry.over(self.settings.retry).into();
        request.task.retry = request.task.retry.map(policy);
        let order = Order::of(request.task.clone());
        let valid = match self.validate(&order, wrong, now) {
            Ok(()) => agent.map(drop),
            Err(error) => Err(error),
        };
        if let Err(mut error) = valid {
            if error.fields.is_empty() {
                return Err(error);
            }
            for field in &mut error.fields {
                field.path.insert(0, "task".to_owned());
            }
            fields.append(&mut error.fields);
        }
        match (name, calendar) {
            (Ok(name), Some(calendar)) if fields.is_empty() => {
                // A submit of the task is refused as well: each run would fail.
                if let Some((code, message)) = refused {
                    return Err(Error::new(code, message));
                }
                let new = NewSchedule {
                    tenant,
                    name,
                    spec: ScheduleSpec {
                        timezone: calendar.timezone().to_owned(),
                        cron: request.cron.trim().to_owned(),
                        overlap: request.overlap,
                        catch_up: request.catch_up,
                        template: Json::from_value(&request.task)
                            .expect("a template has string keys only, so it always serialises"),
                    },
                    paused: request.paused,
                    next_at,
                    expected: request.expected,
                };
                Ok((new, warnings))
            }
            _ => Err(Error::invalid(fields)),
        }
    }

    /// Dates of a paused schedule are the dates after a resume.
    fn seen(&self, schedule: Schedule, preview: usize) -> ScheduleView {
        let spec = &schedule.spec;
        let calendar = Calendar::new(&spec.cron, &spec.timezone).ok();
        let now = self.clock.now();
        let preview = preview.min(MAX_PREVIEW);
        let next = calendar.map_or_else(Vec::new, |calendar| calendar.preview(now, preview));
        ScheduleView {
            task: serde_json::from_str(spec.template.as_str()).unwrap_or_default(),
            schedule,
            next,
            warnings: Vec::new(),
        }
    }
}

fn not_found(name: &str) -> Error {
    let name: String = name.chars().take(80).collect();
    Error::new(
        Code::ScheduleNotFound,
        format!("there is no schedule `{name}`"),
    )
}

/// An invalid name is a name of no schedule.
fn known(name: &str) -> Result<ScheduleName, Error> {
    name.parse().map_err(|_| not_found(name))
}

fn missing(name: &str) -> impl Fn(StoreError) -> Error {
    move |error| match error {
        StoreError::NotFound => not_found(name),
        other => other.into(),
    }
}

fn refused(message: String) -> Error {
    Error::new(Code::InvalidBody, message)
}
