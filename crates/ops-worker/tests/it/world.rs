//! A worker over a store in a temporary folder, with agents that the test makes.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use agentkit::{Agent, event::Failure, run::RunConfig};
use ops_core::{
    Json, Lifecycle, Micros, Task, TaskId, TenantId,
    ports::{Clock, NewTask, Random, Store, TaskRecord},
    retry::RetryPolicy,
    task::TaskLimits,
};
use ops_engine::Hub;
use ops_queue::{LocalLive, LocalQueue};
use ops_store::{Durability, Options, SqliteStore};
use ops_worker::{Agents, Prepared, Settings, Worker};
use tokio_util::sync::CancellationToken;

/// A clock that only goes forward with real time.
pub(crate) struct TestClock(Instant, AtomicI64);

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

struct One(Agent);

impl Agents for One {
    fn start(&self, _: &Task, _: &Lifecycle) -> Result<Prepared, Failure> {
        Ok(Prepared {
            agent: self.0.clone(),
            goal: "go".into(),
            files: BTreeMap::new(),
        })
    }

    fn resume(&self, _: &Task, _: &RunConfig) -> Result<Agent, Failure> {
        Ok(self.0.clone())
    }
}

/// Runs one task with this agent until it has ended, and gives it back.
pub(crate) async fn run_to_end(agent: Agent) -> TaskRecord {
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(TestClock(Instant::now(), AtomicI64::new(0)));
    let queue: Arc<dyn ops_core::ports::Queue> = Arc::new(LocalQueue::default());
    let live: Arc<dyn ops_core::ports::Live> = Arc::new(LocalLive::default());
    let random: Arc<dyn Random> = Arc::new(Counting(AtomicU8::new(1)));
    let options = Options {
        durability: Durability::Off,
        observer: Hub::new(Arc::clone(&queue), Arc::clone(&live)),
        ..Options::new(folder.path(), Arc::clone(&clock))
    };
    let store = Arc::new(SqliteStore::open(options).unwrap());
    let id = TaskId::new(clock.now(), [7; 10]);
    let task = Task {
        id,
        tenant: TenantId::DEFAULT,
        task_type: "agent_run".into(),
        name: None,
        agent_id: None,
        input: Json::parse("{}").unwrap(),
        labels: BTreeMap::new(),
        limits: TaskLimits::default(),
        priority: 0,
        queue: "default".into(),
        retry_of: None,
        created_at: clock.now(),
        run_at: None,
    };
    let retry = RetryPolicy {
        max_attempts: 2,
        initial_micros: 0,
        ..RetryPolicy::default()
    };
    store
        .submit(NewTask {
            task,
            retry,
            idempotency: None,
        })
        .await
        .unwrap();
    let settings = Settings {
        concurrency: 2,
        queue: "default".into(),
        workspaces: folder.path().join("workspaces"),
        lease: Duration::from_secs(10),
        grace: Duration::from_secs(1),
    };
    let as_store: Arc<dyn Store> = Arc::clone(&store) as _;
    let worker = Worker::new(
        as_store,
        live,
        queue,
        clock,
        random,
        Arc::new(One(agent)),
        settings,
    );
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker.run(stop.clone()));
    let end = Instant::now() + Duration::from_secs(20);
    let record = loop {
        store.wake_due(10).await.unwrap();
        let record = store.task(TenantId::DEFAULT, id).await.unwrap();
        if record.life.state.name().is_terminal() {
            break record;
        }
        assert!(Instant::now() < end, "the task hangs in {:?}", record.life);
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    stop.cancel();
    running.await.unwrap();
    store.close();
    record
}
