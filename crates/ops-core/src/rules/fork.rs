//! Rules of a rerun and a redrive: the part of another task's log that a new task copies.
//!
//! The rules read the log itself, and no record beside the log. A fork of a fork has a log that was copied
//! from another task: its children name that task as their parent, or retention has deleted the children. A
//! rule that looked for children by `parent = this task` found no child, copied the start of a child
//! without its end, and the new run waited for ever for a child that had ended long ago.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    code::Code,
    event::{
        ChildEnd, NewEvent, Resolution, StepKind, StepMark, StepStatus, StoredEvent, TaskError,
        TaskEvent, Usage,
    },
    id::TaskId,
    ports::{Fork, TaskRecord},
    task::{State, StateName},
};

/// How the types of the engine's events about one task begin.
pub const ENGINE_PREFIX: &str = "task.";
/// The events of the engine that tell the run about the world. The other events are about leases and states
/// of their own task, and no fork copies them.
pub const EXTERNAL_KINDS: [&str; 4] = [
    "task.signalled",
    "task.child_ended",
    "task.noted",
    "task.clock_corrected",
];

/// The step that is done anew.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Anew {
    /// The number of the step.
    pub step: u32,
    /// Other arguments, for a tool call.
    pub input: Option<Value>,
    /// A message to the model before its answer, for a model call.
    pub message: Option<String>,
}

/// Why a task cannot be done again from a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The log has no such step.
    #[error("{}", no_step(*.step, *.last))]
    NoStep {
        /// The step.
        step: u32,
        /// The last step that there is.
        last: Option<u32>,
    },
    /// The machine made the call, and the model did not ask for it.
    #[error(
        "step {0} is a call that the run made by itself; rerun from the model call or the tool call \
         before it"
    )]
    OfMachine(u32),
    /// A model call has no arguments.
    #[error(
        "step {0} is a model call, which has no arguments; say something to the model with `message`"
    )]
    NoArguments(u32),
    /// A tool call takes no message.
    #[error(
        "step {0} is a tool call; give it other arguments with `input`, or rerun from a model call"
    )]
    NoMessage(u32),
    /// A child whose start would be copied ended later, or not at all. The child reports to the task that
    /// started the child, so the new task would wait for ever.
    #[error(
        "step {start} started {child}, which had not ended before step {step}; rerun from step \
         {start} or from an earlier one"
    )]
    Child {
        /// The child.
        child: TaskId,
        /// The step that started it.
        start: u32,
        /// The first step that is done anew.
        step: u32,
    },
}

fn no_step(step: u32, last: Option<u32>) -> String {
    match last {
        Some(last) => format!("the task has no step {step}; it has steps 1 to {last}"),
        None => "the task has no steps yet".to_owned(),
    }
}

/// Chooses the events of the log of `from` that a new task copies to go on at a step.
///
/// # Errors
/// [`Refused`] says why no task can go on from the step.
pub fn rerun(log: &[StoredEvent], from: TaskId, anew: Anew) -> Result<Fork, Refused> {
    let Anew {
        step,
        input,
        message,
    } = anew;
    let steps = Steps::of(log);
    let Some(first) = steps.first(step) else {
        let last = steps.last();
        return Err(Refused::NoStep { step, last });
    };
    let mut fork = Fork {
        from,
        step,
        until: first.seq - 1,
        also: Vec::new(),
        resets: Vec::new(),
        note: message,
        lost: Vec::new(),
        redrives: false,
    };
    match first.mark.kind {
        StepKind::Model if input.is_some() => return Err(Refused::NoArguments(step)),
        StepKind::Model => {}
        StepKind::Tool if first.of_machine => return Err(Refused::OfMachine(step)),
        StepKind::Tool if fork.note.is_some() => return Err(Refused::NoMessage(step)),
        StepKind::Tool => cut_at_call(log, &steps.turn(first), input.as_ref(), &mut fork),
    }
    let (fork, open) = settle_children(log, fork);
    match open.first() {
        Some((start, child)) => Err(Refused::Child {
            child: *child,
            start: *start,
            step,
        }),
        None => Ok(fork),
    }
}

