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
/// Prefix of the name of a signal that answers a question: the id of the call follows.
const QUESTION: &str = "human.";
/// The tool that puts questions.
const ASK_HUMAN: &str = "ask_human";

impl Engine {
    /// Stops a task and its children: at once if no worker holds the task, else as soon as its worker
    /// confirms. A repeated request changes nothing.
    ///
    /// # Errors
    /// `task_not_found`, `task_final` if the task ended otherwise, or a code of the storage.
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

    /// Pauses a task: at once if no worker holds the task, else when its step has ended. The event that the
    /// task waits for may still come. A repeated request changes nothing.
    ///
    /// # Errors
    /// `task_not_found`, `task_final`, `task_cancelling`, or a code of the storage.
    pub async fn pause(&self, caller: &Caller, task: TaskId) -> Result<TaskRecord, Error> {
        self.command(caller, task, TaskAction::Pause).await?;
        self.task(caller.tenant, task).await
    }

    /// Resumes a paused task. A task that is not paused stays unchanged.
    ///
    /// # Errors
    /// `task_not_found`, `task_final`, or a code of the storage.
    pub async fn resume(&self, caller: &Caller, task: TaskId) -> Result<TaskRecord, Error> {
        self.command(caller, task, TaskAction::Resume).await?;
        self.task(caller.tenant, task).await
    }

    /// Changes the named limits of a task's run. A run that waits because a limit is used up goes on; a run
    /// that a worker holds takes the limits at its next lease.
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

    /// Records an external event for a task's run. A call that waits for a signal of this name returns the
    /// payload; without such a call, the next call that waits. A name that begins with `QUESTION` answers a
    /// question, which must be open.
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
        let payload = match name.strip_prefix(QUESTION) {
            Some(call) => self.answer(caller.tenant, task, call, payload).await?,
            None => payload,
        };
        self.command(caller, task, TaskAction::Signal { name, payload })
            .await?;
        self.task(caller.tenant, task).await
    }

    /// Answers a call, if the call waits for an answer and takes this payload. The run names these signals,
    /// so that no answer may be kept for a later call: the question would be answered before the run asks.
    async fn answer(
        &self,
        tenant: TenantId,
        task: TaskId,
        call: &str,
        payload: Value,
    ) -> Result<Value, Error> {
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
        if let Some(step) = steps.iter().find(|step| is_open(step)) {
            let asks = step.name == ASK_HUMAN;
            return match step.input.as_ref().filter(|_| asks) {
                Some(input) => chosen(input, payload).map_err(|wrong| Error::invalid(vec![wrong])),
                None => Ok(payload),
            };
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

/// The option that an answer chooses, if the question has options. A number or a truth value stands for
/// the option that is written like it: a command line reads `1` as a number.
fn chosen(question: &Value, payload: Value) -> Result<Value, FieldError> {
    let options = question.get("options").and_then(Value::as_array);
    let options: Vec<&str> = options
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let text = match &payload {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(payload.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    match text {
        _ if options.is_empty() => Ok(payload),
        Some(text) if options.contains(&text.as_str()) => Ok(Value::String(text)),
        Some(_) | None => {
            let options: Vec<_> = options.iter().map(|option| format!("`{option}`")).collect();
            let message = format!(
                "is none of the options of the question: {}",
                options.join(", ")
            );
            Err(FieldError::new(&["payload"], "enum", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_one_of_the_options() {
        let free = json!({"question": "why?"});
        let choice = json!({"question": "which?", "options": ["red", "1", "true", "red or blue"]});
        for payload in [json!("anything"), json!({"a": 1}), json!(null)] {
            assert_eq!(chosen(&free, payload.clone()), Ok(payload));
        }
        for (payload, expected) in [
            (json!("red"), "red"),
            (json!("red or blue"), "red or blue"),
            (json!(1), "1"),
            (json!(true), "true"),
        ] {
            assert_eq!(chosen(&choice, payload), Ok(json!(expected)));
        }
        for wrong in [
            json!("blue"),
            json!("Red"),
            json!(" red"),
            json!(1.0),
            json!(null),
            json!(["red"]),
            json!({"answer": "red"}),
        ] {
            let error = chosen(&choice, wrong).unwrap_err();
            assert_eq!(error.path, ["payload"]);
            assert!(error.message.contains("`red`, `1`"), "{error:?}");
        }
    }
}
