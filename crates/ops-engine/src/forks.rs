//! Doing a task again: from its start, from one of its steps, or from where it was given up. The
//! original is never changed.

use ops_core::{
    Caller, Code, Json, State, StoredEvent, TaskId, TenantId,
    ports::{TaskFilter, TaskRecord},
    rules::fork::{self, Anew, Refused},
};
use serde_json::Value;

use crate::{
    Accepted, Engine, Error, FieldError, Submit,
    commands::{FEW, PAGE},
    submit::{EngineLabels, Order, OrderKey, of_rerun, of_retry},
};

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
                let anew = Anew {
                    step,
                    input: rerun.input,
                    message: rerun.message,
                };
                order.fork = Some(fork::rerun(&log, task, anew)?);
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
        let mut fork = fork::redrive(&log, task);
        for end in &mut fork.lost {
            // Retention may have deleted it.
            if let Ok(record) = self.store.task(caller.tenant, end.child).await {
                *end = fork::child_end(end.child, Some(&record));
            }
        }
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

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        let message = refused.to_string();
        match refused {
            Refused::NoArguments(_) => Self::invalid(vec![FieldError::new(
                &["arguments"],
                "value_error",
                message,
            )]),
            Refused::NoMessage(_) => {
                Self::invalid(vec![FieldError::new(&["message"], "value_error", message)])
            }
            Refused::NoStep { .. } | Refused::OfMachine(_) | Refused::Child { .. } => {
                Self::new(Code::CannotRerun, message)
            }
        }
    }
}
