//! Doing a task again: from its start, from one of its steps, or from where it was given up. The
//! original is never changed.

use ops_core::{
    Caller, Code, Json, State, StoredEvent, TaskId, TenantId,
    event::{Resolution, StepKind, StepMark, StepStatus, TaskEvent},
    ports::{Fork, TaskFilter, TaskRecord},
};
use serde_json::Value;

use crate::{
    Accepted, Engine, Error, FieldError, Submit,
    commands::{FEW, PAGE},
    submit::{EngineLabels, Order, OrderKey, of_rerun, of_retry},
};

/// The most children that one task may have had to be done again from a step.
const MOST_CHILDREN: u32 = 100_000;

/// How a task is to be done again.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rerun {
    /// The first step that is done anew; the ones before it are taken over. None for all of them.
    pub from_step: Option<u32>,
    /// Other arguments for that step, if it is a tool call.
    pub input: Option<Value>,
    /// A message to the model before that step, if it is a model call.
    pub message: Option<String>,
    /// Another input for the task, if it is done from its start.
    pub input_data: Option<Json>,
    /// The client's key, which makes a repeated request find the same task.
    pub key: Option<String>,
}

/// What became of a dead letter.
#[derive(Debug)]
pub struct Redriven {
    /// The dead letter.
    pub from: TaskId,
    /// The task that goes on from it; none in a dry run.
    pub task: Result<Option<TaskId>, Error>,
}

impl Engine {
    /// Does an ended task again, as a new one with the same input. `key` is the client's, which makes a
    /// repeated request find the same task.
    ///
    /// # Errors
    /// `task_not_found`, `task_not_final`, or a code of [`Engine::submit`].
    pub async fn retry(
        &self,
        caller: &Caller,
        task: TaskId,
        key: Option<String>,
    ) -> Result<Accepted, Error> {
        let old = self.store.task(caller.tenant, task).await?;
        let state = old.life.state.name();
        if !state.is_terminal() {
            let message = format!("the task is {state}; only an ended task can be done again");
            return Err(Error::new(Code::TaskNotFinal, message));
        }
        let mut order = again(old);
        let digest = of_retry(task);
        order.key = key.map(|key| OrderKey::Client { key, digest });
        self.place(caller, order).await
    }

    /// Does a task again from one of its steps, as a new task whose log begins with the same events.
    /// What the calls before that step returned is taken over; they are neither made nor paid again.
    ///
    /// # Errors
    /// `task_not_found`, `cannot_rerun` if there is no such step or it is not a place to go on from,
    /// `invalid_body` if the wish does not fit the step, or a code of [`Engine::submit`].
    pub async fn rerun(
        &self,
        caller: &Caller,
        task: TaskId,
        rerun: Rerun,
    ) -> Result<Accepted, Error> {
        let old = self.store.task(caller.tenant, task).await?;
        let mut order = again(old);
        let key = rerun.key.clone();
        order.key = key.map(|key| OrderKey::Client {
            key,
            digest: of_rerun(task, &rerun),
        });
        match rerun.from_step {
            None => {
                refuse(&[
                    (
                        rerun.input.is_some(),
                        "arguments",
                        "goes with `from_step` only",
                    ),
                    (
                        rerun.message.is_some(),
                        "message",
                        "goes with `from_step` only",
                    ),
                ])?;
                if let Some(input) = rerun.input_data {
                    order.submit.input = input;
                }
            }
            Some(step) => {
                let message = "goes without `from_step`: what the steps before it were told stays";
                refuse(&[(rerun.input_data.is_some(), "input", message)])?;
                let log = self.log(caller.tenant, task).await?;
                let mut fork = cut(&log, task, step, &rerun)?;
                self.check_children(caller.tenant, task, &log, &mut fork)
                    .await?;
                order.fork = Some(fork);
            }
        }
        self.place(caller, order).await
    }

