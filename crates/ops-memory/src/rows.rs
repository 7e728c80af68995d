//! The port of the verbs: rows, found by scans.

use std::{ops::RangeInclusive, sync::Arc};

use ops_core::{
    AgentDigest, AgentName, Approval, ApprovalStatus, Json, Lifecycle, Micros, SessionId,
    StoredEvent, TaskId, TenantId,
    agent::{Agent, AgentVersion},
    budget::{Amount, BudgetCall, Waiter, Window},
    ports::{Blob, Snapshot, StoreError, TaskRecord},
    provider::{ProviderKey, ProviderState},
    rules::{
        Outcome,
        claim::{Class, Order, is_crash_loop_suspect},
        limits,
        links::MAX_INLINE_BYTES,
    },
    schedule::{Schedule, ScheduleName, ScheduleRun},
    task::TaskLimits,
    verbs::{AgentRows, Key, Numbered, Rows, ScheduleRows, Times},
};
use sha2::{Digest as _, Sha256};

use crate::data::{Data, Row, Scheduled, digest};

type Result<T> = std::result::Result<T, StoreError>;

impl Rows for Data {
    fn digest(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    fn life(&mut self, key: Key) -> Result<Option<Lifecycle>> {
        Ok(self.tasks.get(&key).map(|row| row.record.life.clone()))
    }

    fn record(&mut self, key: Key) -> Result<Option<TaskRecord>> {
        Ok(self.tasks.get(&key).map(|row| row.record.clone()))
    }

    fn is_open(&mut self, key: Key) -> Result<bool> {
        let row = self.tasks.get(&key);
        Ok(row.is_some_and(|row| row.record.life.completed_at.is_none()))
    }

    fn queue(&mut self, key: Key) -> Option<Arc<str>> {
        let row = self.tasks.get(&key)?;
        Some(row.record.task.queue.as_str().into())
    }

    fn insert_task(&mut self, record: &TaskRecord) -> Result<()> {
        let key = (record.task.tenant, record.task.id);
        self.numbered += 1;
        let row = Row {
            number: self.numbered,
            record: record.clone(),
            log: Vec::new(),
            snapshot: None,
            redriven: false,
            values: Default::default(),
        };
        self.tasks.insert(key, row);
        self.keep(key, record.task.input.as_str().as_bytes());
        Ok(())
    }

    fn put_life(
        &mut self,
        key: Key,
        _: &Lifecycle,
        after: &Lifecycle,
        outcome: Option<Outcome>,
    ) -> Result<()> {
        if let Some(Outcome::Result(result)) = &outcome {
            self.keep(key, result.as_str().as_bytes());
        }
        let record = &mut self.row_mut(key)?.record;
        record.life = after.clone();
        if let Some(Outcome::Result(result)) = outcome {
            record.result = Some(result);
        }
        Ok(())
    }

    fn put_limits(
        &mut self,
        key: Key,
        asked: Option<TaskLimits>,
        in_force: Option<TaskLimits>,
    ) -> Result<()> {
        let record = &mut self.row_mut(key)?.record;
        record.task.limits = asked.unwrap_or(record.task.limits);
        record.in_force = in_force.or(record.in_force);
        Ok(())
    }

    fn mark_redriven(&mut self, key: Key) -> Result<()> {
        if let Some(row) = self.tasks.get_mut(&key) {
            row.redriven = true;
        }
        Ok(())
    }

    fn put_event(&mut self, key: Key, epoch: u64, event: StoredEvent) -> Result<()> {
        self.keep(key, &event.event.body);
        let row = self.row_mut(key)?;
        row.values.extend(event.event.blobs.iter().cloned());
        row.log.push((epoch, event));
        Ok(())
    }

    fn put_value(&mut self, key: Key, value: Blob) -> Result<()> {
        self.values.insert((key.0, value.digest), value.bytes);
        Ok(())
    }

    fn log(&mut self, key: Key) -> Result<Vec<StoredEvent>> {
        let log = self.row(key)?.log.iter();
        Ok(log.map(|(_, event)| event.clone()).collect())
    }

    fn share_values(&mut self, from: Key, to: Key) -> Result<()> {
        let values = self.row(from)?.values.clone();
        self.row_mut(to)?.values.extend(values);
        Ok(())
    }

    fn recorded(&mut self, key: Key, seqs: RangeInclusive<u64>) -> Result<Vec<(u64, StoredEvent)>> {
        let log = self.row(key)?.log.iter();
        let found = log.filter(|(_, event)| seqs.contains(&event.seq));
        Ok(found.cloned().collect())
    }

    fn result(&mut self, key: Key) -> Result<Option<Json>> {
        Ok(self.row(key)?.record.result.clone())
    }

    fn idempotency(&mut self, tenant: TenantId, key: &str) -> Result<Option<([u8; 32], TaskId)>> {
        Ok(self.idempotency.get(&(tenant, key.to_owned())).copied())
    }

    fn put_idempotency(
        &mut self,
        tenant: TenantId,
        key: &str,
        digest: [u8; 32],
        task: TaskId,
    ) -> Result<()> {
        let key = (tenant, key.to_owned());
        self.idempotency.insert(key, (digest, task));
        Ok(())
    }

    fn parent(&mut self, key: Key) -> Result<Option<Key>> {
        Ok(self.parent_of(key))
    }

    fn open_children(&mut self, key: Key) -> Result<Vec<Key>> {
        let open = |row: &Row| row.record.life.completed_at.is_none();
        let children = self.children_of(key).filter(|(_, row)| open(row));
        Ok(children.map(|(key, _)| key).collect())
    }

    fn tree_size(&mut self, key: Key, _: u64) -> Result<u64> {
        let mut eldest = key;
        while let Some(parent) = self.parent_of(eldest) {
            eldest = parent;
        }
        let (mut open, mut size) = (vec![eldest], 0);
        while let Some(key) = open.pop() {
            size += 1;
            open.extend(self.children_of(key).map(|(child, _)| child));
        }
        Ok(size)
    }

    fn key_is_held(&mut self, tenant: TenantId, key: &str) -> Result<bool> {
        Ok(self.is_held(tenant, key))
    }

    fn turns_of_key(&mut self, key: Key, now: Micros) -> Result<Vec<Key>> {
        Ok(self.turns(key, now))
    }

    fn approval(&mut self, key: Key, step: u32) -> Result<Option<(i64, Approval)>> {
        let found = self.approval_of(key, step);
        Ok(found.map(|(number, approval)| (number, approval.clone())))
    }

    fn open_approvals(&mut self, (tenant, task): Key) -> Result<Vec<(i64, Approval)>> {
        let open = self.approvals.iter().filter(|(_, (owner, approval))| {
            (*owner, approval.task) == (tenant, task) && approval.status == ApprovalStatus::Pending
        });
        Ok(open
            .map(|(number, (_, approval))| (*number, approval.clone()))
            .collect())
    }

    fn insert_approval(&mut self, tenant: TenantId, approval: Approval) -> Result<()> {
        let number = self.approvals.keys().last().map_or(1, |last| last + 1);
        self.approvals.insert(number, (tenant, approval));
        Ok(())
    }

    fn put_approval(&mut self, number: i64, tenant: TenantId, approval: Approval) -> Result<()> {
        self.approvals.insert(number, (tenant, approval));
        Ok(())
    }

    fn session_is_open(&mut self, session: SessionId) -> Result<bool> {
        Ok(self.sessions.is_open(session))
    }

    fn held_by(&mut self, session: SessionId) -> Result<Vec<Key>> {
        let holds = |life: &Lifecycle| {
            let held = life.state.session() == Some(session);
            held.then_some(life.updated_at)
        };
        let mut held = self.numbered(holds);
        held.sort_unstable_by_key(|found| found.number);
        Ok(held.into_iter().map(|found| found.key).collect())
    }

    fn ready(
        &mut self,
        queue: &str,
        of: (Class, Order),
        after: Option<TenantId>,
        limit: u32,
    ) -> Result<Vec<TaskRecord>> {
        Ok(self.candidates(queue, of, after, limit))
    }

    fn crash_loop_suspect_is_leased(&mut self) -> Result<bool> {
        Ok(self.tasks.values().any(|row| {
            let life = &row.record.life;
            let session = life.state.session();
            session.is_some_and(|session| self.sessions.is_known(session))
                && is_crash_loop_suspect(life)
        }))
    }

    fn rate(&mut self, queue: &str) -> Result<Option<Micros>> {
        Ok(self.rates.get(queue).copied())
    }

    fn put_rate(&mut self, queue: &str, expected: Micros) -> Result<()> {
        self.rates.insert(queue.to_owned(), expected);
        Ok(())
    }

    fn past(
        &mut self,
        times: Times,
        after: (Micros, i64),
        until: Micros,
        limit: u32,
    ) -> Result<Vec<Numbered>> {
        let mut found = self.in_time(times, after);
        found.retain(|found| found.at <= until);
        found.truncate(limit as usize);
        Ok(found)
    }

    fn next(&mut self, times: Times, after: (Micros, i64)) -> Result<Option<Micros>> {
        Ok(self.in_time(times, after).first().map(|found| found.at))
    }

    fn written_after(&mut self, latest: Micros, after: i64, limit: u32) -> Result<Vec<Numbered>> {
        let written = |life: &Lifecycle| {
            let has_date = life.state.due().is_some() || limits::expires(life).is_some();
            let is_found = has_date || life.state.session().is_some();
            (is_found && life.updated_at > latest).then_some(life.updated_at)
        };
        let mut found = self.numbered(written);
        found.retain(|found| found.number > after);
        found.sort_unstable_by_key(|found| found.number);
        found.truncate(limit as usize);
        Ok(found)
    }

    fn ledger(&mut self, tenant: TenantId, window: &Window) -> Result<Amount> {
        Ok(self.used(tenant, window))
    }

    fn put_ledger(
        &mut self,
        tenant: TenantId,
        window: &Window,
        used: Amount,
        kept_from: Micros,
    ) -> Result<()> {
        self.store_ledger(tenant, window, used, kept_from);
        Ok(())
    }

    fn under_way(&mut self, tenant: TenantId, window: &Window) -> Result<Amount> {
        Ok(self.reserved(tenant, window))
    }

    fn put_budget_calls(&mut self, key: Key, epoch: u64, calls: &[BudgetCall]) -> Result<()> {
        match calls.is_empty() {
            true => self.budget_calls.remove(&key),
            false => self.budget_calls.insert(key, (epoch, calls.to_vec())),
        };
        Ok(())
    }

    fn budget_waiters(
        &mut self,
        tenant: TenantId,
        window: &Window,
        limit: u32,
    ) -> Result<Vec<Waiter>> {
        Ok(self.waiters(tenant, window, limit as usize))
    }

    fn provider(&mut self, key: ProviderKey) -> Result<ProviderState> {
        Ok(self.providers.get(&key).copied().unwrap_or_default())
    }

    fn put_provider(&mut self, key: ProviderKey, state: &ProviderState) -> Result<()> {
        self.providers.insert(key, *state);
        Ok(())
    }

    fn snapshot_number(&mut self, key: Key) -> Result<Option<(u32, u64)>> {
        let snapshot = self.row(key)?.snapshot.as_ref();
        Ok(snapshot.map(|snapshot| (snapshot.version, snapshot.seq)))
    }

    fn put_snapshot(&mut self, key: Key, snapshot: Snapshot) -> Result<()> {
        self.row_mut(key)?.snapshot = Some(snapshot);
        Ok(())
    }
}

impl AgentRows for Data {
    fn agent(&mut self, tenant: TenantId, name: &AgentName) -> Result<Option<Agent>> {
        Ok(self.agents.get(&(tenant, name.clone())).cloned())
    }

