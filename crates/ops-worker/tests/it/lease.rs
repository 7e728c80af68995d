//! tests/X1: what a worker may do once its lease may be over.
//!
//! The clock leaps past the lease at the moments that matter, and heartbeats are held back, so that the
//! worker does not hear that its session goes on. Each test fails if one of the checks is taken away.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use agentkit::{
    Agent, BoxFuture, Model, Tool, ToolSpec,
    event::Failure,
    model::{
        DeltaSink, ModelError, Request, Response,
        scripted::{Script, Scripted},
    },
    tool::{Effect, ToolContext, ToolOutput},
};
use ops_core::{
    AgentDigest, Json, Lifecycle, RunAction, RunCommand, SessionId, StoredEvent, TaskId, TenantId,
    event::{StepKind, StepStatus},
    ports::{
        Blob, ClaimRequest, Claimed, Fut, HeartbeatReply, RunStore, Snapshot, StoreError,
        TaskStore as _,
    },
    task::StateName,
};
use ops_engine::Engine;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::world::{Bench, LEASE, TestClock, agent_task, submit};

/// When the clock leaps past the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leap {
    /// During the model call.
    Answer,
    /// Between the record of the tool's intent and the call.
    Intent,
    /// While a heartbeat is answered.
    Heartbeat,
}

/// The way between a worker and its store.
struct Wire {
    store: Arc<dyn RunStore>,
    clock: Arc<TestClock>,
    leap: Option<Leap>,
    leapt: AtomicBool,
    /// What was begun though the lease might be over.
    early: AtomicU32,
    /// Whether heartbeats stay unanswered.
    held: AtomicBool,
    released: Notify,
    /// Has the worker say that it is alive at once.
    beat: Notify,
    /// A heartbeat was answered too late.
    late: Notify,
    /// Whether the session is over.
    over: AtomicBool,
    /// The last session.
    session: Mutex<Option<SessionId>>,
}

impl Wire {
    fn new(bench: &Bench, leap: Option<Leap>) -> Arc<Self> {
        Arc::new(Self {
            store: Arc::clone(&bench.store) as _,
            clock: Arc::clone(&bench.clock),
            leap,
            leapt: AtomicBool::new(false),
            early: AtomicU32::new(0),
            held: AtomicBool::new(false),
            released: Notify::new(),
            beat: Notify::new(),
            late: Notify::new(),
            over: AtomicBool::new(false),
            session: Mutex::default(),
        })
    }

    /// The clock is past the lease from now on, once.
    fn leap(&self, at: Leap) -> bool {
        let leaps = self.leap == Some(at) && !self.leapt.swap(true, SeqCst);
        if leaps {
            self.held.store(true, SeqCst);
            self.clock.advance(LEASE + Duration::from_secs(1));
        }
        leaps
    }

    /// Something begins.
    fn begin(&self) {
        if self.held.load(SeqCst) {
            self.early.fetch_add(1, SeqCst);
        }
    }

    /// Heartbeats are answered again.
    fn release(&self) {
        self.held.store(false, SeqCst);
        self.released.notify_one();
    }
}

type Answer<'a, T> = Fut<'a, Result<T, StoreError>>;

