//! A worker over a store in a temporary folder, with agents that the test makes.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use agentkit::{
    Agent,
    event::Failure,
    run::{Limits, RunConfig},
};
use ops_core::{
    Actor, AgentDigest, AgentName, Caller, Json, Micros, StoredEvent, TaskAction, TaskId, TenantId,
    agent::AgentSpec,
    ports::{
        AgentDefinitions, AgentMistake, AgentStore as _, AgentTools, Clock, Expected, InputCheck,
        Live, NewAgent, Queue, Random, RunStore, Snapshot, StoreError, TaskInput, TaskRecord,
        TaskStore as _, UpkeepStore,
    },
    retry::RetryPolicy,
    task::StateName,
};
use ops_engine::{Adapters, Engine, Hub, Submit};
use ops_queue::{LocalLive, LocalQueue};
use ops_store::{Durability, Options, SqliteStore};
use ops_worker::{Agents, Job, Prepared, QueueSettings, Settings, Worker};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::faulty::{Faulty, Stalling};

/// How long leases hold.
pub(crate) const LEASE: Duration = Duration::from_secs(10);

/// A clock that goes forward with real time, and by leaps.
pub(crate) struct TestClock {
    began: Instant,
    leapt: AtomicI64,
    /// How far the wall clock is ahead, in microseconds.
    ahead: AtomicI64,
}

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            leapt: AtomicI64::new(0),
            ahead: AtomicI64::new(0),
        })
    }

    pub(crate) fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap();
        self.leapt.fetch_add(micros, Ordering::SeqCst);
    }

    /// Sets the wall clock so far ahead of the right time.
    pub(crate) fn set_ahead(&self, micros: i64) {
        self.ahead.store(micros, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Micros {
        let ahead = self.ahead.load(Ordering::SeqCst);
        Micros(1_700_000_000_000_000 + self.boot_micros() + ahead)
    }

    fn boot_micros(&self) -> i64 {
        let leapt = self.leapt.load(Ordering::SeqCst);
        i64::try_from(self.began.elapsed().as_micros()).unwrap() + leapt
    }
}

struct Counting(AtomicU8);

impl Random for Counting {
    fn id_bytes(&self) -> [u8; 10] {
        [self.0.fetch_add(1, Ordering::SeqCst); 10]
    }
}

/// Agents are not what these tests are about.
struct NoDefinitions;

impl AgentDefinitions for NoDefinitions {
    fn check(&self, _: &Json) -> Result<(AgentName, AgentSpec), Vec<AgentMistake>> {
        Err(Vec::new())
    }

    fn check_input(&self, _: &TaskInput<'_>) -> InputCheck {
        InputCheck::default()
    }

    fn tools(&self, _: TenantId) -> AgentTools {
        AgentTools::default()
    }
}

struct One(Agent);

impl Agents for One {
    fn start(&self, _: &Job<'_>) -> Result<Prepared, Failure> {
        Ok(Prepared {
            agent: self.0.clone(),
            goal: "go".into(),
            files: BTreeMap::new(),
        })
    }

    fn resume(
        &self,
        _: &Job<'_>,
        _: &RunConfig,
    ) -> Result<(Agent, BTreeMap<String, String>), Failure> {
        Ok((self.0.clone(), BTreeMap::new()))
    }

    fn limits(&self, _: &Job<'_>) -> Limits {
        Limits::default()
    }
}

/// What happens in a world.
#[derive(Default)]
pub(crate) struct Faults {
    /// So many looks of the timers at the store fail.
    pub(crate) wake_due: u32,
    /// Reading events, and how it fails.
    pub(crate) events: Option<(u32, StoreError)>,
    /// A signal that comes before a worker has seen the task.
    pub(crate) signal: Option<(&'static str, Value)>,
    /// The task is one of an agent whose definition cannot be read, and how that fails.
    pub(crate) definition: Option<StoreError>,
    /// The answer to the first append of the run is lost, and this signal comes meanwhile.
    pub(crate) answer: Option<(&'static str, Value)>,
    /// Whether the answer to the first opening of a session is late by more than a lease.
    pub(crate) late: bool,
    /// How far the wall clock is ahead until the task waits, in microseconds.
    pub(crate) ahead: i64,
}

/// Runs one task with this agent until it has ended, and gives it back.
pub(crate) async fn run_to_end(agent: Agent) -> TaskRecord {
    run_through(agent, Faults::default()).await
}

/// The same on a store with faults. The engine's loops run as well.
pub(crate) async fn run_through(agent: Agent, faults: Faults) -> TaskRecord {
    run_and_read(agent, faults).await.record
}

fn clerk() -> NewAgent {
    NewAgent {
        tenant: TenantId::DEFAULT,
        name: "clerk".parse().unwrap(),
        spec: AgentSpec {
            definition: Json::parse("{}").unwrap(),
            digest: AgentDigest::from_bytes([7; 32]),
            description: String::new(),
            agents: Vec::new(),
        },
        expected: Expected::Any,
    }
}

/// What a run left behind.
pub(crate) struct Left {
    pub(crate) record: TaskRecord,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) log: Vec<StoredEvent>,
    /// Whether tasks were claimed under a lease that might have been over.
    pub(crate) early: bool,
}

/// A store in a temporary folder, with all that a worker and an engine need beside it.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) store: Arc<SqliteStore>,
    queue: Arc<dyn Queue>,
    live: Arc<dyn Live>,
    random: Arc<dyn Random>,
    hub: Arc<Hub>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with_queue(Arc::new(LocalQueue::default()))
    }

    pub(crate) fn with_queue(queue: Arc<dyn Queue>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        let live: Arc<dyn Live> = Arc::new(LocalLive::default());
        let hub = Hub::new(Arc::clone(&queue), Arc::clone(&live));
        let options = Options {
            durability: Durability::Off,
            observer: Arc::clone(&hub) as _,
            ..Options::new(folder.path(), Arc::clone(&clock) as _)
        };
        Self {
            store: Arc::new(SqliteStore::open(options).unwrap()),
            folder,
            clock,
            queue,
            live,
            random: Arc::new(Counting(AtomicU8::new(1))),
            hub,
        }
    }

    pub(crate) fn engine(&self, upkeep: Arc<dyn UpkeepStore>) -> Arc<Engine> {
        let retry = RetryPolicy {
            max_attempts: 2,
            initial_micros: 1_000,
            ..RetryPolicy::default()
        };
        let settings = ops_engine::Settings {
            budgets: Vec::new(),
            providers: Vec::new(),
            configuration: Default::default(),
            task_types: ["agent_run".to_owned()].into(),
            queues: ["default".to_owned()].into(),
            works: true,
            retry,
            max_input_bytes: 1_000,
            retention: ops_core::ports::Retention::default(),
        };
        let adapters = Adapters {
            store: Arc::clone(&self.store) as _,
            upkeep,
            live: Arc::clone(&self.live),
            queue: Arc::clone(&self.queue),
            clock: Arc::clone(&self.clock) as _,
            random: Arc::clone(&self.random),
            hub: Arc::clone(&self.hub),
            workspaces: Arc::new(ops_worker::Folders {
                dir: self.workspaces(),
            }),
            definitions: Arc::new(NoDefinitions),
            prompts: Arc::new(ops_core::ports::NoPrompts),
        };
        Engine::new(adapters, settings)
    }

    pub(crate) fn worker(
        &self,
        store: Arc<dyn RunStore>,
        agent: Agent,
        concurrency: usize,
    ) -> Arc<Worker> {
        let settings = Settings {
            budgets: Vec::new(),
            providers: Vec::new(),
            configuration: Default::default(),
            concurrency,
            queues: vec![QueueSettings::new("default")],
            workspaces: self.workspaces(),
            lease: LEASE,
            grace: Duration::from_secs(1),
        };
        Worker::new(
            store,
            Arc::clone(&self.live),
            Arc::clone(&self.queue),
            Arc::clone(&self.clock) as _,
            Arc::clone(&self.random),
            Arc::new(One(agent)),
            settings,
        )
    }

    pub(crate) fn workspaces(&self) -> PathBuf {
        self.folder.path().join("workspaces")
    }

    pub(crate) async fn log(&self, task: TaskId) -> Vec<StoredEvent> {
        let mut log: Vec<StoredEvent> = Vec::new();
        loop {
            let after = log.last().map_or(0, |event| event.seq);
            let page = self.store.log(TenantId::DEFAULT, task, after, 1_000).await;
            let page = page.unwrap();
            if page.is_empty() {
                return log;
            }
            log.extend(page);
        }
    }
}

