//! The ports, by who calls. Each verb packs its large values, asks the writer or a reader, and completes
//! the answer.

mod agents;
mod budgets;
mod mcp;
mod retention;
mod runs;
mod schedules;
mod tasks;
mod upkeep;

use ops_core::ports::StoreError;
use tokio::sync::oneshot;

use crate::sqlite::{
    error::WriteError,
    store::{SqliteStore, stopped},
    writer::{batch::Batch, job::Job},
};

impl SqliteStore {
    /// Asks the writer, and waits for its answer.
    async fn submit_job<T>(
        &self,
        job: Job,
        answer: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.inbox
            .push(job)
            .map_err(|_| StoreError::Unavailable("the store is closed".into()))?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Has the writer do something. Work that is refused must have written nothing.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, WriteError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.submit_job(Job::replying(work, reply), answer).await
    }

    /// As [`Self::write`], for work that makes space: the work may use the space that is set aside.
    async fn delete<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, WriteError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = Job::replying(work, reply).deletion();
        self.submit_job(job, answer).await
    }
}
