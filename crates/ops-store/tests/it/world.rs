//! What a test works with: a store, a clock that it moves itself, and a record of the notices.

use std::{
    any::Any,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use ops_core::{
    Actor, Append, ChildSpec, Json, Lifecycle, Micros, NewEvent, Next, RunCommand, SessionId,
    StoredEvent, Task, TaskAction, TaskId, TenantId,
    event::{EffectClass, StepKind, StepMark, StepStatus, TaskError, Usage},
    ports::{
        Blob, ClaimRequest, Clock, Fork, FoundBy, Hint, NewTask, Notice, Observer, RunStore, Store,
        StoreError, TaskFilter, TaskRecord, UpkeepStore,
    },
    retry::RetryPolicy,
    task::TaskLimits,
    time::SECOND,
};
use ops_memory::ManualClock;

pub(crate) const TENANT: TenantId = TenantId::DEFAULT;
pub(crate) const OTHER: TenantId = TenantId(2);

/// Every port of a store.
pub(crate) trait AnyStore: Store + RunStore + UpkeepStore {}

impl<S: Store + RunStore + UpkeepStore> AnyStore for S {}

/// A fork whose new task goes on at a step, with a copy of the events up to a number. Only rules make forks.
pub(crate) fn fork_of(from: TaskId, step: u32, until: u64) -> Fork {
    let mut fork = ops_core::rules::fork::redrive(&[], from);
    fork.step = step;
    fork.until = until;
    fork.redrives = false;
    fork
}

/// What is asked of a task, by a client or under a lease.
#[derive(Debug, Clone)]
pub(crate) enum AnyCommand {
    Client(TaskAction),
    Run(RunCommand),
}

impl From<TaskAction> for AnyCommand {
    fn from(action: TaskAction) -> Self {
        Self::Client(action)
    }
}

impl From<RunCommand> for AnyCommand {
    fn from(command: RunCommand) -> Self {
        Self::Run(command)
    }
}

/// States as a row says them: tests expect states that only the rules can make.
pub(crate) mod state {
    use ops_core::{
        Micros, SessionId, State,
        task::{StateName, StateRow},
    };
    use serde_json::Value;

    fn row(name: StateName) -> StateRow {
        StateRow {
            name,
            session: None,
            due: None,
            wait: None,
            dead_letter: false,
        }
    }

    fn decoded(row: StateRow) -> State {
        State::from_row(row).unwrap()
    }

    pub(crate) fn pending() -> State {
        decoded(row(StateName::Pending))
    }

    pub(crate) fn paused() -> State {
        decoded(row(StateName::Paused))
    }

    pub(crate) fn completed() -> State {
        decoded(row(StateName::Completed))
    }

    pub(crate) fn cancelled() -> State {
        decoded(row(StateName::Cancelled))
    }

    pub(crate) fn failed(dead_letter: bool) -> State {
        decoded(StateRow {
            dead_letter,
            ..row(StateName::Failed)
        })
    }

    pub(crate) fn running(session: SessionId) -> State {
        decoded(StateRow {
            session: Some(session),
            ..row(StateName::Running)
        })
    }

    pub(crate) fn cancelling(session: SessionId) -> State {
        decoded(StateRow {
            session: Some(session),
            ..row(StateName::Cancelling)
        })
    }

    pub(crate) fn scheduled(until: Micros) -> State {
        decoded(StateRow {
            due: Some(until),
            ..row(StateName::Scheduled)
        })
    }

    pub(crate) fn waiting(wait: Value) -> State {
        decoded(StateRow {
            wait: Some(serde_json::from_value(wait).unwrap()),
            ..row(StateName::Waiting)
        })
    }
}

/// Time that passes only when a test says so.
pub(crate) struct TestClock(ManualClock);

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(ManualClock::new(Micros(1_764_000_000 * SECOND))))
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.0.pass(seconds * SECOND);
    }

    /// Sets the clock, forward or back, while no time passes.
    pub(crate) fn set_by(&self, seconds: i64) {
        self.0.step(seconds * SECOND);
    }

    /// Lets a microsecond pass.
    pub(crate) fn tick(&self) {
        self.0.pass(1);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Micros {
        self.0.now()
    }

    fn boot_micros(&self) -> i64 {
        self.0.boot_micros()
    }
}