    /// Goes on from a dead letter with a new task that has its log and all its attempts again.
    /// Redriving one twice finds the same task.
    ///
    /// # Errors
    /// `task_not_found`, `not_dead_letter`, or a code of [`Engine::submit`].
    pub async fn redrive(&self, caller: &Caller, task: TaskId) -> Result<Accepted, Error> {
        let old = self.store.task(caller.tenant, task).await?;
        if !matches!(
            old.life.state,
            State::Failed {
                dead_letter: true,
                ..
            }
        ) {
            let state = old.life.state.name();
            let message = format!("the task is {state}, and was not given up after its attempts");
            return Err(Error::new(Code::NotDeadLetter, message));
        }
        let mut order = again(old);
        let log = self.log(caller.tenant, task).await?;
        let steps = log.iter().filter_map(|event| event.event.step);
        let last = steps.map(|mark| mark.number).max().unwrap_or(0);
        let mut fork = Fork {
            from: task,
            step: last + 1,
            until: log.last().map_or(0, |event| event.seq),
            also: Vec::new(),
            resets: open_calls(&log, &turn_of(&log, last + 1))
                .into_iter()
                .map(|step| (step, None))
                .collect(),
            note: None,
            redrives: true,
        };
        self.check_children(caller.tenant, task, &log, &mut fork)
            .await?;
        order.fork = Some(fork);
        order.key = Some(OrderKey::Redrive(task));
        self.place(caller, order).await
    }

    /// Redrives dead letters, newest first, at most `limit`; `dry_run` only names them.
    ///
    /// # Errors
    /// A code of the storage. What is wrong with one dead letter is said beside it.
    pub async fn redrive_all(
        &self,
        caller: &Caller,
        limit: u32,
        dry_run: DryRun,
    ) -> Result<Vec<Redriven>, Error> {
        let (mut done, mut left, mut before) = (Vec::new(), limit, None);
        while left > 0 {
            let filter = TaskFilter {
                dead_letter: true,
                before,
                limit: FEW.min(left),
                ..TaskFilter::default()
            };
            let records = self.store.tasks(caller.tenant, filter).await?;
            let Some(last) = records.last() else { break };
            before = Some(last.task.id);
            left = left.saturating_sub(u32::try_from(records.len()).unwrap_or(u32::MAX));
            for record in records {
                let from = record.task.id;
                let task = match dry_run {
                    DryRun::Yes => Ok(None),
                    DryRun::No => {
                        let redriven = self.redrive(caller, from).await;
                        redriven.map(|accepted| Some(accepted.submitted.record.task.id))
                    }
                };
                done.push(Redriven { from, task });
            }
        }
        Ok(done)
    }

    /// The whole log.
    async fn log(&self, tenant: TenantId, task: TaskId) -> Result<Vec<StoredEvent>, Error> {
        let mut log: Vec<StoredEvent> = Vec::new();
        loop {
            let after = log.last().map_or(0, |event| event.seq);
            let mut page = self.store.events(tenant, task, after, PAGE).await?;
            if page.is_empty() {
                return Ok(log);
            }
            log.append(&mut page);
        }
    }

    /// A child answers to the task that started it: one that had not ended cannot be taken over. The
    /// end of one whose start is not taken over is left out.
    async fn check_children(
        &self,
        tenant: TenantId,
        task: TaskId,
        log: &[StoredEvent],
        fork: &mut Fork,
    ) -> Result<(), Error> {
        let filter = TaskFilter {
            parent: Some(task),
            limit: MOST_CHILDREN,
            ..TaskFilter::default()
        };
        for record in self.store.tasks(tenant, filter).await? {
            let child = record.task.id;
            let Some(parent) = record.task.parent else {
                continue;
            };
            let end = log.iter().find(|event| ended(event) == Some(child));
            if parent.step >= fork.step {
                fork.also
                    .retain(|seq| end.is_none_or(|end| end.seq != *seq));
                continue;
            }
            let taken =
                end.is_some_and(|end| end.seq <= fork.until || fork.also.contains(&end.seq));
            if !taken {
                let message = format!(
                    "step {} started {child}, which had not ended before step {}; rerun from step \
                     {} or from an earlier one",
                    parent.step, fork.step, parent.step
                );
                return Err(Error::new(Code::CannotRerun, message));
            }
        }
        Ok(())
    }
}

/// Whether something is only to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DryRun {
    /// Nothing is changed.
    Yes,
    /// It is done.
    No,
}

/// The same task once more.
fn again(old: TaskRecord) -> Order {
    let TaskRecord { mut task, life, .. } = old;
    let labels = EngineLabels::taken_from(&mut task.labels);
    Order {
        labels,
        is_inherited: true,
        retry_of: Some(task.id),
        ..Order::of(Submit {
            name: task.name,
            agent_id: task.agent_id,
            priority: task.priority,
            labels: task.labels,
            limits: task.limits,
            retry: Some(life.retry.into()),
            concurrency_key: task.concurrency_key,
            queue: task.queue,
            ..Submit::new(task.task_type, task.input)
        })
    }
}