/// Copies the whole log of a dead letter. The gate admits calls anew that had not begun. Children without
/// an end in the log are in [`Fork::lost`] as cancelled: the engine stopped them when it gave their parent
/// up. Where the end of such a child is known, [`child_end`] gives the end.
#[must_use]
pub fn redrive(log: &[StoredEvent], from: TaskId) -> Fork {
    let steps = Steps::of(log);
    let asked = steps.firsts.iter().rev().find(|first| !first.of_machine);
    let turn = match asked {
        Some(last) if last.mark.kind == StepKind::Tool => steps.turn(last),
        Some(_) | None => Vec::new(),
    };
    let fork = Fork {
        from,
        step: steps.last().unwrap_or(0) + 1,
        until: log.last().map_or(0, |event| event.seq),
        also: Vec::new(),
        resets: open_calls(log, &turn)
            .into_iter()
            .map(|step| (step, None))
            .collect(),
        note: None,
        lost: Vec::new(),
        redrives: true,
    };
    let (mut fork, open) = settle_children(log, fork);
    let lost = open.into_iter().map(|(_, child)| child_end(child, None));
    fork.lost = lost.collect();
    fork
}

/// A result up to this size, in bytes, is told to the run that goes on from a dead letter.
const MAX_RESULT: usize = 8 << 10;

/// The end of a child whose parent was given up before; `record` is the child, if the store still has the
/// child. A child that is being stopped counts as cancelled.
#[must_use]
pub fn child_end(child: TaskId, record: Option<&TaskRecord>) -> ChildEnd {
    let mut end = ChildEnd {
        child,
        state: StateName::Cancelled,
        result: None,
        stored: None,
        error: None,
        used: Usage::default(),
    };
    let Some(record) = record else { return end };
    end.used = record.life.usage;
    end.used += record.life.children_usage;
    let failed = |code: Code, message| TaskError {
        code: code.as_str().to_owned(),
        message,
    };
    match (&record.life.state, &record.result) {
        (State::Completed, Some(result)) if result.as_str().len() <= MAX_RESULT => {
            end.state = StateName::Completed;
            end.result = Some(result.to_value());
        }
        (State::Completed, result) => {
            let size = result.as_ref().map_or(0, |result| result.as_str().len());
            end.state = StateName::Failed;
            end.error = Some(failed(
                Code::ValueTooLarge,
                format!("its result of {size} bytes came after its parent was given up"),
            ));
        }
        (State::Failed { .. }, _) => {
            end.state = StateName::Failed;
            end.error.clone_from(&record.life.failure);
        }
        _ => {}
    }
    end
}

/// Whether a fork takes over events of this type, within the range that it names.
#[must_use]
pub fn is_copied(kind: &str) -> bool {
    !kind.starts_with(ENGINE_PREFIX) || EXTERNAL_KINDS.contains(&kind)
}

/// The events that a fork adds behind the copied events.
#[must_use]
pub fn own_events(fork: &Fork) -> Vec<TaskEvent> {
    let forked = TaskEvent::Forked {
        from: fork.from,
        step: fork.step,
    };
    let resets = fork.resets.iter().map(|(step, input)| TaskEvent::Reset {
        step: *step,
        input: input.clone(),
    });
    let note = fork.note.iter().map(|content| TaskEvent::Noted {
        content: content.clone(),
    });
    let lost = fork.lost.iter().cloned().map(TaskEvent::ChildEnded);
    std::iter::once(forked)
        .chain(lost)
        .chain(resets)
        .chain(note)
        .collect()
}

/// The numbers of the events that a fork copies, ascending: `log` says the numbers and types of the
/// other task's events in order.
pub fn taken<'a>(
    fork: &'a Fork,
    log: impl IntoIterator<Item = (u64, &'a str)> + 'a,
) -> impl Iterator<Item = u64> + 'a {
    let is_taken = |(seq, kind): &(u64, &str)| {
        (*seq <= fork.until && is_copied(kind)) || fork.also.binary_search(seq).is_ok()
    };
    log.into_iter().filter(is_taken).map(|(seq, _)| seq)
}