/// Every notice, in the order of the commits, and the news of other processes.
#[derive(Default)]
pub(crate) struct Seen {
    notices: Mutex<Vec<Notice>>,
    ready: Mutex<Vec<String>>,
    changed: Mutex<Vec<TaskId>>,
    overdue: AtomicU64,
}

impl Seen {
    pub(crate) fn take(&self) -> Vec<Notice> {
        std::mem::take(&mut self.notices.lock().unwrap())
    }

    /// Queues in which other processes have made work ready.
    pub(crate) fn ready(&self) -> Vec<String> {
        self.ready.lock().unwrap().clone()
    }

    /// Whether another process has told of a task.
    pub(crate) fn changed(&self, task: TaskId) -> bool {
        self.changed.lock().unwrap().contains(&task)
    }

    /// How often a missed date was told of.
    pub(crate) fn overdue(&self) -> u64 {
        self.overdue.load(Relaxed)
    }
}

impl Observer for Seen {
    fn committed(&self, notices: &[Notice]) {
        self.notices.lock().unwrap().extend_from_slice(notices);
    }

    fn ready(&self, queue: &str, _: FoundBy) {
        self.ready.lock().unwrap().push(queue.to_owned());
    }

    fn changed(&self, hint: Hint) {
        self.changed.lock().unwrap().push(hint.task);
    }

    fn overdue(&self) {
        self.overdue.fetch_add(1, Relaxed);
    }
}

static IDS: AtomicU64 = AtomicU64::new(1);

fn random() -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&IDS.fetch_add(1, Relaxed).to_be_bytes());
    bytes
}

pub(crate) struct World {
    pub(crate) store: Arc<dyn AnyStore>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) seen: Arc<Seen>,
    /// What lives as long as the store: a folder, a database.
    pub(crate) _keep: Box<dyn Any + Send + Sync>,
}

