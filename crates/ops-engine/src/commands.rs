//! Commands and queries for surfaces.

use ops_core::{
    Caller, Code, Lifecycle, StoredEvent, TaskAction, TaskId, TenantId,
    event::Resolution,
    ports::{Counts, LIST_BYTES, Listed, StoreError, TaskFilter, TaskRecord},
    stats::Stats,
};

use crate::{Engine, Error, Step, approvals::check_name, steps::Fold};

/// The most events of a page.
pub(crate) const PAGE: u32 = 1_000;
/// Tasks that are read at once where the work is with each of them.
pub(crate) const TASKS_PER_READ: u32 = 32;
/// A page of steps ends where their events have so many bytes.
const STEP_BYTES: usize = 4 << 20;

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

/// A page of the steps that are in doubt.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DoubtPage {
    /// The steps, each with its task.
    pub steps: Vec<(TaskId, Step)>,
    /// The task to go on before, if there are more.
    pub next: Option<TaskId>,
}

impl Engine {
    /// One task.
    ///
    /// # Errors
    /// `task_not_found`, or a code of the storage.
    pub async fn task(&self, tenant: TenantId, task: TaskId) -> Result<TaskRecord, Error> {
        Ok(self.store.task(tenant, task).await?)
    }

    /// Tasks, newest first. Unreadable tasks are named beside them.
    ///
    /// # Errors
    /// A code of the storage.
    pub async fn tasks(
        &self,
        tenant: TenantId,
        filter: TaskFilter,
    ) -> Result<Listed<TaskRecord>, Error> {
        Ok(self.store.tasks(tenant, filter).await?)
    }

    /// The number of tasks that a filter fits, over all pages.
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

    /// Settles a step that is in doubt. `by` is the person who decides, as the client names them.
    ///
    /// # Errors
    /// `invalid_body`, `task_not_found`, `not_in_doubt`, `task_final`, or a code of the storage.
    pub async fn resolve(
        &self,
        caller: &Caller,
        task: TaskId,
        step: u32,
        resolution: Resolution,
        by: Option<String>,
    ) -> Result<TaskRecord, Error> {
        check_name(by.as_deref())?;
        let action = TaskAction::Resolve {
            step,
            resolution,
            by,
        };
        self.command(caller, task, action).await?;
        self.task(caller.tenant, task).await
    }

    /// The steps that are in doubt, of the newest tasks first: the steps of at most `limit` tasks before a
    /// task, and of fewer where the steps are large.
    ///
    /// # Errors
    /// A code of the storage.
    pub async fn reconciliations(
        &self,
        tenant: TenantId,
        before: Option<TaskId>,
        limit: u32,
    ) -> Result<DoubtPage, Error> {
        let mut page = DoubtPage::default();
        let (mut before, mut left, mut bytes) = (before, limit, 0);
        loop {
            let filter = TaskFilter {
                in_doubt: true,
                before,
                // One more shows whether there are more.
                limit: TASKS_PER_READ.min(left.saturating_add(1)),
                without_large: true,
                ..TaskFilter::default()
            };
            let full = filter.limit;
            let records = self.store.tasks(tenant, filter).await?;
            let ends = records.len() < full as usize;
            for record in records {
                if left == 0 || bytes > LIST_BYTES {
                    page.next = before;
                    return Ok(page);
                }
                for step in self.doubtful(tenant, &record.life).await? {
                    bytes += step
                        .input
                        .as_ref()
                        .map_or(0, |input| input.to_string().len());
                    page.steps.push((record.task.id, step));
                }
                before = Some(record.task.id);
                left -= 1;
            }
            if ends {
                return Ok(page);
            }
        }
    }

    /// The steps of a task that are in doubt: they are of its last turn.
    async fn doubtful(&self, tenant: TenantId, life: &Lifecycle) -> Result<Vec<Step>, Error> {
        let mut steps = self.last_turn(tenant, life).await?;
        steps.retain(Step::is_in_doubt);
        Ok(steps)
    }

    /// The tool calls of a task's last turn, open calls among them.
    pub(crate) async fn last_turn(
        &self,
        tenant: TenantId,
        life: &Lifecycle,
    ) -> Result<Vec<Step>, Error> {
        let turn = self.store.turn_start(tenant, life.id, life.seq).await?;
        let fold = Fold::new(turn, u32::MAX, usize::MAX);
        Ok(self.fold(tenant, life, turn, fold).await?.steps)
    }

    /// A task's lifecycle: its record without input and result.
    ///
    /// # Errors
    /// `task_not_found`, or a code of the storage.
    pub async fn life(&self, tenant: TenantId, task: TaskId) -> Result<Lifecycle, Error> {
        Ok(self.store.life(tenant, task).await?)
    }

    /// Events with a number above `after`; fewer than `limit` where they are large.
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
        let last = self.store.life(tenant, task).await?.seq;
        let events = self.store.events(tenant, task, after, limit).await?;
        let next = events.last().map(|event| event.seq);
        Ok(EventPage {
            events,
            next: next.filter(|seq| *seq < last),
        })
    }

    /// Steps whose first event has a number above `after`; fewer than `limit` where they are large.
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
        let life = self.store.life(tenant, task).await?;
        let turn = match after {
            0 => 0,
            after => self.store.turn_start(tenant, task, after).await?,
        };
        let fold = Fold::new(after, limit, STEP_BYTES);
        self.fold(tenant, &life, turn.saturating_sub(1), fold).await
    }

    /// Folds the log after an event, until the page is whole.
    async fn fold(
        &self,
        tenant: TenantId,
        life: &Lifecycle,
        after: u64,
        mut fold: Fold,
    ) -> Result<StepPage, Error> {
        let mut seq = after;
        while seq < life.seq && !fold.is_whole() {
            let limit = fold.wanted();
            let events = self.store.events(tenant, life.id, seq, limit).await?;
            let Some(last) = events.last() else { break };
            seq = last.seq;
            events.iter().for_each(|event| fold.add(event));
        }
        Ok(fold.finish(life))
    }

    /// Counters of the store since the store was opened, and outcomes of the runs of schedules.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.store.stats();
        stats.metrics.extend(self.schedule_runs.metrics());
        stats
    }

    /// A slice of a large value that an event refers to; empty past its end.
    ///
    /// # Errors
    /// `storage_damaged` if there is no such value, or a code of the storage.
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
                Code::StorageDamaged,
                format!("the large value {digest} is missing from the database"),
            ),
            other => other.into(),
        })
    }

    /// Warnings of a store that works, for the operator.
    ///
    /// # Errors
    /// The code that every write fails with, while writes fail.
    pub fn storage_warnings(&self) -> Result<Vec<String>, Error> {
        let health = self.upkeep.health();
        match health.failure {
            Some(failure) => Err(failure.into()),
            None => Ok(health.warnings),
        }
    }

    pub(crate) async fn command(
        &self,
        caller: &Caller,
        task: TaskId,
        action: TaskAction,
    ) -> Result<Lifecycle, StoreError> {
        let command = action.by(caller.actor.clone());
        self.store.command(caller.tenant, task, command).await
    }
}
