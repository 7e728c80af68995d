//! Rows, and how they are found.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use ops_core::{
    AgentDigest, AgentName, Approval, Micros, State, StoredEvent, TaskId, TenantId, Wait,
    agent::{Agent, AgentVersion},
    budget::{Amount, BudgetCall, Window},
    event::StepKind,
    mcp::McpPins,
    ports::{EVENT_BYTES, Snapshot, StoreError, TaskRecord},
    provider::{ProviderKey, ProviderState},
    rules::{
        claim,
        links::{Waiter, turns},
    },
    schedule::{RunOutcome, Schedule, ScheduleName, ScheduleRun},
    stats::Work,
    verbs::Key,
};
use sha2::{Digest as _, Sha256};

use crate::sessions::Sessions;

/// The most events that are read in one go.
const EVENT_PAGE: u32 = 1_024;

/// A task.
pub(crate) struct Row {
    /// Tasks are numbered as they are stored.
    pub(crate) number: i64,
    pub(crate) record: TaskRecord,
    /// The events, each with the epoch that it was written under.
    pub(crate) log: Vec<(u64, StoredEvent)>,
    pub(crate) snapshot: Option<Snapshot>,
    /// Whether another task has taken over the dead letter.
    pub(crate) redriven: bool,
    /// The digests of the values that it refers to.
    pub(crate) values: BTreeSet<String>,
}

/// A schedule with its runs, oldest first.
pub(crate) struct Scheduled {
    pub(crate) schedule: Schedule,
    pub(crate) runs: Vec<ScheduleRun>,
}

/// What is left of a task that was taken away.
pub(crate) struct Tombstone {
    pub(crate) key: Key,
    pub(crate) events: usize,
    pub(crate) values: BTreeSet<String>,
}

/// Everything that is stored.
pub(crate) struct Data {
    pub(crate) tasks: BTreeMap<Key, Row>,
    pub(crate) numbered: i64,
    pub(crate) idempotency: BTreeMap<(TenantId, String), ([u8; 32], TaskId)>,
    pub(crate) approvals: BTreeMap<i64, (TenantId, Approval)>,
    pub(crate) values: BTreeMap<(TenantId, String), Bytes>,
    pub(crate) rates: BTreeMap<String, Micros>,
    pub(crate) ledgers: BTreeMap<(TenantId, Window), Amount>,
    /// The calls of tasks, with the epoch of their lease.
    pub(crate) budget_calls: BTreeMap<Key, (u64, Vec<BudgetCall>)>,
    pub(crate) providers: BTreeMap<ProviderKey, ProviderState>,
    pub(crate) agents: BTreeMap<(TenantId, AgentName), Agent>,
    pub(crate) versions: Vec<AgentVersion>,
    pub(crate) schedules: BTreeMap<(TenantId, ScheduleName), Scheduled>,
    pub(crate) mcp_servers: BTreeMap<(TenantId, String), McpPins>,
    pub(crate) tombstones: Vec<Tombstone>,
    pub(crate) loose: BTreeSet<(TenantId, String)>,
    pub(crate) sessions: Sessions,
    pub(crate) work: Work,
}

impl Data {
    pub(crate) fn new(session_ttl: Duration) -> Self {
        Self {
            tasks: BTreeMap::new(),
            numbered: 0,
            idempotency: BTreeMap::new(),
            approvals: BTreeMap::new(),
            values: BTreeMap::new(),
            rates: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            budget_calls: BTreeMap::new(),
            providers: BTreeMap::new(),
            agents: BTreeMap::new(),
            versions: Vec::new(),
            schedules: BTreeMap::new(),
            mcp_servers: BTreeMap::new(),
            tombstones: Vec::new(),
            loose: BTreeSet::new(),
            sessions: Sessions::new(session_ttl),
            work: Work::default(),
        }
    }

    pub(crate) fn row(&self, key: Key) -> Result<&Row, StoreError> {
        self.tasks.get(&key).ok_or(StoreError::NotFound)
    }

    /// Events after a number, as far as their bodies fit.
    pub(crate) fn events(
        &self,
        key: Key,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let log = &self.row(key)?.log;
        let mut found: Vec<StoredEvent> = Vec::new();
        let mut bytes = 0;
        let later = log.iter().filter(|(_, event)| event.seq > after);
        for (_, event) in later.take(limit.min(EVENT_PAGE) as usize) {
            bytes += event.event.body.len();
            if bytes > EVENT_BYTES && !found.is_empty() {
                break;
            }
            found.push(event.clone());
        }
        Ok(found)
    }

    /// The last event of a model step at or before a number.
    pub(crate) fn turn_start(&self, key: Key, seq: u64) -> Result<u64, StoreError> {
        let is_model = |event: &StoredEvent| {
            let mark = event.event.step;
            event.seq <= seq && mark.is_some_and(|mark| mark.kind == StepKind::Model)
        };
        let log = &self.row(key)?.log;
        let last = log.iter().rev().find(|(_, event)| is_model(event));
        Ok(last.map_or(0, |(_, event)| event.seq))
    }

