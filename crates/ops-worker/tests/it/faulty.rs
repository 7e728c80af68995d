//! A store some of whose verbs fail a few times, as on a disk that is full for a while.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use ops_core::{
    AgentDigest, AgentName, Approval, Command, Lifecycle, SessionId, StoredEvent, TaskId, TenantId,
    agent::{Agent, AgentVersion},
    ports::{
        AgentStore, ApprovalFilter, Blob, ClaimRequest, Claimed, Counts, Due, DueSchedules,
        Expired, Fut, HeartbeatReply, NewAgent, NewSchedule, NewTask, Progress, Retention,
        RetentionStore, ScheduleChange, ScheduleStore, Snapshot, Store, StoreError, Stored,
        Submitted, TaskFilter, TaskRecord, Verdict,
    },
    schedule::{Fire, Schedule, ScheduleName, ScheduleRun},
};
use serde_json::Value;

use crate::world::{LEASE, TestClock};

/// Fails the next so many calls of a verb, then does as the store behind it.
pub(crate) struct Faulty {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) wake_due: AtomicU32,
    pub(crate) events: AtomicU32,
    /// How reading events fails.
    pub(crate) events_fail: StoreError,
    /// How reading an agent's definition fails.
    pub(crate) definition: Option<StoreError>,
    /// A signal that comes before the answer to an append of a run, which is lost.
    pub(crate) answer: Mutex<Option<(&'static str, Value)>>,
    /// The clock, if the answer to the first opening of a session is late by more than a lease.
    pub(crate) late: Mutex<Option<Arc<TestClock>>>,
    /// Whether a session was opened late, and not heard of since.
    pub(crate) unheard: AtomicBool,
    /// Whether tasks were claimed then.
    pub(crate) early: AtomicBool,
}

impl Faulty {
    /// Applies an append whose answer nobody gets, and a signal.
    async fn lose_answer(
        &self,
        (tenant, task): (TenantId, TaskId),
        append: Command,
        blobs: Vec<Blob>,
        (name, payload): (&'static str, Value),
    ) -> Result<Lifecycle, StoreError> {
        self.store.apply(tenant, task, append, blobs).await?;
        let signal = Command::Signal {
            name: name.to_owned(),
            payload,
        };
        self.store.apply(tenant, task, signal, Vec::new()).await?;
        Err(StoreError::Unavailable("the answer is lost".into()))
    }
}

fn full<'a, T: Send + 'a>() -> Fut<'a, Result<T, StoreError>> {
    Box::pin(std::future::ready(Err(StoreError::Full(
        "for a while".into(),
    ))))
}

fn fails(left: &AtomicU32) -> bool {
    left.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
        left.checked_sub(1)
    })
    .is_ok()
}

type Answer<'a, T> = Fut<'a, Result<T, StoreError>>;

impl Store for Faulty {
    fn submit(&self, new: NewTask) -> Answer<'_, Submitted> {
        self.store.submit(new)
    }
    fn submit_all(&self, new: Vec<NewTask>) -> Fut<'_, Vec<Result<Submitted, StoreError>>> {
        self.store.submit_all(new)
    }
    fn claim(&self, request: ClaimRequest) -> Answer<'_, Claimed> {
        if self.unheard.load(Ordering::SeqCst) {
            self.early.store(true, Ordering::SeqCst);
        }
        self.store.claim(request)
    }
    fn apply(
        &self,
        tenant: TenantId,
        task: TaskId,
        command: Command,
        blobs: Vec<Blob>,
    ) -> Answer<'_, Lifecycle> {
        let of_run = matches!(&command, Command::Append(append) if !append.events.is_empty());
        let answer = of_run.then(|| self.answer.lock().unwrap().take());
        match answer.flatten() {
            Some(signal) => Box::pin(self.lose_answer((tenant, task), command, blobs, signal)),
            None => self.store.apply(tenant, task, command, blobs),
        }
    }
    fn judge(&self, tenant: TenantId, task: TaskId, verdict: Verdict) -> Answer<'_, Approval> {
        self.store.judge(tenant, task, verdict)
    }
    fn approval(&self, tenant: TenantId, task: TaskId, step: u32) -> Answer<'_, Approval> {
        self.store.approval(tenant, task, step)
    }
    fn approvals(
        &self,
        tenant: TenantId,
        filter: ApprovalFilter,
    ) -> Answer<'_, Vec<(u64, Approval)>> {
        self.store.approvals(tenant, filter)
    }
    fn task(&self, tenant: TenantId, task: TaskId) -> Answer<'_, TaskRecord> {
        self.store.task(tenant, task)
    }
    fn tasks(&self, tenant: TenantId, filter: TaskFilter) -> Answer<'_, Vec<TaskRecord>> {
        self.store.tasks(tenant, filter)
    }
    fn count(&self, tenant: TenantId, filter: TaskFilter) -> Answer<'_, u64> {
        self.store.count(tenant, filter)
    }
    fn counts(&self, tenant: TenantId) -> Answer<'_, Counts> {
        self.store.counts(tenant)
    }
    fn life(&self, tenant: TenantId, task: TaskId) -> Answer<'_, Lifecycle> {
        self.store.life(tenant, task)
    }
    fn turn_start(&self, tenant: TenantId, task: TaskId, seq: u64) -> Answer<'_, u64> {
        self.store.turn_start(tenant, task, seq)
    }
    fn events(
        &self,
        tenant: TenantId,
        task: TaskId,
        after: u64,
        limit: u32,
    ) -> Answer<'_, Vec<StoredEvent>> {
        if fails(&self.events) {
            return Box::pin(std::future::ready(Err(self.events_fail.clone())));
        }
        self.store.events(tenant, task, after, limit)
    }
    fn blob<'a>(
        &'a self,
        tenant: TenantId,
        digest: &'a str,
        offset: u64,
        len: u64,
    ) -> Answer<'a, Vec<u8>> {
        self.store.blob(tenant, digest, offset, len)
    }
    fn snapshot(&self, tenant: TenantId, task: TaskId) -> Answer<'_, Option<Snapshot>> {
        self.store.snapshot(tenant, task)
    }
    fn put_snapshot(&self, tenant: TenantId, task: TaskId, snapshot: Snapshot) -> Answer<'_, ()> {
        self.store.put_snapshot(tenant, task, snapshot)
    }
    fn open_session(&self, session: SessionId) -> Answer<'_, ()> {
        let late = self.late.lock().unwrap().take();
        self.unheard.store(late.is_some(), Ordering::SeqCst);
        Box::pin(async move {
            self.store.open_session(session).await?;
            if let Some(clock) = late {
                clock.advance(LEASE + Duration::from_secs(1));
            }
            Ok(())
        })
    }
    fn heartbeat(&self, session: SessionId) -> Answer<'_, HeartbeatReply> {
        self.unheard.store(false, Ordering::SeqCst);
        self.store.heartbeat(session)
    }
    fn interrupted(&self, session: SessionId) -> Fut<'_, ()> {
        self.store.interrupted(session)
    }
    fn close_session(&self, session: SessionId) -> Answer<'_, ()> {
        self.store.close_session(session)
    }
    fn expire_sessions(&self) -> Answer<'_, u32> {
        self.store.expire_sessions()
    }
    fn wake_due(&self, limit: u32) -> Answer<'_, Due> {
        if fails(&self.wake_due) {
            full()
        } else {
            self.store.wake_due(limit)
        }
    }
    fn ready_queues(&self) -> Answer<'_, Vec<String>> {
        self.store.ready_queues()
    }
    fn stats(&self) -> ops_core::stats::Stats {
        self.store.stats()
    }
}

