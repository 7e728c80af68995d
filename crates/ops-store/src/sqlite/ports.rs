//! The ports, by who calls. Each verb packs its large values, asks the writer or a reader, and completes
//! the answer.

mod agents;
mod retention;
mod runs;
mod schedules;
mod tasks;
mod upkeep;

use ops_core::ports::StoreError;
use tokio::sync::oneshot;

use crate::sqlite::{
    error::Fault,
    store::{SqliteStore, stopped},
    writer::{batch::Batch, job::Job},
};

impl SqliteStore {
    /// Asks the writer, and waits for its answer.
    async fn ask<T>(
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
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Job::replying(work, reply), answer).await
    }
}