/// An event as a fork copies it. Its usage was paid for by the other task.
#[must_use]
pub fn copied(event: &NewEvent) -> NewEvent {
    NewEvent {
        usage: Usage::default(),
        ..event.clone()
    }
}

/// The first event of a step.
#[derive(Debug, Clone, Copy)]
struct First {
    seq: u64,
    mark: StepMark,
    /// The machine made the call by itself (a probe, a recall): the model did not ask for it.
    of_machine: bool,
    /// Where the event is in the log.
    place: usize,
}

/// The first events of the steps, in the order of the log.
struct Steps {
    firsts: Vec<First>,
}

impl Steps {
    fn of(log: &[StoredEvent]) -> Self {
        let mut seen = BTreeSet::new();
        let mut firsts = Vec::new();
        for (place, event) in log.iter().enumerate() {
            if let Some(mark) = event.event.step
                && seen.insert(mark.number)
            {
                firsts.push(First {
                    seq: event.seq,
                    mark,
                    of_machine: mark.kind == StepKind::Tool && is_of_machine(&event.event),
                    place,
                });
            }
        }
        Self { firsts }
    }

    fn first(&self, step: u32) -> Option<&First> {
        self.firsts.iter().find(|first| first.mark.number == step)
    }

    fn last(&self) -> Option<u32> {
        self.firsts.iter().map(|first| first.mark.number).max()
    }

    /// The calls of the same answer as this call. One append recorded them, so their first events lie next
    /// to each other. Numbers that follow each other are not enough: a call of the machine's own takes a
    /// number as well, and its first event may come after the outcomes of the turn. A cut there would copy
    /// the outcomes of calls that are to be done anew.
    fn turn(&self, call: &First) -> Vec<First> {
        let Some(index) = self.firsts.iter().position(|first| first.seq == call.seq) else {
            return Vec::new();
        };
        let is_next = |a: &First, b: &First| {
            a.place + 1 == b.place && b.mark.kind == StepKind::Tool && !b.of_machine
        };
        let is_call = |first: &First| first.mark.kind == StepKind::Tool && !first.of_machine;
        let mut begin = index;
        while begin > 0
            && is_call(&self.firsts[begin - 1])
            && is_next(&self.firsts[begin - 1], &self.firsts[begin])
        {
            begin -= 1;
        }
        let mut end = index + 1;
        while end < self.firsts.len() && is_next(&self.firsts[end - 1], &self.firsts[end]) {
            end += 1;
        }
        self.firsts[begin..end].to_vec()
    }
}

/// A tool call is done anew together with the calls after it of the same answer; the outcomes of the calls
/// before it are kept. The gate also admits an earlier call anew that has not begun: an approval holds for
/// the task that requested the approval.
fn cut_at_call(log: &[StoredEvent], calls: &[First], input: Option<&Value>, fork: &mut Fork) {
    let step = fork.step;
    let last_call = calls.iter().map(|call| call.seq).max();
    fork.until = last_call.unwrap_or(fork.until);
    let mut open = open_calls(log, calls);
    open.retain(|number| *number < step);
    let earlier = |event: &&StoredEvent| {
        event.seq > fork.until
            && event.event.step.is_some_and(|mark| {
                mark.number < step
                    && !open.contains(&mark.number)
                    && calls.iter().any(|call| call.mark.number == mark.number)
            })
    };
    let last = log.iter().filter(earlier).map(|event| event.seq).max();
    let told = |event: &&StoredEvent| {
        matches!(
            event.event.kind.as_str(),
            "task.signalled" | "task.child_ended"
        ) && event.seq > fork.until
            && last.is_some_and(|last| event.seq < last)
    };
    let also = log.iter().filter(|event| earlier(event) || told(event));
    let also: Vec<u64> = also.map(|event| event.seq).collect();
    // A call that the gate refused stays refused, unless it gets other arguments.
    let anew = calls.iter().map(|call| call.mark).filter(|call| {
        let edited = call.number == step && input.is_some();
        let anew = call.number >= step && (call.status != StepStatus::Failed || edited);
        anew || open.contains(&call.number)
    });
    fork.resets = anew
        .map(|call| (call.number, input.filter(|_| call.number == step).cloned()))
        .collect();
    fork.also = also;
}

