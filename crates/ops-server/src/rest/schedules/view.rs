//! Schedules and their runs as clients see them.

use ops_core::schedule::{RunOutcome, ScheduleRun};
use ops_engine::{RetryRequest, ScheduleView, Submit};

use crate::rest::view::array;
use crate::{
    json::ObjectWriter,
    problem::{Part, translate},
    rest::view::{limits, seconds},
};

/// Writes a schedule.
pub(super) fn schedule(out: &mut Vec<u8>, seen: &ScheduleView) {
    let ScheduleView {
        schedule,
        task,
        next,
        warnings,
    } = seen;
    let spec = &schedule.spec;
    let mut view = ObjectWriter::begin(out);
    view.plain("name", &schedule.name);
    view.value("cron", &spec.cron);
    view.value("timezone", &spec.timezone);
    view.plain("overlap", &spec.overlap.as_str());
    view.plain("catch_up", &spec.catch_up.as_str());
    view.value("jitter", &task.jitter_micros.map(seconds));
    view.value("paused", &schedule.paused);
    view.time("next_run_at", schedule.next_at);
    view.time("waiting_since", schedule.waiting);
    array(view.key("next_runs"), next, |out, at| {
        out.push(b'"');
        crate::time::write(out, *at);
        out.push(b'"');
    });
    template(view.key("task"), task);
    view.value("revision", &schedule.revision);
    view.time("created_at", Some(schedule.created_at));
    view.time("updated_at", Some(schedule.updated_at));
    if !warnings.is_empty() {
        let parts = warnings.iter().cloned();
        let parts: Vec<_> = parts
            .map(|mut field| {
                translate(&mut field);
                Part::of("body", field)
            })
            .collect();
        view.value("warnings", &parts);
    }
    view.end();
}

/// Writes a template as it can be sent again.
fn template(out: &mut Vec<u8>, task: &Submit) {
    let mut view = ObjectWriter::begin(out);
    view.value("task_type", &task.task_type);
    view.raw("input_data", Some(task.input.as_str()));
    view.value("name", &task.name);
    view.value("agent_id", &task.agent_id);
    view.value("priority", &task.priority);
    view.value("labels", &task.labels);
    view.value("concurrency_key", &task.concurrency_key);
    view.value("queue", &task.queue);
    limits(view.key("limits"), &task.limits);
    match &task.retry {
        Some(policy) => retry(view.key("retry"), *policy),
        None => view.raw("retry", None),
    }
    view.end();
}

/// A stored template has the whole policy.
fn retry(out: &mut Vec<u8>, policy: RetryRequest) {
    let mut view = ObjectWriter::begin(out);
    view.value("max_attempts", &policy.max_attempts);
    view.value("backoff", &policy.initial_micros.map(seconds));
    view.end();
}

/// Writes a run.
pub(super) fn run(out: &mut Vec<u8>, run: &ScheduleRun) {
    let (outcome, task, message) = match &run.outcome {
        RunOutcome::Started(task) => ("started", Some(task), None),
        RunOutcome::Waiting => ("waiting", None, None),
        RunOutcome::Skipped => ("skipped", None, None),
        RunOutcome::Missed => ("missed", None, None),
        RunOutcome::Refused(message) => ("refused", None, Some(message)),
    };
    let mut view = ObjectWriter::begin(out);
    view.time("due_at", Some(run.due));
    view.time("at", Some(run.at));
    view.plain("trigger", &run.trigger.as_str());
    view.plain("outcome", &outcome);
    view.value("task_id", &task);
    view.value("message", &message);
    view.end();
}