impl RetentionStore for Faulty {
    fn expired(&self, keep: Retention) -> Answer<'_, Expired> {
        self.store.expired(keep)
    }
    fn doom(&self, keep: Retention, limit: u32) -> Answer<'_, Expired> {
        self.store.doom(keep, limit)
    }
    fn doomed(&self, limit: u32) -> Answer<'_, Vec<(TenantId, TaskId)>> {
        self.store.doomed(limit)
    }
    fn purge(&self, tasks: Vec<(TenantId, TaskId)>) -> Answer<'_, Progress> {
        self.store.purge(tasks)
    }
    fn sweep_blobs(&self) -> Answer<'_, Progress> {
        self.store.sweep_blobs()
    }
}

impl AgentStore for Faulty {
    fn put_agent(&self, new: NewAgent) -> Answer<'_, (Agent, Stored)> {
        self.store.put_agent(new)
    }
    fn agent(&self, tenant: TenantId, name: AgentName) -> Answer<'_, Agent> {
        self.store.agent(tenant, name)
    }
    fn agents(
        &self,
        tenant: TenantId,
        after: Option<AgentName>,
        limit: u32,
    ) -> Answer<'_, Vec<Agent>> {
        self.store.agents(tenant, after, limit)
    }
    fn agent_versions(
        &self,
        tenant: TenantId,
        name: AgentName,
        limit: u32,
    ) -> Answer<'_, Vec<AgentVersion>> {
        self.store.agent_versions(tenant, name, limit)
    }
    fn agent_version(&self, tenant: TenantId, digest: AgentDigest) -> Answer<'_, AgentVersion> {
        match &self.definition {
            Some(error) => Box::pin(std::future::ready(Err(error.clone()))),
            None => self.store.agent_version(tenant, digest),
        }
    }
}

impl ScheduleStore for Faulty {
    fn put_schedule(&self, new: NewSchedule) -> Answer<'_, (Schedule, bool)> {
        self.store.put_schedule(new)
    }
    fn schedule(&self, tenant: TenantId, name: ScheduleName) -> Answer<'_, Schedule> {
        self.store.schedule(tenant, name)
    }
    fn schedules(
        &self,
        tenant: TenantId,
        after: Option<ScheduleName>,
        limit: u32,
    ) -> Answer<'_, Vec<Schedule>> {
        self.store.schedules(tenant, after, limit)
    }
    fn all_schedules(
        &self,
        after: Option<(TenantId, ScheduleName)>,
        limit: u32,
    ) -> Answer<'_, Vec<Schedule>> {
        self.store.all_schedules(after, limit)
    }
    fn change_schedule(
        &self,
        tenant: TenantId,
        name: ScheduleName,
        change: ScheduleChange,
    ) -> Answer<'_, Schedule> {
        self.store.change_schedule(tenant, name, change)
    }
    fn schedule_runs(
        &self,
        tenant: TenantId,
        name: ScheduleName,
        limit: u32,
    ) -> Answer<'_, Vec<ScheduleRun>> {
        self.store.schedule_runs(tenant, name, limit)
    }
    fn due_schedules(&self, limit: u32) -> Answer<'_, DueSchedules> {
        self.store.due_schedules(limit)
    }
    fn fire_schedule(
        &self,
        tenant: TenantId,
        name: ScheduleName,
        fire: Fire,
    ) -> Answer<'_, Vec<ScheduleRun>> {
        self.store.fire_schedule(tenant, name, fire)
    }
}