    /// A slice of a value.
    pub(crate) fn slice(
        &self,
        tenant: TenantId,
        digest: &str,
        offset: u64,
        len: u64,
    ) -> Result<Vec<u8>, StoreError> {
        let found = self.values.get(&(tenant, digest.to_owned()));
        let bytes = found.ok_or(StoreError::NotFound)?;
        let place = |at: u64| usize::try_from(at).map_or(bytes.len(), |at| at.min(bytes.len()));
        let start = place(offset);
        let end = place(offset.saturating_add(len));
        Ok(bytes[start..end].to_vec())
    }

    /// The children of a task.
    pub(crate) fn children_of(&self, (tenant, task): Key) -> impl Iterator<Item = (Key, &Row)> {
        let is_child = move |row: &Row| {
            let parent = row.record.task.parent;
            parent.is_some_and(|parent| parent.task == task)
        };
        let of_tenant = self.tasks.iter().filter(move |(key, _)| key.0 == tenant);
        let children = of_tenant.filter(move |(_, row)| is_child(row));
        children.map(|(key, row)| (*key, row))
    }

    /// The parent of a task, unless it was deleted.
    pub(crate) fn parent_of(&self, (tenant, task): Key) -> Option<Key> {
        let parent = self.tasks.get(&(tenant, task))?.record.task.parent?;
        let key = (tenant, parent.task);
        self.tasks.contains_key(&key).then_some(key)
    }

    /// Whether a task has started under a concurrency key and has not ended.
    pub(crate) fn is_held(&self, tenant: TenantId, key: &str) -> bool {
        self.tasks.iter().any(|((owner, _), row)| {
            let life = &row.record.life;
            *owner == tenant
                && row.record.task.concurrency_key.as_deref() == Some(key)
                && life.started_at.is_some()
                && life.completed_at.is_none()
        })
    }

    /// The tasks whose turn it is to take the key of a task, unless another one holds the key.
    pub(crate) fn turns(&self, (tenant, task): Key, now: Micros) -> Vec<Key> {
        let done = self.tasks.get(&(tenant, task));
        let Some(key) = done.and_then(|row| row.record.task.concurrency_key.as_deref()) else {
            return Vec::new();
        };
        if self.is_held(tenant, key) {
            return Vec::new();
        }
        let waits = |row: &Row| {
            let life = &row.record.life;
            row.record.task.concurrency_key.as_deref() == Some(key)
                && matches!(life.state, State::Waiting(Wait::Concurrency { .. }))
                && !life.paused
        };
        let of_tenant = self.tasks.iter().filter(|(key, _)| key.0 == tenant);
        let waiting = of_tenant.filter(|(_, row)| waits(row));
        let waiters = waiting.map(|((_, id), row)| Waiter {
            task: *id,
            queue: &row.record.task.queue,
            priority: row.record.task.priority,
            since: claim::waits_since(
                row.record.task.created_at,
                row.record.task.run_at,
                row.record.life.updated_at,
            ),
        });
        let turns = turns(waiters, now).into_iter();
        turns.map(|task| (tenant, task)).collect()
    }

    /// The approval that a step asked for, with its number.
    pub(crate) fn approval_of(&self, (tenant, task): Key, step: u32) -> Option<(i64, &Approval)> {
        let found = self.approvals.iter().find(|(_, (owner, approval))| {
            *owner == tenant && approval.task == task && approval.request.step == step
        });
        found.map(|(number, (_, approval))| (*number, approval))
    }

    /// Whether a task of the schedule has not ended.
    pub(crate) fn is_busy(&self, schedule: &Scheduled) -> bool {
        let tenant = schedule.schedule.tenant;
        schedule
            .runs
            .iter()
            .any(|run| self.goes_on(tenant, &run.outcome))
    }

    /// Whether the task of a run has not ended.
    fn goes_on(&self, tenant: TenantId, outcome: &RunOutcome) -> bool {
        let RunOutcome::Started(task) = outcome else {
            return false;
        };
        let row = self.tasks.get(&(tenant, *task));
        row.is_some_and(|row| !row.record.life.state.name().is_terminal())
    }

    /// The version of a digest.
    pub(crate) fn version_of(
        &self,
        tenant: TenantId,
        digest: AgentDigest,
    ) -> Option<&AgentVersion> {
        let mut versions = self.versions.iter();
        versions.find(|version| version.tenant == tenant && version.spec.digest == digest)
    }
}

/// SHA-256 of a value, in hex.
pub(crate) fn digest(bytes: &[u8]) -> String {
    units::hex::encode(Sha256::digest(bytes))
}