fn refuse(parts: &[(bool, &str, &str)]) -> Result<(), Error> {
    let fields: Vec<_> = parts
        .iter()
        .filter(|(given, _, _)| *given)
        .map(|(_, name, message)| FieldError::new(&[name], "value_error", *message))
        .collect();
    if fields.is_empty() {
        Ok(())
    } else {
        Err(Error::invalid(fields))
    }
}

/// What a new log takes over of an old one so that it goes on at a step.
fn cut(log: &[StoredEvent], task: TaskId, step: u32, rerun: &Rerun) -> Result<Fork, Error> {
    let Some((first, mark)) = first_of(log, step) else {
        let steps = log.iter().filter_map(|event| event.event.step);
        let message = match steps.map(|mark| mark.number).max() {
            Some(last) => format!("the task has no step {step}; it has steps 1 to {last}"),
            None => "the task has no steps yet".to_owned(),
        };
        return Err(Error::new(Code::CannotRerun, message));
    };
    let mut fork = Fork {
        from: task,
        step,
        until: first - 1,
        also: Vec::new(),
        resets: Vec::new(),
        note: rerun.message.clone(),
        redrives: false,
    };
    match mark.kind {
        StepKind::Model => {
            let message = format!(
                "step {step} is a model call, which has no arguments; say something to the model \
                 with `message`"
            );
            refuse(&[(rerun.input.is_some(), "arguments", &message)])?;
        }
        StepKind::Tool => {
            let message = format!(
                "step {step} is a tool call; give it other arguments with `input`, or rerun from a \
                 model call"
            );
            refuse(&[(rerun.message.is_some(), "message", &message)])?;
            tool_cut(log, step, rerun.input.as_ref(), &mut fork);
        }
    }
    Ok(fork)
}

/// A tool call is done anew together with the calls after it of the same answer; the outcomes of the
/// calls before it are kept. One of those that has not begun is judged anew as well: an approval
/// holds for the task that asked for it.
fn tool_cut(log: &[StoredEvent], step: u32, input: Option<&Value>, fork: &mut Fork) {
    let calls: Vec<(u64, StepMark)> = turn_of(log, step);
    fork.until = calls
        .iter()
        .map(|(seq, _)| *seq)
        .max()
        .unwrap_or(fork.until);
    let mut open = open_calls(log, &calls);
    open.retain(|number| *number < step);
    let earlier = |event: &&StoredEvent| {
        event.seq > fork.until
            && event.event.step.is_some_and(|mark| {
                mark.number < step
                    && !open.contains(&mark.number)
                    && calls.iter().any(|(_, call)| call.number == mark.number)
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
    let anew = calls.iter().filter(|(_, call)| {
        let edited = call.number == step && input.is_some();
        let anew = call.number >= step && (call.status != StepStatus::Failed || edited);
        anew || open.contains(&call.number)
    });
    fork.resets = anew
        .map(|(_, call)| (call.number, input.filter(|_| call.number == step).cloned()))
        .collect();
    fork.also = also;
}

/// The first event of a step.
fn first_of(log: &[StoredEvent], step: u32) -> Option<(u64, StepMark)> {
    log.iter().find_map(|event| {
        let mark = event.event.step.filter(|mark| mark.number == step)?;
        Some((event.seq, mark))
    })
}

/// The first events of the calls that the model asked for together with a call.
fn turn_of(log: &[StoredEvent], step: u32) -> Vec<(u64, StepMark)> {
    let is_call = |number| first_of(log, number).filter(|(_, mark)| mark.kind == StepKind::Tool);
    let before = (1..step).rev().map_while(is_call);
    let after = (step..).map_while(is_call);
    let mut calls: Vec<_> = before.chain(after).collect();
    calls.sort_unstable_by_key(|(seq, _)| *seq);
    calls
}

/// Those of the calls that have not begun: they are queued, somebody is asked about them, or has
/// approved them.
fn open_calls(log: &[StoredEvent], calls: &[(u64, StepMark)]) -> Vec<u32> {
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
    calls
        .iter()
        .map(|(_, call)| call.number)
        .filter(is_open)
        .collect()
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

fn ended(event: &StoredEvent) -> Option<TaskId> {
    if event.event.kind != "task.child_ended" {
        return None;
    }
    match TaskEvent::decode(&event.event.body) {
        Ok(TaskEvent::ChildEnded(end)) => Some(end.child),
        Ok(_) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests;