impl World {
    /// A task with small values; each is a microsecond younger than the one before.
    pub(crate) fn new_task(&self) -> NewTask {
        self.clock.tick();
        let now = self.clock.now();
        NewTask {
            task: Task {
                id: TaskId::new(now, random()),
                tenant: TENANT,
                task_type: "agent_run".into(),
                name: None,
                agent_id: None,
                agent_digest: None,
                input: json(r#"{"prompt":"hello"}"#),
                labels: Default::default(),
                limits: TaskLimits::default(),
                priority: 5,
                queue: "default".into(),
                concurrency_key: None,
                retry_of: None,
                parent: None,
                created_at: now,
                run_at: None,
            },
            actor: Actor::Local,
            retry: RetryPolicy::default(),
            idempotency: None,
            fork: None,
        }
    }

    pub(crate) async fn submit(&self) -> TaskId {
        self.submit_new(self.new_task()).await
    }

    pub(crate) async fn submit_new(&self, new: NewTask) -> TaskId {
        self.store.submit(new).await.unwrap().record.task.id
    }

    pub(crate) async fn session(&self) -> SessionId {
        let session = SessionId::new(self.clock.now(), random());
        self.store.open_session(session).await.unwrap();
        session
    }

    pub(crate) async fn claim(&self, session: SessionId, max: u32) -> Vec<TaskRecord> {
        let request = ClaimRequest {
            session,
            queue: "default".into(),
            max,
            rate: None,
            after: None,
        };
        self.store.claim(request).await.unwrap().tasks
    }

    /// A fresh task in the hands of a fresh session.
    pub(crate) async fn running(&self) -> (SessionId, Lifecycle) {
        self.running_new(self.new_task()).await
    }

    pub(crate) async fn running_new(&self, new: NewTask) -> (SessionId, Lifecycle) {
        let id = self.submit_new(new).await;
        let session = self.session().await;
        let claimed = self.claim(session, 1).await;
        assert_eq!(claimed.len(), 1);
        assert_eq!(claimed[0].task.id, id);
        (session, claimed[0].life.clone())
    }

    /// A fresh task in the hands of a fresh session, beside others that are ready.
    pub(crate) async fn claim_another(&self, new: NewTask) -> (SessionId, Lifecycle) {
        let mut new = new;
        new.task.priority = 9;
        self.running_new(new).await
    }

    pub(crate) async fn apply(
        &self,
        task: TaskId,
        asked: impl Into<AnyCommand>,
    ) -> Result<Lifecycle, StoreError> {
        self.apply_with(TENANT, task, asked, Vec::new()).await
    }

    pub(crate) async fn apply_with(
        &self,
        tenant: TenantId,
        task: TaskId,
        asked: impl Into<AnyCommand>,
        blobs: Vec<Blob>,
    ) -> Result<Lifecycle, StoreError> {
        match asked.into() {
            AnyCommand::Client(action) => {
                let command = action.by(Actor::Local);
                self.store.command(tenant, task, command).await
            }
            AnyCommand::Run(command) => self.store.record(tenant, task, command, blobs).await,
        }
    }

    pub(crate) async fn append(
        &self,
        life: &Lifecycle,
        events: Vec<NewEvent>,
        next: Next,
    ) -> Result<Lifecycle, StoreError> {
        self.apply(life.id, append(life, events, next)).await
    }

    /// A child that a run may ask for.
    pub(crate) fn child(&self, step: u32) -> ChildSpec {
        ChildSpec {
            id: self.new_task().task.id,
            step,
            input: json(r#"{"prompt":"hello"}"#),
            agent: None,
            name: None,
            max_steps: None,
            max_tokens: None,
            max_cost_micros: None,
            deadline: None,
            depth_left: 2,
        }
    }

    pub(crate) async fn task(&self, task: TaskId) -> TaskRecord {
        self.store.task(TENANT, task).await.unwrap()
    }

    pub(crate) async fn events(&self, task: TaskId) -> Vec<StoredEvent> {
        let mut all: Vec<StoredEvent> = Vec::new();
        loop {
            let after = all.last().map_or(0, |event| event.seq);
            let page = self.store.events(TENANT, task, after, 100_000).await;
            let page = page.unwrap();
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }

    /// Dead letters that nobody has redriven.
    pub(crate) async fn dead_letters(&self) -> Vec<TaskId> {
        let filter = TaskFilter {
            dead_letter: true,
            limit: 10,
            ..Default::default()
        };
        let found = self.store.tasks(TENANT, filter).await.unwrap();
        found.into_iter().map(|record| record.task.id).collect()
    }

    pub(crate) async fn kinds(&self, task: TaskId) -> Vec<String> {
        self.events(task)
            .await
            .into_iter()
            .map(|event| event.event.kind)
            .collect()
    }
}

pub(crate) fn json(text: &str) -> Json {
    Json::parse(text).unwrap()
}

/// A JSON string of about so many bytes that does not compress to nothing.
pub(crate) fn big_json(bytes: usize) -> Json {
    let mut text = String::with_capacity(bytes + 16);
    text.push('"');
    let mut word = 0_u64;
    while text.len() < bytes {
        word = word
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&(word >> 33).to_string());
    }
    text.push('"');
    json(&text)
}

pub(crate) fn append(life: &Lifecycle, events: Vec<NewEvent>, next: Next) -> RunCommand {
    RunCommand::append(life.epoch, Append::new(life.seq, events, next))
}

pub(crate) fn step(number: u32, status: StepStatus) -> NewEvent {
    NewEvent {
        kind: format!("tool.{}", status.as_str()),
        step: Some(StepMark {
            number,
            kind: StepKind::Tool,
            status,
            effect: EffectClass::Pure,
        }),
        usage: Usage {
            input_tokens: 10,
            output_tokens: 2,
            cost_micros: 7,
        },
        blobs: Vec::new(),
        body: format!(
            r#"{{"v":1,"type":"tool.{}","step":{number}}}"#,
            status.as_str()
        )
        .into(),
    }
}

/// The two events of a step.
pub(crate) fn pair(number: u32) -> Vec<NewEvent> {
    vec![
        step(number, StepStatus::Started),
        step(number, StepStatus::Completed),
    ]
}

pub(crate) fn error(code: &str) -> TaskError {
    TaskError {
        code: code.into(),
        message: format!("{code} happened"),
    }
}
