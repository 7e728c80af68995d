//! A task as clients see it: the fields of version 1, and the new ones after them.

use axum::response::Response;
use http::StatusCode;
use ops_core::{
    Lifecycle, State, Wait,
    event::Usage,
    ports::{LeftOut, TaskRecord},
    task::{Status, TaskLimits},
};
use ops_engine::Engine;

use super::answer;
use crate::{
    json::{ObjectWriter, pick},
    problem::Part,
};

/// Fields of a task beside its record.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Beside {
    /// No worker serves its queue: the queue is not configured.
    is_unserved: bool,
}

impl Beside {
    /// Fields beside a record.
    pub(crate) fn of(engine: &Engine, record: &TaskRecord) -> Self {
        Self {
            is_unserved: !engine.serves(&record.task.queue),
        }
    }
}

/// Writes a task as a command has left it.
pub(crate) fn task(out: &mut Vec<u8>, record: &TaskRecord) {
    task_seen(out, record, &Beside::default());
}

/// Writes a task that was accepted just now, with warnings for its client.
pub(crate) fn task_accepted(out: &mut Vec<u8>, record: &TaskRecord, warnings: &[Part]) {
    let mut view = ObjectWriter::begin(out);
    fields(&mut view, record, &Beside::default());
    if !warnings.is_empty() {
        view.value("warnings", warnings);
    }
    view.end();
}

/// Writes a task. Its input and result are copied as text, never parsed.
pub(crate) fn task_seen(out: &mut Vec<u8>, record: &TaskRecord, beside: &Beside) {
    let mut view = ObjectWriter::begin(out);
    fields(&mut view, record, beside);
    view.end();
}

fn fields(view: &mut ObjectWriter<'_>, record: &TaskRecord, beside: &Beside) {
    let TaskRecord {
        task,
        life,
        result,
        in_force,
        left_out,
    } = record;
    let error = life.error();
    let result = result.as_ref().map(ops_core::Json::as_str);
    view.plain("task_id", &task.id);
    view.value("task_type", &task.task_type);
    view.value("name", &task.name);
    view.plain("status", &status(life.status()));
    view.raw("input_data", Some(task.input.as_str()));
    view.raw("output_data", result);
    view.raw("result", result);
    output(view, result);
    view.value("error_message", &error.map(|error| &error.message));
    view.value("agent_id", &task.agent_id);
    view.value("agent_digest", &task.agent_digest);
    view.raw("workflow_id", None);
    view.time("created_at", Some(task.created_at));
    view.time("updated_at", Some(life.updated_at));
    view.time("scheduled_at", life.state.due().or(task.run_at));
    view.time("started_at", life.started_at);
    view.time("completed_at", life.completed_at);

    view.plain("state", &life.state.name());
    match &life.state {
        State::Pending { .. } if beside.is_unserved => {
            unserved(view.key("state_detail"), &task.queue)
        }
        _ => detail(view.key("state_detail"), life),
    }
    view.value("paused", &life.paused);
    view.value("attempt", &life.attempt);
    view.value("queue", &task.queue);
    view.value("concurrency_key", &task.concurrency_key);
    view.value("priority", &task.priority);
    view.value("labels", &task.labels);
    limits(view.key("limits"), &task.limits);
    match in_force {
        Some(in_force) => limits(view.key("limits_in_force"), in_force),
        None => view.raw("limits_in_force", None),
    }
    view.value("error", &error);
    view.value("last_failure", &life.failure);
    usage(view.key("usage"), &life.usage);
    usage(view.key("children_usage"), &life.children_usage);
    match &task.parent {
        Some(parent) => {
            view.plain("parent", &parent.task);
            view.value("parent_step", &parent.step);
        }
        None => view.raw("parent", None),
    }
    match &task.retry_of {
        Some(old) => view.plain("retry_of", old),
        None => view.raw("retry_of", None),
    }
    let dead = matches!(
        life.state,
        State::Failed {
            dead_letter: true,
            ..
        }
    );
    view.value("dead_letter", &dead);
    if *left_out != LeftOut::default() {
        let mut sizes = ObjectWriter::begin(view.key("left_out"));
        let values = [("input_data", left_out.input), ("result", left_out.result)];
        for (name, size) in values {
            if let Some(bytes) = size {
                sizes.value(name, &bytes);
            }
        }
        sizes.end();
    }
}

/// The answer as text: `answer` of the result, and as JSON text if it is none. `null` where the result
/// has no answer.
fn output(view: &mut ObjectWriter<'_>, result: Option<&str>) {
    let answer = result.and_then(|result| pick(result, &["answer"]).raw("answer"));
    match answer {
        // The text of a string is a string already.
        Some(answer) if !answer.starts_with('"') => view.value("output", answer),
        text => view.raw("output", text),
    }
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Pending => "pending",
        Status::Running => "running",
        Status::Completed => "completed",
        Status::Failed => "failed",
        Status::Cancelled => "cancelled",
    }
}

