//! Claiming: a session, its heartbeats, and as many runs as there are slots.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agentkit::tool::TreeWorkspaces;
use futures_util::{FutureExt as _, future::join_all};
use ops_core::{
    SessionId, TaskId,
    budget::Budget,
    ports::{
        ClaimRequest, Clock, CurrentConfiguration, Live, More, Queue, Random, RunStore, StoreError,
        TaskRecord, Wakeup,
    },
    provider::ProviderLimit,
    rate::Rate,
};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Agents, session::WorkerSession, slots::Slots, workspace::trees};

/// Tasks that are claimed at once.
const BATCH: usize = 64;
/// How often the session says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long dropped runs may take to end.
const ABORT: Duration = Duration::from_secs(5);
/// How long the worker rests after the store failed.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// How long a worker waits at the most before it looks again whether a rate lets a task through.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// How often a worker whose leases may be over looks whether a heartbeat was answered.
const STALE_POLL: Duration = Duration::from_millis(20);

/// Settings of a worker.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Runs at once, of all queues together.
    pub concurrency: usize,
    /// The queues that are worked on.
    pub queues: Vec<QueueSettings>,
    /// Where the tasks' folders are.
    pub workspaces: PathBuf,
    /// How long a lease holds after a heartbeat; shorter than the store thinks.
    pub lease: Duration,
    /// How long runs may take to reach a boundary when the worker stops.
    pub grace: Duration,
    /// The budgets of tasks.
    pub budgets: Vec<Budget>,
    /// The providers with limits.
    pub providers: Vec<Arc<ProviderLimit>>,
    /// The configuration of the process; a reload replaces the configuration.
    pub configuration: CurrentConfiguration,
}

/// A queue that a worker works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSettings {
    /// Its name.
    pub name: String,
    /// Its runs at once in this worker, if they are fewer than the worker has.
    pub concurrency: Option<usize>,
    /// How fast the queue's tasks are taken up, by all workers together; `None` for no limit.
    pub rate: Option<Rate>,
}

impl QueueSettings {
    /// A queue without limits of its own.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            concurrency: None,
            rate: None,
        }
    }
}

/// A worker.
pub struct Worker {
    pub(crate) store: Arc<dyn RunStore>,
    pub(crate) live: Arc<dyn Live>,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) agents: Arc<dyn Agents>,
    pub(crate) settings: Settings,
}

