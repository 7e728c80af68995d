//! The prompts of model calls.

use ops_core::{Code, Json, TaskId, TenantId, ports::PromptError};

use crate::{Engine, Error};

impl Engine {
    /// What the last call of a model step was asked with, as JSON. It is made again from the log.
    ///
    /// # Errors
    /// `task_not_found`, `step_not_found`, `prompt_unavailable` where the agent cannot be made again, or a code of the
    /// storage.
    pub async fn prompt(&self, tenant: TenantId, task: TaskId, step: u32) -> Result<Json, Error> {
        let record = self.store.task(tenant, task).await?;
        let shown = self.prompts.prompt(&record, step).await;
        shown.map_err(|error| match error {
            PromptError::NoCall => Error::new(
                Code::StepNotFound,
                format!("step {step} of the task is no model call that has begun"),
            ),
            PromptError::Unavailable(why) => Error::new(
                Code::PromptUnavailable,
                format!("the prompt of step {step} cannot be made again: {why}"),
            ),
            PromptError::Store(error) => error.into(),
        })
    }
}
