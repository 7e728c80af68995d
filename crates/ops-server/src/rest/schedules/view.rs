//! Schedules and their runs as clients see them.

use std::collections::BTreeMap;

use ops_core::{
    Json, Micros, TaskId,
    schedule::{CatchUp, Overlap, RunOutcome, ScheduleName, ScheduleRun, Trigger},
};
use ops_engine::{ScheduleView, Submit};

use crate::{
    json::{Optional, view, words},
    problem::{Part, translate},
    rest::view::{Limits, seconds},
};

view! {
    /// Schedules in the order of their names.
    pub(crate) struct ScheduleList<'a> {
        schedules: Vec<Schedule<'a>>,
        /// Null on the last page.
        next_cursor: Option<String>,
        /// Ids or names of entries that are damaged and left out; not there if there are none.
        damaged: Optional<&'a [String]>,
    }
}

view! {
    /// A task template and when tasks are made of it.
    pub(crate) struct Schedule<'a> {
        name: &'a ScheduleName,
        cron: &'a str,
        timezone: &'a str,
        overlap: Overlap,
        catch_up: CatchUp,
        /// Seconds that a run may start later than its date.
        jitter: Option<f64>,
        paused: bool,
        /// Null while it is paused, and once it is never due again.
        next_run_at: Option<Micros>,
        /// When the run was due that waits for the end of an earlier run.
        waiting_since: Option<Micros>,
        /// The next dates; of a paused one, those that it would have.
        next_runs: &'a [Micros],
        task: Template<'a>,
        /// Counts its changes.
        revision: u64,
        created_at: Micros,
        /// Its last change; a run is none.
        updated_at: Micros,
        /// What its client should know of the task; only where it is applied.
        warnings: Optional<Vec<Part>>,
    }
}

view! {
    /// The task that a schedule submits.
    pub(crate) struct Template<'a> {
        task_type: &'a str,
        input_data: &'a Json,
        name: Option<&'a str>,
        agent_id: Option<&'a str>,
        priority: u8,
        labels: &'a BTreeMap<String, String>,
        concurrency_key: Option<&'a str>,
        queue: &'a str,
        limits: Limits,
        /// Null where the configured policy applies.
        retry: Option<Retry>,
    }
}

view! {
    /// How failures that pass are answered.
    pub(crate) struct Retry {
        // A stored template has the whole policy: neither is null.
        max_attempts: Option<u32> = {"type": "integer"},
        /// Seconds.
        backoff: Option<f64> = {"type": "number"},
    }
}

view! {
    /// The last runs of a schedule.
    pub(crate) struct RunList as ScheduleRunList {
        runs: Vec<Run>,
    }
}

view! {
    /// One run of a schedule.
    pub(crate) struct Run as ScheduleRun {
        due_at: Micros,
        /// Time of the run.
        at: Micros,
        trigger: Trigger,
        outcome: Outcome,
        /// The task that was started.
        task_id: Option<TaskId>,
        /// Reason of the refusal.
        message: Option<String>,
    }
}

/// Outcome of a run, without its data.
pub(crate) enum Outcome {
    Started,
    Waiting,
    Skipped,
    Missed,
    Refused,
}

words! {
    /// `waiting` for an earlier run to end; `skipped`, as one had not ended; `missed`: this date and those
    /// after it, up to the next run; `refused`: the task was not valid any more.
    Outcome as Outcome {
        Started = "started",
        Waiting = "waiting",
        Skipped = "skipped",
        Missed = "missed",
        Refused = "refused",
    }
}

impl<'a> Schedule<'a> {
    pub(super) fn of(seen: &'a ScheduleView) -> Self {
        let ScheduleView {
            schedule,
            task,
            next,
            warnings,
        } = seen;
        let spec = &schedule.spec;
        let warnings = warnings.iter().cloned().map(|mut field| {
            translate(&mut field);
            Part::of("body", field)
        });
        Self {
            name: &schedule.name,
            cron: &spec.cron,
            timezone: &spec.timezone,
            overlap: spec.overlap,
            catch_up: spec.catch_up,
            jitter: task.jitter_micros.map(seconds),
            paused: schedule.paused,
            next_run_at: schedule.next_at,
            waiting_since: schedule.waiting,
            next_runs: next,
            task: Template::of(task),
            revision: schedule.revision,
            created_at: schedule.created_at,
            updated_at: schedule.updated_at,
            warnings: Optional::list(warnings.collect()),
        }
    }
}

impl<'a> Template<'a> {
    /// A template as it can be sent again.
    fn of(task: &'a Submit) -> Self {
        Self {
            task_type: &task.task_type,
            input_data: &task.input,
            name: task.name.as_deref(),
            agent_id: task.agent_id.as_deref(),
            priority: task.priority,
            labels: &task.labels,
            concurrency_key: task.concurrency_key.as_deref(),
            queue: &task.queue,
            limits: Limits::of(&task.limits),
            retry: task.retry.map(|policy| Retry {
                max_attempts: policy.max_attempts,
                backoff: policy.initial_micros.map(seconds),
            }),
        }
    }
}

impl Run {
    pub(super) fn of(run: &ScheduleRun) -> Self {
        let (outcome, task_id, message) = match &run.outcome {
            RunOutcome::Started(task) => (Outcome::Started, Some(*task), None),
            RunOutcome::Waiting => (Outcome::Waiting, None, None),
            RunOutcome::Skipped => (Outcome::Skipped, None, None),
            RunOutcome::Missed => (Outcome::Missed, None, None),
            RunOutcome::Refused(message) => (Outcome::Refused, None, Some(message.clone())),
        };
        Self {
            due_at: run.due,
            at: run.at,
            trigger: run.trigger,
            outcome,
            task_id,
            message,
        }
    }
}