impl RunStore for Wire {
    fn open_session(&self, session: SessionId) -> Answer<'_, ()> {
        *self.session.lock().unwrap() = Some(session);
        self.store.open_session(session)
    }
    fn heartbeat(&self, session: SessionId) -> Answer<'_, HeartbeatReply> {
        Box::pin(async move {
            while self.held.load(SeqCst) {
                self.released.notified().await;
            }
            if self.over.swap(false, SeqCst) {
                self.store.close_session(session).await?;
            }
            let reply = self.store.heartbeat(session).await;
            if self.leap(Leap::Heartbeat) {
                self.late.notify_one();
            }
            reply
        })
    }
    fn interrupted(&self, _: SessionId) -> Fut<'_, ()> {
        Box::pin(self.beat.notified())
    }
    fn close_session(&self, session: SessionId) -> Answer<'_, ()> {
        self.store.close_session(session)
    }
    fn claim(&self, request: ClaimRequest) -> Answer<'_, Claimed> {
        self.begin();
        self.store.claim(request)
    }
    fn record(
        &self,
        tenant: TenantId,
        task: TaskId,
        command: RunCommand,
        blobs: Vec<Blob>,
    ) -> Answer<'_, Lifecycle> {
        Box::pin(async move {
            let intends = matches!(&command.action, RunAction::Append(append)
            if append.events.iter().any(|event| event.step.is_some_and(|mark| {
                mark.kind == StepKind::Tool && mark.status == StepStatus::Started
            })));
            let recorded = self.store.record(tenant, task, command, blobs).await;
            if intends {
                self.leap(Leap::Intent);
            }
            recorded
        })
    }
    fn log(
        &self,
        tenant: TenantId,
        task: TaskId,
        after: u64,
        limit: u32,
    ) -> Answer<'_, Vec<StoredEvent>> {
        self.store.log(tenant, task, after, limit)
    }
    fn value<'a>(
        &'a self,
        tenant: TenantId,
        digest: &'a str,
        offset: u64,
        len: u64,
    ) -> Answer<'a, Vec<u8>> {
        self.store.value(tenant, digest, offset, len)
    }
    fn snapshot(&self, tenant: TenantId, task: TaskId) -> Answer<'_, Option<Snapshot>> {
        self.store.snapshot(tenant, task)
    }
    fn put_snapshot(
        &self,
        tenant: TenantId,
        task: TaskId,
        epoch: u64,
        snapshot: Snapshot,
    ) -> Answer<'_, ()> {
        self.store.put_snapshot(tenant, task, epoch, snapshot)
    }
    fn definition(&self, tenant: TenantId, digest: AgentDigest) -> Answer<'_, Json> {
        self.store.definition(tenant, digest)
    }
}

/// A scripted model during whose first call the clock may leap.
struct Slow {
    script: Scripted,
    wire: Arc<Wire>,
    calls: AtomicU32,
}

impl Model for Slow {
    fn name(&self) -> &str {
        self.script.name()
    }

    fn is_llm(&self) -> bool {
        false
    }

    fn call<'a>(
        &'a self,
        request: &'a Request,
        deltas: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        Box::pin(async move {
            if self.calls.fetch_add(1, SeqCst) == 0 {
                self.wire.leap(Leap::Answer);
                if self.wire.leap == Some(Leap::Heartbeat) {
                    self.wire.beat.notify_one();
                    self.wire.late.notified().await;
                    // The worker has the answer a moment later.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            self.script.call(request, deltas).await
        })
    }
}

/// A tool that says when it is called; its first call may never return.
struct Acting {
    spec: ToolSpec,
    wire: Arc<Wire>,
    calls: Arc<AtomicU32>,
    hangs: bool,
    hanging: Arc<Notify>,
}

impl Tool for Acting {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        _: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move {
            self.wire.begin();
            if self.calls.fetch_add(1, SeqCst) == 0 && self.hangs {
                self.hanging.notify_one();
                std::future::pending::<()>().await;
            }
            Ok(json!("done").into())
        })
    }
}

/// A worker with an agent that calls one tool and then answers.
struct Rig {
    bench: Bench,
    wire: Arc<Wire>,
    engine: Arc<Engine>,
    calls: Arc<AtomicU32>,
    hanging: Arc<Notify>,
    stop: CancellationToken,
    worker: tokio::task::JoinHandle<()>,
}

impl Rig {
    fn new(leap: Option<Leap>, effect: Effect, hangs: bool) -> Self {
        let bench = Bench::new();
        let wire = Wire::new(&bench, leap);
        let script = "[[turn]]\ncalls = [{ tool = 'act', arguments = {} }]\n\
                      [[turn]]\nanswer = 'done'";
        let model = Slow {
            script: Scripted::new(Arc::new(Script::parse(script).unwrap())),
            wire: Arc::clone(&wire),
            calls: AtomicU32::new(0),
        };
        let (calls, hanging) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let tool = Acting {
            spec: ToolSpec::new("act", "Acts.", json!({"type": "object"})).effect(effect),
            wire: Arc::clone(&wire),
            calls: Arc::clone(&calls),
            hangs,
            hanging: Arc::clone(&hanging),
        };
        let agent = Agent::builder(Arc::new(model)).tool(tool).build().unwrap();
        let engine = bench.engine(Arc::clone(&bench.store) as _);
        let stop = CancellationToken::new();
        let worker = bench.worker(Arc::clone(&wire) as _, agent, 1);
        let worker = tokio::spawn(worker.run(stop.clone()));
        Self {
            bench,
            wire,
            engine,
            calls,
            hanging,
            stop,
            worker,
        }
    }

