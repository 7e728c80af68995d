//! The workers, and the faults that befall them.

mod append;
mod ends;

use std::{
    collections::BTreeMap,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use ops_core::{
    Actor, Json, Lifecycle, Micros, SessionId, Task, TaskAction, TaskId, TenantId,
    ports::{
        ClaimRequest, Clock as _, Fut, Idempotency, IdempotencyKey, NewTask, RunStore as _,
        StoreError, TaskStore as _, UpkeepStore as _,
    },
    retry::RetryPolicy,
    task::TaskLimits,
};
use ops_memory::{ManualClock, MemoryStore, Options};

use self::append::Held;
use super::{oracle::Oracle, random::Random};

/// Actions of one history, before its faults stop.
const ACTIONS: u32 = 250;
const WORKERS: u64 = 4;
const TASKS: usize = 14;
const START: i64 = 1_800_000_000_000_000;
const SECOND: i64 = 1_000_000;
/// How long a session lives without a heartbeat.
const TTL: Duration = Duration::from_secs(10);

/// The answer of a store in memory, which is there at once.
pub(super) fn now<T>(mut future: Fut<'_, T>) -> T {
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("a store in memory answers at once"),
    }
}

/// A worker process.
struct Worker {
    session: SessionId,
    held: Vec<Held>,
    is_frozen: bool,
    after: Option<TenantId>,
}

/// The tenant whose tasks share a budget. Ledgers and keys of tenants are apart.
const BUDGETED: TenantId = TenantId(1);

/// What a task is to do.
#[derive(Debug, Clone, Copy)]
struct Plan {
    tenant: TenantId,
    steps: u32,
    has_key: bool,
    /// Whether its provider has a limit.
    is_limited: bool,
}

pub(super) struct World {
    random: Random,
    clock: Arc<ManualClock>,
    store: MemoryStore,
    workers: Vec<Worker>,
    plans: BTreeMap<TaskId, Plan>,
    /// The turns that tasks wait for.
    turns: BTreeMap<TaskId, Micros>,
    /// Tasks that wait until calls settle.
    busy: Vec<TaskId>,
    marks: u64,
    oracle: Oracle,
    has_faults: bool,
}