/// The calls that have not begun: queued calls, and calls with an open or a given approval.
fn open_calls(log: &[StoredEvent], calls: &[First]) -> Vec<u32> {
    let is_open = |number: &u32| {
        let of_call =
            |event: &&StoredEvent| event.event.step.is_some_and(|mark| mark.number == *number);
        let last = log.iter().rev().find(of_call).map(|event| &event.event);
        last.is_some_and(|last| match last.step.map(|mark| mark.status) {
            Some(StepStatus::Queued) => true,
            // What it began waits, and goes on waiting, unless this is a question about it.
            Some(StepStatus::Waiting) => last.kind != "tool.waiting",
            Some(StepStatus::Resolved) => is_retry(&last.body),
            Some(StepStatus::Started | StepStatus::Completed | StepStatus::Failed) | None => false,
        })
    };
    let numbers = calls.iter().map(|call| call.mark.number);
    numbers.filter(is_open).collect()
}

fn is_retry(body: &[u8]) -> bool {
    matches!(
        TaskEvent::decode(body),
        Ok(TaskEvent::Resolved {
            resolution: Resolution::Retry,
            ..
        })
    )
}

/// Keeps the start and the end of a child together. An end whose start is not copied is left out: the run
/// would not know the child. Starts without their ends are named, with their steps.
fn settle_children(log: &[StoredEvent], mut fork: Fork) -> (Fork, Vec<(u32, TaskId)>) {
    let mut open = Vec::new();
    if units::mutant!("ops-core.children_forgotten") {
        return (fork, open);
    }
    let is_taken =
        |fork: &Fork, seq: u64| seq <= fork.until || fork.also.binary_search(&seq).is_ok();
    let ends: Vec<(u64, TaskId)> = log
        .iter()
        .filter_map(|event| Some((event.seq, ended_child(&event.event)?)))
        .collect();
    for event in log {
        let Some((start, child)) = started_child(&event.event) else {
            continue;
        };
        let mut ends = ends.iter().filter(|(_, ended)| *ended == child);
        if !is_taken(&fork, event.seq) {
            fork.also
                .retain(|seq| !ends.clone().any(|(end, _)| end == seq));
        } else if !ends.any(|(end, _)| is_taken(&fork, *end)) {
            open.push((start, child));
        }
    }
    (fork, open)
}

/// The step of a call that started a child with its outcome, and the child: the outcome's body names
/// it.
fn started_child(event: &NewEvent) -> Option<(u32, TaskId)> {
    #[derive(serde::Deserialize)]
    struct Outcome {
        child: Child,
    }
    #[derive(serde::Deserialize)]
    struct Child {
        task: TaskId,
    }
    let mark = event.step?;
    let is_outcome = mark.kind == StepKind::Tool && mark.status == StepStatus::Completed;
    let outcome = is_outcome.then(|| serde_json::from_slice::<Outcome>(&event.body).ok());
    Some((mark.number, outcome.flatten()?.child.task))
}

fn ended_child(event: &NewEvent) -> Option<TaskId> {
    if event.kind != "task.child_ended" {
        return None;
    }
    match TaskEvent::decode(&event.body) {
        Ok(TaskEvent::ChildEnded(end)) => Some(end.child),
        Ok(_) | Err(_) => None,
    }
}

/// Whether the body says that the machine made the call by itself.
fn is_of_machine(event: &NewEvent) -> bool {
    #[derive(serde::Deserialize)]
    struct Call {
        initiator: String,
    }
    let call = serde_json::from_slice::<Call>(&event.body);
    call.is_ok_and(|call| call.initiator == "machine")
}

#[cfg(test)]
mod tests;