    fn version(&mut self, tenant: TenantId, digest: AgentDigest) -> Result<Option<AgentVersion>> {
        Ok(self.version_of(tenant, digest).cloned())
    }

    fn put_version(&mut self, version: &AgentVersion) -> Result<()> {
        self.versions.push(version.clone());
        Ok(())
    }

    fn put_agent(&mut self, agent: &Agent) -> Result<()> {
        let key = (agent.version.tenant, agent.version.name.clone());
        self.agents.insert(key, agent.clone());
        Ok(())
    }

    fn remove_agent(&mut self, tenant: TenantId, name: &AgentName) -> Result<()> {
        self.agents.remove(&(tenant, name.clone()));
        Ok(())
    }

    fn agents_that_start(
        &mut self,
        tenant: TenantId,
        name: &AgentName,
        limit: u32,
    ) -> Result<Vec<AgentName>> {
        let found = self.agents.iter().filter(|((owner, _), agent)| {
            *owner == tenant && agent.version.spec.agents.contains(name)
        });
        let names = found.map(|((_, name), _)| name.clone());
        Ok(names.take(limit as usize).collect())
    }

    fn schedules_of_agent(
        &mut self,
        tenant: TenantId,
        name: &AgentName,
        limit: u32,
    ) -> Result<Vec<ScheduleName>> {
        let found = self.schedules.iter().filter(|((owner, _), of)| {
            let template = of.schedule.spec.template.to_value();
            *owner == tenant && template["agent_id"] == name.as_str()
        });
        let names = found.map(|((_, name), _)| name.clone());
        Ok(names.take(limit as usize).collect())
    }
}

impl ScheduleRows for Data {
    fn schedule(&mut self, tenant: TenantId, name: &ScheduleName) -> Result<Option<Schedule>> {
        let found = self.schedules.get(&(tenant, name.clone()));
        Ok(found.map(|of| of.schedule.clone()))
    }

