//! Repeating a task: from its start, from one of its steps, or from the point at which the task was given
//! up. The original never changes.

use ops_core::{
    Caller, Code, Json, State, StoredEvent, TaskId, TenantId,
    ports::{TaskFilter, TaskRecord},
    rules::fork::{self, Anew, Refused},
};
use serde_json::Value;

use crate::{
    Accepted, Engine, Error, FieldError, Submit,
    commands::{PAGE, TASKS_PER_READ},
    submit::{EngineLabels, Order, OrderKey, of_rerun, of_retry},
};

/// How a task is to be done again.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rerun {
    /// The first step that is done anew; the copy keeps the steps before. `None` for all steps.
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

/// Outcome for a dead letter.
#[derive(Debug)]
pub struct Redriven {
    /// The dead letter.
    pub from: TaskId,
    /// The new task; `None` in a dry run.
    pub task: Result<Option<TaskId>, Error>,
}

impl Engine {
    /// Repeats an ended task, as a new task with the same input. `key` is the client's, which makes a
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
        self.accept(caller, order).await
    }

    /// Repeats a task from one of its steps, as a new task whose log begins with the same events. The new
    /// task keeps the results of the calls before that step; the calls are neither made nor paid again.
    ///
    /// # Errors
    /// `task_not_found`, `cannot_rerun` if the step does not exist or no run can go on there,
    /// `invalid_body` if the request does not fit the step, or a code of [`Engine::submit`].
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
        self.accept(caller, order).await
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
        self.accept(caller, order).await
    }

    /// Redrives dead letters, newest first, at most `limit`; `dry_run` only names the dead letters.
    ///
    /// # Errors
    /// A code of the storage. The refusal of one dead letter is in its entry.
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
                limit: TASKS_PER_READ.min(left),
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

/// Whether a command only shows its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DryRun {
    /// The command changes nothing.
    Yes,
    /// The command takes effect.
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