impl Worker {
    /// A worker over these adapters.
    pub fn new(
        store: Arc<dyn RunStore>,
        live: Arc<dyn Live>,
        queue: Arc<dyn Queue>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        agents: Arc<dyn Agents>,
        settings: Settings,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            live,
            queue,
            clock,
            random,
            agents,
            settings,
        })
    }

    /// The folder of a task.
    pub(crate) fn workspace(&self, task: TaskId) -> PathBuf {
        self.settings.workspaces.join(task.to_string())
    }

    /// The workspaces of the tree that a task is of. Where the tree cannot be written down, the task's own.
    pub(crate) fn tree(&self, record: &TaskRecord, workspace: &Path) -> TreeWorkspaces {
        let task = &record.task;
        let parent = task.parent.as_ref().map(|parent| parent.task);
        let entered = trees::enter(&self.settings.workspaces, task.id, parent);
        entered.unwrap_or_else(|error| {
            tracing::warn!(%error, task = %task.id, "the task's files do not count among its tree's");
            TreeWorkspaces::alone(workspace.to_owned())
        })
    }

    /// Works until stopped; then runs end at their next boundary, and unfinished tasks go back for other
    /// workers to resume.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let session = Arc::new(WorkerSession::new(SessionId::new(
                self.clock.now(),
                self.random.id_bytes(),
            )));
            // The lease counts from before the question: the answer may be late.
            let asked = self.clock.boot_micros();
            match self.open(session.id).await {
                Ok(()) => {
                    self.extend(&session, asked);
                    self.work(session, &stop).await;
                }
                Err(error) => {
                    tracing::error!(%error, "no session; trying again in a second");
                    tokio::select! {
                        () = tokio::time::sleep(RETRY_DELAY) => {}
                        () = stop.cancelled() => {}
                    }
                }
            }
        }
    }

    /// Opens a session that serves the queues of the settings.
    async fn open(&self, session: SessionId) -> Result<(), StoreError> {
        self.store.open_session(session).await?;
        let queues = self.settings.queues.iter().map(|queue| queue.name.clone());
        self.store.serve_queues(session, queues.collect()).await?;
        let configuration = self.settings.configuration.get();
        self.store.describe_session(session, configuration).await
    }

    /// One session: until the session is lost or the worker stops.
    async fn work(self: &Arc<Self>, session: Arc<WorkerSession>, stop: &CancellationToken) {
        let runs = TaskTracker::new();
        let beats = CancellationToken::new();
        let heart = tokio::spawn(Arc::clone(self).beat(Arc::clone(&session), beats.clone()));
        let heart_stopped = async { heart.await.unwrap_or_default() };
        tokio::pin!(heart_stopped);
        let lost = tokio::select! {
            () = stop.cancelled() => false,
            () = self.claim(&session, &runs) => false,
            () = &mut heart_stopped => true,
        };
        runs.close();
        if lost {
            tracing::warn!(session = %session.id, "the session is over; its runs go on elsewhere");
            session.lose();
            runs.wait().await;
            return;
        }
        session.stop();
        let grace = match units::mutant!("ops-worker.no_drain") {
            true => std::time::Duration::ZERO,
            false => self.settings.grace,
        };
        if tokio::time::timeout(grace, runs.wait()).await.is_err() {
            tracing::warn!(
                runs = runs.len(),
                "runs did not reach a boundary in time; dropping them"
            );
            session.abort();
            // What does not end even now goes with the process.
            let _ = tokio::time::timeout(ABORT, runs.wait()).await;
        }
        beats.cancel();
        heart_stopped.await;
        if units::mutant!("ops-worker.leaves_its_session_open") {
            return;
        }
        if let Err(error) = self.store.close_session(session.id).await {
            tracing::warn!(%error, "the session could not be closed; it will expire");
        }
    }

    /// The leases hold for so long after a question that was answered.
    fn extend(&self, session: &WorkerSession, asked_micros: i64) {
        let lease = i64::try_from(self.settings.lease.as_micros()).unwrap_or(i64::MAX);
        session.extend(asked_micros.saturating_add(lease));
    }

    /// Says that the session is alive until it is over, or the worker is done.
    async fn beat(self: Arc<Self>, session: Arc<WorkerSession>, done: CancellationToken) {
        let mut described = self.settings.configuration.get();
        loop {
            tokio::select! {
                () = tokio::time::sleep(HEARTBEAT) => {}
                () = self.store.interrupted(session.id) => {}
                () = done.cancelled() => return,
            }
            let asked = self.clock.boot_micros();
            match self.store.heartbeat(session.id).await {
                Ok(reply) => {
                    let asked = match units::mutant!("ops-worker.extends_from_the_answer") {
                        true => self.clock.boot_micros(),
                        false => asked,
                    };
                    self.extend(&session, asked);
                    for (_, task) in reply.cancel {
                        session.cancel(task);
                    }
                    session.pause(&reply.pause);
                }
                Err(StoreError::SessionOver) => return,
                Err(error) => tracing::warn!(%error, "the heartbeat was not answered"),
            }
            let now = self.settings.configuration.get();
            if now != described {
                let told = self.store.describe_session(session.id, Arc::clone(&now));
                if told.await.is_ok() {
                    described = now;
                }
            }
        }
    }

    /// Works on every queue.
    async fn claim(self: &Arc<Self>, session: &Arc<WorkerSession>, runs: &TaskTracker) {
        let all = Arc::new(Semaphore::new(self.settings.concurrency.max(1)));
        let queues = self.settings.queues.iter().map(|queue| {
            let slots = Slots::new(&all, queue.concurrency);
            self.claim_from(queue, slots, session, runs)
        });
        join_all(queues).await;
    }

    /// Fills free slots as long as the queue has work, and then waits for more work.
    async fn claim_from(
        self: &Arc<Self>,
        queue: &QueueSettings,
        slots: Slots,
        session: &Arc<WorkerSession>,
        runs: &TaskTracker,
    ) {
        // Held until the transaction of the claim is over: a worker that dies before wakes another worker.
        let mut wakeup = None::<Wakeup>;
        let mut after = None;
        loop {
            let free = match slots.free(BATCH).now_or_never() {
                Some(free) => free,
                None => {
                    // The slots went to another queue. Another worker is to have the wake-up.
                    if wakeup.take().is_some() {
                        self.queue.pass_on(&queue.name);
                    }
                    slots.free(BATCH).await
                }
            };
            let Ok(free) = free else {
                return;
            };
            // A worker that stood still hears first whether its session goes on.
            if !session.holds(self.clock.boot_micros()) {
                drop(free);
                tokio::time::sleep(STALE_POLL).await;
                continue;
            }
            let request = ClaimRequest {
                session: session.id,
                queue: queue.name.clone(),
                max: u32::try_from(free.len()).unwrap_or(u32::MAX),
                rate: queue.rate,
                after,
            };
            let claimed = match self.store.claim(request).await {
                Ok(claimed) => claimed,
                Err(StoreError::SessionOver) => {
                    session.lose();
                    return std::future::pending().await;
                }
                Err(error) => {
                    tracing::error!(%error, "cannot claim; trying again in a second");
                    drop(free);
                    tokio::time::sleep(RETRY_DELAY).await;
                    continue;
                }
            };
            drop(wakeup.take());
            let last = claimed.tasks.last();
            after = last.map(|last| last.task.tenant).or(after);
            let fills = claimed.tasks.len() >= free.len() && free.len() < BATCH;
            if fills && claimed.more == More::Now {
                self.queue.pass_on(&queue.name);
            }
            // Never more tasks than were asked for.
            for (record, slot) in claimed.tasks.into_iter().zip(free) {
                let (worker, session) = (Arc::clone(self), Arc::clone(session));
                runs.spawn(async move {
                    worker.run_task(session, record).await;
                    drop(slot);
                });
            }
            match claimed.more {
                More::Now => {}
                More::Rung => wakeup = Some(self.queue.wait(&queue.name).await),
                More::At(time) => {
                    let micros = time.0.saturating_sub(self.clock.now().0);
                    let wait = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
                    // The clock may be set meanwhile.
                    tokio::time::sleep(wait.min(MAX_WAIT)).await;
                }
            }
        }
    }
}
