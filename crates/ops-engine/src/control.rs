//! Stopping, pausing and telling things to a task.

use ops_core::{
    Caller, Code, Rejection, TaskAction, TaskId, TenantId,
    ports::{StoreError, TaskRecord},
    task::{StateName, TaskLimits},
};
use serde_json::Value;

use crate::{Engine, Error, FieldError, Step, StepState, submit};

/// The longest name of a signal, in bytes.
const MAX_SIGNAL_NAME: usize = 128;
/// What the name of a signal begins with that answers a question: the id of its call follows.
const QUESTION: &str = "human.";
/// The tool that puts questions.
const ASK_HUMAN: &str = "ask_human";

impl Engine {
    /// Stops a task and its children: at once if no worker holds it, else as soon as its worker
    /// confirms. Asking again while it is being cancelled, or once it is cancelled, changes nothing.
    ///
    /// # Errors
    /// `task_not_found`, `task_final` if it ended otherwise, or a code of the storage.
    pub async fn cancel(&self, caller: &Caller, task: TaskId) -> Result<TaskRecord, Error> {
        match self.command(caller, task, TaskAction::Cancel).await {
            Ok(_) | Err(StoreError::Rejected(Rejection::Cancelling)) => {}
            Err(error) => {
                let record = self.store.task(caller.tenant, task).await?;
                if record.life.state.name() != StateName::Cancelled {
                    return Err(error.into());
                }
            }
        }
        self.task(caller.tenant, task).await
    }

    /// Makes a task stand still: at once if no worker holds it, else when its step has ended. What it
    /// waits for may still come. Asking again changes nothing.
    ///
    /// # Errors
    /// `task_not_found`, `task_final`, `task_cancelling`, or a code of the storage.
    pub async fn pause(&self, caller: &Caller, task: TaskId) -> Result<TaskRecord, Error> {
        self.command(caller, task, TaskAction::Pause).await?;
        self.task(caller.tenant, task).await
    }

    /// Lets a paused task go on. One that is not paused is left as it is.
    ///
    /// # Errors
    /// `task_not_found`, `task_final`, or a code of the storage.
    pub async fn resume(&self, caller: &Caller, task: TaskId) -> Result<TaskRecord, Error> {
        self.command(caller, task, TaskAction::Resume).await?;
        self.task(caller.tenant, task).await
    }

    /// Gives a task's run other limits, those that are named. A run that waits because one is used up
    /// goes on; one that a worker holds has them from when it is next taken up.
    ///
    /// # Errors
    /// `invalid_body`, `task_not_found`, `task_final`, or a code of the storage.
    pub async fn limit(
        &self,
        caller: &Caller,
        task: TaskId,
        limits: TaskLimits,
    ) -> Result<TaskRecord, Error> {
        let mut wrong = submit::wrong_limits(&limits, &[]);
        if limits == TaskLimits::default() {
            let message = "name at least one limit: of steps, tokens, cost or time";
            wrong.push(FieldError::new(&[], "missing", message));
        }
        if !wrong.is_empty() {
            return Err(Error::invalid(wrong));
        }
        self.command(caller, task, TaskAction::Limit(limits))
            .await?;
        self.task(caller.tenant, task).await
    }

    /// Records an external event for a task's run. A call that waits for a signal of this name returns
    /// the payload; if none does yet, the first that will. A name with `QUESTION` before it answers
    /// a question, which must be open.
    ///
    /// # Errors
    /// `invalid_body`, `question_not_open`, `task_not_found`, `task_final`, or a code of the storage.
    pub async fn signal(
        &self,
        caller: &Caller,
        task: TaskId,
        name: String,
        payload: Value,
    ) -> Result<TaskRecord, Error> {
        if name.is_empty() || name.len() > MAX_SIGNAL_NAME {
            let message = "must have 1 to 128 bytes";
            return Err(Error::invalid(vec![FieldError::new(
                &["name"],
                "value_error",
                message,
            )]));
        }
        let size = payload.to_string().len();
        if size > self.settings.max_input_bytes {
            return Err(Error::new(
                Code::BodyTooLarge,
                format!(
                    "the payload has {size} bytes, more than the limit of {}",
                    self.settings.max_input_bytes
                ),
            ));
        }
        if let Some(call) = name.strip_prefix(QUESTION) {
            self.check_question(caller.tenant, task, call).await?;
        }
        self.command(caller, task, TaskAction::Signal { name, payload })
            .await?;
        self.task(caller.tenant, task).await
    }

    /// Whether a call waits for its answer. The run names these signals, so that none may be kept for
    /// a call that comes later: its question would be answered before it is put.
    async fn check_question(
        &self,
        tenant: TenantId,
        task: TaskId,
        call: &str,
    ) -> Result<(), Error> {
        let life = self.store.life(tenant, task).await?;
        if life.state.name().is_terminal() {
            return Err(StoreError::from(Rejection::Terminal(life.state.name())).into());
        }
        let number = call
            .strip_prefix("call_")
            .and_then(|number| number.parse().ok());
        let steps = self.last_turn(tenant, &life).await?;
        let is_open = |step: &Step| {
            step.number == number && number.is_some() && step.status == StepState::Waiting
        };
        if steps.iter().any(is_open) {
            return Ok(());
        }
        let open: Vec<_> = steps
            .iter()
            .filter(|step| step.status == StepState::Waiting && step.name == ASK_HUMAN)
            .filter_map(|step| Some(format!("`{QUESTION}call_{}`", step.number?)))
            .collect();
        let open = match open.as_slice() {
            [] => "the task has no open question".to_owned(),
            open => format!("open are {}", open.join(", ")),
        };
        let call: String = call.chars().take(80).collect();
        let message = format!("no question waits for `{QUESTION}{call}`; {open}");
        Err(Error::new(Code::QuestionNotOpen, message))
    }
}