/// Why no worker takes a task that is ready.
fn unserved(out: &mut Vec<u8>, queue: &str) {
    let message = format!(
        "no worker serves the queue `{queue}`: start a worker that does (`opspawn worker`; queues other than \
         `default` are named in its `[queues.{queue}]`), or cancel the task and submit it to another queue"
    );
    let mut view = ObjectWriter::begin(out);
    view.plain("on", &"queue");
    view.value("message", &message);
    view.end();
}

/// What the task waits for, or `null`: `on` says what, `until` when the clock ends it, and `steps`,
/// `signals`, `tasks`, `key` or `limit` what exactly; `error`, why the attempt before a retry failed.
fn detail(out: &mut Vec<u8>, life: &Lifecycle) {
    let (on, until, wait) = match &life.state {
        State::Scheduled { until, .. } if life.attempt > 1 => ("retry", Some(*until), None),
        State::Scheduled { until, .. } => ("start", Some(*until), None),
        State::Waiting(wait) => (wait.name(), wait.until(), Some(wait)),
        State::Pending { .. }
        | State::Paused { .. }
        | State::Running { .. }
        | State::Cancelling { .. }
        | State::Completed { .. }
        | State::Failed { .. }
        | State::Cancelled { .. } => {
            out.extend_from_slice(b"null");
            return;
        }
    };
    let mut view = ObjectWriter::begin(out);
    view.plain("on", &on);
    if until.is_some() {
        view.time("until", until);
    }
    match wait {
        Some(Wait::InDoubt { steps, .. } | Wait::Approval { steps, .. }) => {
            view.value("steps", steps)
        }
        Some(Wait::Signal { names, .. }) => view.value("signals", names),
        Some(Wait::Child { tasks, .. }) => view.value("tasks", tasks),
        Some(Wait::Budget { limit, message, .. }) => {
            view.value("limit", limit);
            view.value("message", message);
        }
        Some(Wait::Concurrency { key, .. }) => view.value("key", key),
        Some(Wait::Timer { .. }) | None => {}
    }
    let failure = match (&life.state, wait) {
        (State::Scheduled { .. }, _) => life.failure.as_ref(),
        (_, Some(Wait::Timer { error, .. })) => error.as_ref(),
        _ => None,
    };
    if let Some(failure) = failure {
        view.value("error", failure);
    }
    view.end();
}

/// Writes limits as they were asked for, or given later.
pub(crate) fn limits(out: &mut Vec<u8>, limits: &TaskLimits) {
    let mut view = ObjectWriter::begin(out);
    view.value("max_steps", &limits.max_steps);
    view.value("max_tokens", &limits.max_tokens);
    view.value(
        "max_cost_usd",
        &limits.max_cost_micros.map(units::money::usd),
    );
    view.value("timeout", &limits.timeout_micros.map(seconds));
    view.value("queue_timeout", &limits.queue_timeout_micros.map(seconds));
    view.value("on_exhausted", &limits.on_exhausted);
    view.end();
}

/// Answers with a list that has no further page.
pub(super) fn list_of<T>(
    name: &'static str,
    items: &[T],
    item: impl Fn(&mut Vec<u8>, &T),
) -> Response {
    let mut out = Vec::with_capacity(4_096);
    let mut list = ObjectWriter::begin(&mut out);
    array(list.key(name), items, item);
    list.end();
    answer(StatusCode::OK, out)
}

/// Answers with a page of a list, and the cursor of the next one if there is one.
pub(super) fn page<T>(
    name: &'static str,
    items: &[T],
    item: impl Fn(&mut Vec<u8>, &T),
    next: Option<String>,
) -> Response {
    page_beside(name, items, item, next, &[])
}

/// The same of a list of which some entries are damaged and left out.
pub(super) fn page_beside<T>(
    name: &'static str,
    items: &[T],
    item: impl Fn(&mut Vec<u8>, &T),
    next: Option<String>,
    damaged: &[String],
) -> Response {
    let mut out = Vec::with_capacity(4_096);
    let mut list = ObjectWriter::begin(&mut out);
    array(list.key(name), items, item);
    list.value("next_cursor", &next);
    if !damaged.is_empty() {
        list.value("damaged", &damaged);
    }
    list.end();
    answer(StatusCode::OK, out)
}

/// Writes an array of the values that `item` writes.
pub(crate) fn array<T>(out: &mut Vec<u8>, items: &[T], item: impl Fn(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (index, value) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        item(out, value);
    }
    out.push(b']');
}

/// Tokens, and money in USD.
pub(crate) fn usage(out: &mut Vec<u8>, usage: &Usage) {
    let mut view = ObjectWriter::begin(out);
    view.value("input_tokens", &usage.input_tokens);
    view.value("output_tokens", &usage.output_tokens);
    view.value("cost_usd", &units::money::usd(usage.cost_micros));
    view.end();
}

/// Microseconds as seconds.
pub(crate) fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}