    fn put_schedule(&mut self, schedule: &Schedule) -> Result<()> {
        let key = (schedule.tenant, schedule.name.clone());
        let runs = self.schedules.remove(&key).map(|of| of.runs);
        let stored = Scheduled {
            schedule: schedule.clone(),
            runs: runs.unwrap_or_default(),
        };
        self.schedules.insert(key, stored);
        Ok(())
    }

    fn remove_schedule(&mut self, tenant: TenantId, name: &ScheduleName) -> Result<()> {
        self.schedules.remove(&(tenant, name.clone()));
        Ok(())
    }

    fn runs(&mut self, tenant: TenantId, name: &ScheduleName) -> Result<Vec<ScheduleRun>> {
        let found = self.schedules.get(&(tenant, name.clone()));
        Ok(found.map(|of| of.runs.clone()).unwrap_or_default())
    }

    fn put_runs(
        &mut self,
        tenant: TenantId,
        name: &ScheduleName,
        runs: Vec<ScheduleRun>,
    ) -> Result<()> {
        if let Some(of) = self.schedules.get_mut(&(tenant, name.clone())) {
            of.runs = runs;
        }
        Ok(())
    }
}

impl Data {
    fn row_mut(&mut self, key: Key) -> Result<&mut Row> {
        self.tasks.get_mut(&key).ok_or(StoreError::NotFound)
    }

    /// Keeps a large value of a task by its digest as well.
    fn keep(&mut self, key: Key, bytes: &[u8]) {
        if bytes.len() <= MAX_INLINE_BYTES {
            return;
        }
        let digest = digest(bytes);
        if let Some(row) = self.tasks.get_mut(&key) {
            row.values.insert(digest.clone());
        }
        let value = bytes.to_vec().into();
        self.values.insert((key.0, digest), value);
    }

    /// The tasks that have a time.
    fn numbered(&self, time: impl Fn(&Lifecycle) -> Option<Micros>) -> Vec<Numbered> {
        let timed = self.tasks.iter().filter_map(|(key, row)| {
            Some(Numbered {
                at: time(&row.record.life)?,
                number: row.number,
                key: *key,
            })
        });
        timed.collect()
    }

    /// The tasks that have a time after this place, in the order of time and number.
    fn in_time(&self, times: Times, after: (Micros, i64)) -> Vec<Numbered> {
        let mut found = match times {
            Times::Due => self.numbered(|life| life.state.due()),
            Times::Expiry => self.numbered(limits::expires),
        };
        found.retain(|found| (found.at, found.number) > after);
        found.sort_unstable_by_key(|found| (found.at, found.number));
        found
    }
}
