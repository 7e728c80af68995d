//! Stopping, pausing and telling things to a task.

use ops_core::{
    Code, Command, Rejection, TaskId, TenantId,
    ports::{StoreError, TaskRecord},
    task::TaskLimits,
};
use serde_json::Value;

use crate::{Engine, Error, FieldError, submit};

/// The longest name of a signal, in bytes.
const MAX_SIGNAL_NAME: usize = 128;

impl Engine {
    /// Stops a task and its children: at once if no worker holds it, else as soon as its worker
    /// confirms. Asking again while it is being cancelled, or once it is cancelled, changes nothing.
    ///
    /// # Errors
    /// `task_not_found`, `task_final` if it ended otherwise, or a code of the storage.
    pub async fn cancel(&self, tenant: TenantId, task: TaskId) -> Result<TaskRecord, Error> {
        match self.command(tenant, task, Command::Cancel).await {
            Ok(_) | Err(StoreError::Rejected(Rejection::Cancelling)) => {}
            Err(error) => {
                let record = self.store.task(tenant, task).await?;
                if record.life.state != ops_core::State::Cancelled {
                    return Err(error.into());
                }
            }
        }
        self.task(tenant, task).await
    }

    /// Makes a task stand still: at once if no worker holds it, else when its step has ended. What it
    /// waits for may still come. Asking again changes nothing.
    ///
    /// # Errors
    /// `task_not_found`, `task_final`, `task_cancelling`, or a code of the storage.
    pub async fn pause(&self, tenant: TenantId, task: TaskId) -> Result<TaskRecord, Error> {
        self.command(tenant, task, Command::Pause).await?;
        self.task(tenant, task).await
    }

    /// Lets a paused task go on. One that is not paused is left as it is.
    ///
    /// # Errors
    /// `task_not_found`, `task_final`, or a code of the storage.
    pub async fn resume(&self, tenant: TenantId, task: TaskId) -> Result<TaskRecord, Error> {
        self.command(tenant, task, Command::Resume).await?;
        self.task(tenant, task).await
    }

    /// Gives a task's run other limits, those that are named. A run that waits because one is used up
    /// goes on; one that a worker holds has them from when it is next taken up.
    ///
    /// # Errors
    /// `invalid_body`, `task_not_found`, `task_final`, or a code of the storage.
    pub async fn limit(
        &self,
        tenant: TenantId,
        task: TaskId,
        limits: TaskLimits,
    ) -> Result<TaskRecord, Error> {
        let mut wrong = submit::wrong_limits(&limits, &[]);
        if limits == TaskLimits::default() {
            let message = "name at least one limit: `max_steps`, `max_tokens`, `max_cost_usd` or \
                           `timeout`";
            wrong.push(FieldError::new(&[], "missing", message));
        }
        if !wrong.is_empty() {
            return Err(Error::invalid(wrong));
        }
        self.command(tenant, task, Command::Limit(limits)).await?;
        self.task(tenant, task).await
    }

    /// Tells something to a task's run. A call that waits for a signal of this name returns the
    /// payload; if none does yet, the first that will.
    ///
    /// # Errors
    /// `invalid_body`, `task_not_found`, `task_final`, or a code of the storage.
    pub async fn signal(
        &self,
        tenant: TenantId,
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
                    "`payload` has {size} bytes, more than the limit of {}",
                    self.settings.max_input_bytes
                ),
            ));
        }
        self.command(tenant, task, Command::Signal { name, payload })
            .await?;
        self.task(tenant, task).await
    }
}