impl World {
    /// Plays the history of a seed; gives what happened in it.
    pub(super) fn play(seed: u64) -> BTreeMap<&'static str, u64> {
        Self::played(seed).oracle.seen
    }

    /// All logs of the history of a seed.
    pub(super) fn fingerprint(seed: u64) -> String {
        let world = Self::played(seed);
        let logs = world.plans.iter().map(|(task, plan)| {
            let log = now(world.store.log(plan.tenant, *task, 0, 1_000)).unwrap();
            format!("{log:?}")
        });
        logs.collect()
    }

    fn played(seed: u64) -> Self {
        let clock = Arc::new(ManualClock::new(Micros(START)));
        let mut options = Options::new(clock.clone());
        options.session_ttl = TTL;
        let mut world = Self {
            random: Random::new(seed),
            clock,
            store: MemoryStore::new(options),
            workers: Vec::new(),
            plans: BTreeMap::new(),
            turns: BTreeMap::new(),
            busy: Vec::new(),
            marks: 0,
            oracle: Oracle::default(),
            has_faults: true,
        };
        for _ in 0..WORKERS {
            let worker = world.started();
            world.workers.push(worker);
        }
        for _ in 0..ACTIONS {
            world.act();
        }
        world.drain();
        world
    }

    fn id(&mut self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&self.random.next().to_be_bytes());
        bytes
    }

    fn started(&mut self) -> Worker {
        let mut bytes = [0; 16];
        bytes[..10].copy_from_slice(&self.id());
        let session = SessionId::from_bytes(bytes);
        now(self.store.open_session(session)).unwrap();
        Worker {
            session,
            held: Vec::new(),
            is_frozen: false,
            after: None,
        }
    }

    /// One action of somebody, or a fault.
    fn act(&mut self) {
        let worker = self.random.index(self.workers.len()).unwrap_or(0);
        match self.random.below(40) {
            0..4 => self.submit(),
            4..10 => self.claim(worker),
            10..24 => self.work(worker),
            24..28 => self.pass(),
            28..31 => self.beat(worker),
            31..34 => self.keep_up(),
            34 => self.kill(worker),
            35 => self.freeze(worker),
            36 => self.steer(),
            37 if self.random.once_in(4) => self.set_clock(),
            _ => self.work(worker),
        }
    }

    fn submit(&mut self) {
        if self.plans.len() >= TASKS {
            return;
        }
        let tenant = match self.random.below(4) {
            0 => TenantId(2),
            1 => TenantId(3),
            _ => BUDGETED,
        };
        let at = self.clock.now();
        let id = TaskId::new(at, self.id());
        let has_key = self.random.once_in(3);
        let plan = Plan {
            tenant,
            steps: 1 + u32::try_from(self.random.below(4)).unwrap_or(0),
            has_key,
            is_limited: self.random.once_in(2),
        };
        let new = NewTask {
            task: Task {
                id,
                tenant,
                task_type: "agent_run".to_owned(),
                name: None,
                agent_id: None,
                agent_digest: None,
                input: Json::null(),
                labels: BTreeMap::new(),
                limits: TaskLimits::default(),
                priority: u8::try_from(self.random.below(10)).unwrap_or(0),
                queue: "default".to_owned(),
                concurrency_key: has_key.then(|| "key".to_owned()),
                retry_of: None,
                parent: None,
                created_at: at,
                run_at: None,
            },
            actor: Actor::Local,
            // Kills are faults of the simulation, not of the task.
            retry: RetryPolicy {
                max_lease_losses: 1_000,
                ..RetryPolicy::default()
            },
            idempotency: Some(Idempotency {
                key: IdempotencyKey::Client(id.to_string()),
                digest: [1; 32],
            }),
            fork: None,
        };
        let accepted = now(self.store.submit(new.clone())).unwrap();
        assert_eq!(accepted.record.task.id, id);
        self.plans.insert(id, plan);
        self.oracle.tasks.insert(id);
        if self.random.once_in(3) {
            // The client did not hear of it.
            let mut again = new;
            again.task.id = TaskId::new(at, self.id());
            let found = now(self.store.submit(again)).unwrap();
            assert_eq!((found.record.task.id, found.existing), (id, true));
            self.oracle.saw("submitted twice");
        }
    }

    fn claim(&mut self, index: usize) {
        let worker = &self.workers[index];
        if worker.is_frozen || worker.held.len() >= 4 {
            return;
        }
        let request = ClaimRequest {
            session: worker.session,
            queue: "default".to_owned(),
            max: 1 + u32::try_from(self.random.below(3)).unwrap_or(0),
            rate: None,
            after: worker.after,
        };
        let claimed = match now(self.store.claim(request)) {
            Ok(claimed) => claimed.tasks,
            Err(StoreError::SessionOver) => return self.session_over(index),
            Err(error) => panic!("{error}"),
        };
        for record in claimed {
            let task = record.task.id;
            self.oracle.claimed(task, record.life.epoch);
            let held = self.resume(&record.life, self.plans[&task]);
            let worker = &mut self.workers[index];
            worker.after = Some(record.task.tenant);
            worker.held.push(held);
        }
        self.check_keys();
    }

    /// At most one task of the key has started and not ended.
    fn check_keys(&mut self) {
        let (mut holders, mut blocked) = (0, 0);
        for (task, plan) in self.plans.iter().filter(|(_, plan)| plan.has_key) {
            let life = self.life(plan.tenant, *task);
            holders += u32::from(
                plan.tenant == BUDGETED && life.started_at.is_some() && life.completed_at.is_none(),
            );
            let wait = format!("{:?}", life.state);
            blocked += u32::from(wait.contains("Concurrency"));
        }
        assert!(holders <= 1, "{holders} tasks hold a key");
        if blocked > 0 {
            self.oracle.saw("key blocked");
        }
    }

    fn life(&self, tenant: TenantId, task: TaskId) -> Lifecycle {
        now(self.store.life(tenant, task)).unwrap()
    }

    fn pass(&mut self) {
        let micros = 1 + i64::try_from(self.random.below(4_000_000)).unwrap_or(0);
        self.clock.pass(micros);
    }

    fn set_clock(&mut self) {
        let micros = i64::try_from(self.random.below(3_600_000_000)).unwrap_or(0);
        match self.random.once_in(2) {
            true => {
                self.clock.step(micros);
                self.oracle.saw("clock set forward");
            }
            false => {
                self.clock.step(-micros);
                self.oracle.saw("clock set back");
            }
        }
        self.oracle.clock_set();
    }

    fn beat(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        if worker.is_frozen {
            if self.random.once_in(3) {
                worker.is_frozen = false;
                self.oracle.saw("thawed");
            }
            return;
        }
        match now(self.store.heartbeat(worker.session)) {
            Ok(_) => {}
            Err(StoreError::SessionOver) => self.session_over(index),
            Err(error) => panic!("{error}"),
        }
    }

    fn session_over(&mut self, index: usize) {
        self.workers[index] = self.started();
    }

    fn keep_up(&mut self) {
        let ended = now(self.store.expire_sessions()).unwrap();
        if ended > 0 {
            self.oracle.saw("lease lost");
        }
        now(self.store.wake_due(100)).unwrap();
        now(self.store.correct_clocks(100)).unwrap();
    }

    fn kill(&mut self, index: usize) {
        self.workers[index] = self.started();
        self.oracle.saw("killed");
    }

    fn freeze(&mut self, index: usize) {
        if !self.workers[index].is_frozen {
            self.workers[index].is_frozen = true;
            self.oracle.saw("frozen");
        }
    }

    /// A person pauses, resumes or cancels a task.
    fn steer(&mut self) {
        let Some(index) = self.random.index(self.plans.len()) else {
            return;
        };
        let (task, plan) = self.plans.iter().nth(index).unwrap();
        let (task, tenant) = (*task, plan.tenant);
        let (action, what) = match self.random.below(6) {
            0 => (TaskAction::Cancel, "cancelled"),
            1..3 => (TaskAction::Pause, "paused"),
            _ => (TaskAction::Resume, "resumed"),
        };
        let command = action.by(Actor::Local);
        if now(self.store.command(tenant, task, command)).is_ok() {
            self.oracle.saw(what);
        }
    }
}