/// A task for whatever agent the worker has.
pub(crate) async fn submit(engine: &Engine, agent_task: Submit) -> TaskId {
    let caller = Caller::local(TenantId::DEFAULT);
    let accepted = engine.submit(&caller, agent_task).await.unwrap();
    accepted.submitted.record.task.id
}

pub(crate) fn agent_task() -> Submit {
    Submit::new("agent_run".into(), Json::parse("{}").unwrap())
}

/// The same, with all that the store has of it.
pub(crate) async fn run_and_read(agent: Agent, faults: Faults) -> Left {
    let bench = Bench::new();
    let (clock, store) = (&bench.clock, &bench.store);
    clock.set_ahead(faults.ahead);
    let none = (0, StoreError::SessionOver);
    let (events, events_fail) = faults.events.unwrap_or(none);
    let faulty = Arc::new(Faulty {
        store: Arc::clone(store),
        events: AtomicU32::new(events),
        events_fail,
        definition: faults.definition.clone(),
        answer: Mutex::new(faults.answer),
        late: Mutex::new(faults.late.then(|| Arc::clone(clock))),
        unheard: AtomicBool::new(false),
        early: AtomicBool::new(false),
    });
    let engine = bench.engine(Arc::new(Stalling {
        store: Arc::clone(store),
        wake_due: AtomicU32::new(faults.wake_due),
    }));
    let mut agent_task = agent_task();
    if faults.definition.is_some() {
        agent_task.agent_id = Some("clerk".into());
        store.put_agent(clerk()).await.unwrap();
    }
    let id = submit(&engine, agent_task).await;
    if let Some((name, payload)) = faults.signal {
        // The engine takes an answer only once its question is open; a run must bear an earlier one.
        let signal = TaskAction::Signal {
            name: name.to_owned(),
            payload,
        };
        let signal = signal.by(Actor::Local);
        let told = store.command(TenantId::DEFAULT, id, signal);
        told.await.unwrap();
    }
    let worker = bench.worker(Arc::clone(&faulty) as _, agent, 2);
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker.run(stop.clone()));
    let loops = tokio::spawn(Arc::clone(&engine).run(stop.clone()));
    let end = Instant::now() + Duration::from_secs(120);
    let record = loop {
        let record = engine.task(TenantId::DEFAULT, id).await.unwrap();
        let state = record.life.state.name();
        if state.is_terminal() {
            break record;
        }
        if matches!(state, StateName::Waiting | StateName::Scheduled) {
            clock.set_ahead(0);
        }
        assert!(Instant::now() < end, "the task hangs in {:?}", record.life);
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    stop.cancel();
    running.await.unwrap();
    loops.await.unwrap();
    let snapshot = store.snapshot(TenantId::DEFAULT, id).await.unwrap();
    let log = bench.log(id).await;
    store.close();
    Left {
        record,
        snapshot,
        log,
        early: faulty.early.load(Ordering::SeqCst),
    }
}