    /// Waits until a task is like this.
    async fn wait(&self, task: TaskId, state: StateName) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let record = self.bench.store.task(TenantId::DEFAULT, task).await;
            let life = record.unwrap().life;
            if life.state.name() == state {
                return;
            }
            assert!(Instant::now() < end, "{life:?} is not {state}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn kinds(&self, task: TaskId) -> Vec<String> {
        let log = self.bench.log(task).await;
        log.into_iter().map(|event| event.event.kind).collect()
    }

    async fn end(self) {
        self.stop.cancel();
        self.wire.release();
        self.worker.await.unwrap();
        self.bench.store.close();
    }
}

/// Runs one task; the clock leaps at this moment. Gives what the log had when the lease was given back.
async fn leap(at: Leap) -> Vec<String> {
    let rig = Rig::new(Some(at), Effect::Write, false);
    let task = submit(&rig.engine, agent_task()).await;
    // The run ends by itself: a heartbeat would extend the lease.
    while !rig.wire.held.load(SeqCst) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    rig.wait(task, StateName::Pending).await;
    assert_eq!(rig.calls.load(SeqCst), 0, "the tool was called");
    // A moment in which the worker could claim.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(rig.wire.early.load(SeqCst), 0);
    let kinds = rig.kinds(task).await;
    rig.wire.release();
    rig.wait(task, StateName::Completed).await;
    assert_eq!(rig.calls.load(SeqCst), 1);
    rig.end().await;
    kinds
}

fn has(kinds: &[String], kind: &str) -> bool {
    kinds.iter().any(|known| known == kind)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_intended_that_an_answer_asks_for_after_the_lease() {
    let kinds = leap(Leap::Answer).await;
    // The answer is kept, and nothing is in the log that would have to be taken back.
    assert!(has(&kinds, "model.completed"), "{kinds:?}");
    assert!(!has(&kinds, "tool.resolved"), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_called_whose_intent_was_recorded_before_the_lease_was_over() {
    let kinds = leap(Leap::Intent).await;
    // The log says that the call has not begun: it is not in doubt.
    assert!(has(&kinds, "tool.resolved"), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_answer_to_a_heartbeat_extends_nothing() {
    let kinds = leap(Leap::Heartbeat).await;
    assert!(!has(&kinds, "tool.resolved"), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_over_drops_its_calls_and_makes_room() {
    let rig = Rig::new(None, Effect::Pure, true);
    let first = submit(&rig.engine, agent_task()).await;
    rig.hanging.notified().await;
    let second = submit(&rig.engine, agent_task()).await;
    rig.wire.over.store(true, SeqCst);
    rig.wire.beat.notify_one();
    let over = Instant::now();
    rig.wait(second, StateName::Completed).await;
    rig.wait(first, StateName::Completed).await;
    let took = over.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(rig.calls.load(SeqCst), 3);
    rig.end().await;
}

/// tests/X12: a worker that stops closes its session, with whatever a run of it still does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stops_closes_its_session() {
    let rig = Rig::new(None, Effect::Pure, true);
    let task = submit(&rig.engine, agent_task()).await;
    rig.hanging.notified().await;
    rig.stop.cancel();
    rig.worker.await.unwrap();
    let session = rig.wire.session.lock().unwrap().unwrap();
    let heartbeat = rig.bench.store.heartbeat(session).await;
    assert_eq!(heartbeat.unwrap_err(), StoreError::SessionOver);
    let record = rig.bench.store.task(TenantId::DEFAULT, task).await;
    assert_eq!(record.unwrap().life.state.name(), StateName::Pending);
    rig.bench.store.close();
}
