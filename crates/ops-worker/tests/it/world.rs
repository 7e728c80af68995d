//! A worker over a store in a temporary folder, with agents that the test makes.

use std::{
    collections::BTreeMap,
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
    Actor, AgentDigest, AgentName, Caller, Json, Micros, StoredEvent, TaskAction, TenantId,
    agent::AgentSpec,
    ports::{
        AgentDefinitions, AgentMistake, AgentStore as _, AgentTools, Clock, Expected, InputCheck,
        NewAgent, Random, RunStore as _, Snapshot, StoreError, TaskInput, TaskRecord,
        TaskStore as _,
    },
    retry::RetryPolicy,
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
pub(crate) struct TestClock(Instant, AtomicI64);

impl TestClock {
    pub(crate) fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap();
        self.1.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Micros {
        Micros(1_700_000_000_000_000 + self.boot_micros())
    }

    fn boot_micros(&self) -> i64 {
        i64::try_from(self.0.elapsed().as_micros()).unwrap() + self.1.load(Ordering::SeqCst)
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

/// The same, with all that the store has of it.
pub(crate) async fn run_and_read(agent: Agent, faults: Faults) -> Left {
    let folder = tempfile::tempdir().unwrap();
    let test_clock = Arc::new(TestClock(Instant::now(), AtomicI64::new(0)));
    let clock: Arc<dyn Clock> = Arc::clone(&test_clock) as _;
    let queue: Arc<dyn ops_core::ports::Queue> = Arc::new(LocalQueue::default());
    let live: Arc<dyn ops_core::ports::Live> = Arc::new(LocalLive::default());
    let random: Arc<dyn Random> = Arc::new(Counting(AtomicU8::new(1)));
    let hub = Hub::new(Arc::clone(&queue), Arc::clone(&live));
    let options = Options {
        durability: Durability::Off,
        observer: Arc::clone(&hub) as _,
        ..Options::new(folder.path(), Arc::clone(&clock))
    };
    let store = Arc::new(SqliteStore::open(options).unwrap());
    let none = (0, StoreError::SessionOver);
    let (events, events_fail) = faults.events.unwrap_or(none);
    let faulty = Arc::new(Faulty {
        store: Arc::clone(&store),
        events: AtomicU32::new(events),
        events_fail,
        definition: faults.definition.clone(),
        answer: Mutex::new(faults.answer),
        late: Mutex::new(faults.late.then_some(test_clock)),
        unheard: AtomicBool::new(false),
        early: AtomicBool::new(false),
    });
    let retry = RetryPolicy {
        max_attempts: 2,
        initial_micros: 1_000,
        ..RetryPolicy::default()
    };
    let settings = ops_engine::Settings {
        task_types: ["agent_run".to_owned()].into(),
        queues: ["default".to_owned()].into(),
        retry,
        max_input_bytes: 1_000,
        retention: ops_core::ports::Retention::default(),
    };
    let adapters = Adapters {
        store: Arc::clone(&store) as _,
        upkeep: Arc::new(Stalling {
            store: Arc::clone(&store),
            wake_due: AtomicU32::new(faults.wake_due),
        }),
        live: Arc::clone(&live),
        queue: Arc::clone(&queue),
        clock: Arc::clone(&clock),
        random: Arc::clone(&random),
        hub,
        workspaces: Arc::new(ops_worker::Folders {
            dir: folder.path().join("workspaces"),
        }),
        definitions: Arc::new(NoDefinitions),
    };
    let engine = Engine::new(adapters, settings);
    let mut wish = Submit::new("agent_run".into(), Json::parse("{}").unwrap());
    if faults.definition.is_some() {
        wish.agent_id = Some("clerk".into());
        store.put_agent(clerk()).await.unwrap();
    }
    let caller = Caller::local(TenantId::DEFAULT);
    let id = engine
        .submit(&caller, wish)
        .await
        .unwrap()
        .submitted
        .record
        .task
        .id;
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
    let settings = Settings {
        concurrency: 2,
        queues: vec![QueueSettings::new("default")],
        workspaces: folder.path().join("workspaces"),
        lease: LEASE,
        grace: Duration::from_secs(1),
    };
    let worker = Worker::new(
        Arc::clone(&faulty) as _,
        live,
        queue,
        clock,
        random,
        Arc::new(One(agent)),
        settings,
    );
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker.run(stop.clone()));
    let loops = tokio::spawn(Arc::clone(&engine).run(stop.clone()));
    let end = Instant::now() + Duration::from_secs(120);
    let record = loop {
        let record = engine.task(TenantId::DEFAULT, id).await.unwrap();
        if record.life.state.name().is_terminal() {
            break record;
        }
        assert!(Instant::now() < end, "the task hangs in {:?}", record.life);
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    stop.cancel();
    running.await.unwrap();
    loops.await.unwrap();
    let snapshot = store.snapshot(TenantId::DEFAULT, id).await.unwrap();
    let mut log: Vec<StoredEvent> = Vec::new();
    loop {
        let after = log.last().map_or(0, |event| event.seq);
        let page = store.log(TenantId::DEFAULT, id, after, 1_000).await;
        let page = page.unwrap();
        if page.is_empty() {
            break;
        }
        log.extend(page);
    }
    store.close();
    Left {
        record,
        snapshot,
        log,
        early: faulty.early.load(Ordering::SeqCst),
    }
}
