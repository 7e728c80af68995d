//! What surfaces ask of the engine.

use ops_core::{
    Code, Command, Lifecycle, StoredEvent, TaskId, TenantId,
    event::Resolution,
    ports::{Counts, StoreError, TaskFilter, TaskRecord},
    retry::RetryPolicy,
    stats::Stats,
};

use crate::{Engine, Error, Step, steps};

/// Events that are read from the store at once.
pub(crate) const PAGE: u32 = 1_000;

/// A page of a task's log.
#[derive(Debug, Clone, PartialEq)]
pub struct EventPage {
    /// The events, in order.
    pub events: Vec<StoredEvent>,
    /// The number to ask for events after, if there are more.
    pub next: Option<u64>,
}

/// A page of a task's steps.
#[derive(Debug, Clone, PartialEq)]
pub struct StepPage {
    /// The steps, in the order of their first events.
    pub steps: Vec<Step>,
    /// The number to ask for steps after, if there are more.
    pub next: Option<u64>,
}

impl Engine {
    /// One task.
    ///
    /// # Errors
    /// `task_not_found`, or a code of the storage.
    pub async fn task(&self, tenant: TenantId, task: TaskId) -> Result<TaskRecord, Error> {
        Ok(self.store.task(tenant, task).await?)
    }

    /// Tasks, newest first.
    ///
    /// # Errors
    /// A code of the storage.
    pub async fn tasks(
        &self,
        tenant: TenantId,
        filter: TaskFilter,
    ) -> Result<Vec<TaskRecord>, Error> {
        Ok(self.store.tasks(tenant, filter).await?)
    }

    /// How many tasks a filter fits, whatever the page.
    ///
    /// # Errors
    /// A code of the storage.
    pub async fn count(&self, tenant: TenantId, filter: TaskFilter) -> Result<u64, Error> {
        Ok(self.store.count(tenant, filter).await?)
    }

    /// How many tasks there are in each state.
    ///
    /// # Errors
    /// A code of the storage.
    pub async fn counts(&self, tenant: TenantId) -> Result<Counts, Error> {
        Ok(self.store.counts(tenant).await?)
    }

    /// Decides what became of a step that is in doubt.
    ///
    /// # Errors
    /// `task_not_found`, `not_in_doubt`, `task_final`, or a code of the storage.
    pub async fn resolve(
        &self,
        tenant: TenantId,
        task: TaskId,
        step: u32,
        resolution: Resolution,
    ) -> Result<TaskRecord, Error> {
        self.command(tenant, task, Command::Resolve { step, resolution })
            .await?;
        self.task(tenant, task).await
    }

    /// The tasks that wait for somebody's word, with the steps that are in doubt.
    ///
    /// # Errors
    /// A code of the storage.
    pub async fn reconciliations(
        &self,
        tenant: TenantId,
        limit: u32,
    ) -> Result<Vec<(TaskRecord, Vec<Step>)>, Error> {
        let filter = TaskFilter {
            in_doubt: true,
            limit,
            ..TaskFilter::default()
        };
        let mut open = Vec::new();
        for record in self.store.tasks(tenant, filter).await? {
            let steps = self.steps(tenant, record.task.id, 0, u32::MAX).await?.steps;
            let doubtful = steps.into_iter().filter(Step::is_in_doubt).collect();
            open.push((record, doubtful));
        }
        Ok(open)
    }

    /// Events with a number above `after`.
    ///
    /// # Errors
    /// `task_not_found`, or a code of the storage.
    pub async fn events(
        &self,
        tenant: TenantId,
        task: TaskId,
        after: u64,
        limit: u32,
    ) -> Result<EventPage, Error> {
        let limit = limit.clamp(1, PAGE);
        let mut events = self.store.events(tenant, task, after, limit + 1).await?;
        let more = events.len() > limit as usize;
        events.truncate(limit as usize);
        let next = events.last().filter(|_| more).map(|event| event.seq);
        Ok(EventPage { events, next })
    }

    /// Steps whose first event has a number above `after`.
    ///
    /// # Errors
    /// `task_not_found`, or a code of the storage.
    pub async fn steps(
        &self,
        tenant: TenantId,
        task: TaskId,
        after: u64,
        limit: u32,
    ) -> Result<StepPage, Error> {
        let life = self.store.task(tenant, task).await?.life;
        let mut fold = steps::Fold::new(after, limit);
        let mut seq = 0;
        loop {
            let events = self.store.events(tenant, task, seq, PAGE).await?;
            let Some(last) = events.last() else { break };
            seq = last.seq;
            events.iter().for_each(|event| fold.add(event));
        }
        Ok(fold.finish(&life))
    }

    /// What the store has done since it was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.store.stats()
    }

    /// A slice of a large value that an event refers to; empty past its end.
    ///
    /// # Errors
    /// `storage_unavailable` if there is no such value, or a code of the storage.
    pub async fn blob(
        &self,
        tenant: TenantId,
        digest: &str,
        offset: u64,
        len: u64,
    ) -> Result<Vec<u8>, Error> {
        let slice = self.store.blob(tenant, digest, offset, len).await;
        slice.map_err(|error| match error {
            StoreError::NotFound => Error::new(
                Code::StorageUnavailable,
                format!("the large value {digest} is missing from the database"),
            ),
            other => other.into(),
        })
    }

    /// The policy of tasks that ask for none: what a partial wish changes.
    #[must_use]
    pub fn default_retry(&self) -> RetryPolicy {
        self.settings.retry
    }

    pub(crate) async fn command(
        &self,
        tenant: TenantId,
        task: TaskId,
        command: Command,
    ) -> Result<Lifecycle, StoreError> {
        self.store.apply(tenant, task, command, Vec::new()).await
    }
}
