//! An engine on a store in memory, with a clock that the test moves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use ops_core::{
    AgentName, Append, Caller, ChildSpec, Json, Lifecycle, Micros, NewEvent, Next, RunCommand,
    SessionId, StoredEvent, TaskId, TenantId,
    agent::AgentSpec,
    event::{EffectClass, StepKind, StepMark, StepStatus, Usage},
    ports::{
        AgentDefinitions, AgentMistake, AgentTools, ClaimRequest, Clock, Fut, InputCheck, Live,
        Queue, Random, Retention, RunStore as _, TaskInput, TaskRecord, TaskStore as _, Workspaces,
    },
    retry::RetryPolicy,
    time::SECOND,
};
use ops_engine::{Adapters, Engine, Hub, Settings, Submit};
use ops_memory::{ManualClock, MemoryStore, Options};
use ops_queue::{LocalLive, LocalQueue};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub(crate) const TENANT: TenantId = TenantId::DEFAULT;
pub(crate) const OTHER: TenantId = TenantId(2);

/// Ids in the order of their making.
struct Counting(AtomicU64);

impl Random for Counting {
    fn id_bytes(&self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes[2..].copy_from_slice(&self.0.fetch_add(1, SeqCst).to_be_bytes());
        bytes
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

struct NoFolders;

impl Workspaces for NoFolders {
    fn remove(&self, _: TaskId) -> Fut<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

pub(crate) struct World {
    pub(crate) engine: Arc<Engine>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) queue: Arc<LocalQueue>,
    pub(crate) caller: Caller,
    random: Arc<Counting>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::keeping(Retention::default())
    }

    pub(crate) fn keeping(retention: Retention) -> Self {
        // 2026-11-30T12:00:00Z
        let clock = Arc::new(ManualClock::new(Micros(1_796_040_000 * SECOND)));
        let queue = Arc::new(LocalQueue::default());
        let live: Arc<dyn Live> = Arc::new(LocalLive::default());
        let hub = Hub::new(Arc::clone(&queue) as Arc<dyn Queue>, Arc::clone(&live));
        let mut options = Options::new(Arc::clone(&clock) as _);
        options.observer = Arc::clone(&hub) as _;
        let store = Arc::new(MemoryStore::new(options));
        let random = Arc::new(Counting(AtomicU64::new(1)));
        let adapters = Adapters {
            store: Arc::clone(&store) as _,
            upkeep: Arc::clone(&store) as _,
            live,
            queue: Arc::clone(&queue) as _,
            clock: Arc::clone(&clock) as _,
            random: Arc::clone(&random) as _,
            hub,
            workspaces: Arc::new(NoFolders),
            definitions: Arc::new(NoDefinitions),
            prompts: Arc::new(ops_core::ports::NoPrompts),
        };
        let settings = Settings {
            budgets: Vec::new(),
            providers: Vec::new(),
            configuration: Default::default(),
            task_types: ["agent_run".to_owned()].into(),
            queues: ["default".to_owned()].into(),
            works: true,
            retry: RetryPolicy::default(),
            max_input_bytes: 10_000,
            retention,
        };
        Self {
            engine: Engine::new(adapters, settings),
            store,
            clock,
            queue,
            caller: Caller::local(TENANT),
            random,
        }
    }

    /// Lets so many seconds pass. Loops that sleep do not notice: they run in [`World::until`].
    pub(crate) fn pass(&self, seconds: i64) {
        self.clock.pass(seconds * SECOND);
    }

    /// Runs the loops of a server, as after a start, until something is so.
    pub(crate) async fn until<F: Future<Output = bool>>(&self, what: &str, is_so: impl Fn() -> F) {
        let stop = CancellationToken::new();
        let loops = tokio::spawn(Arc::clone(&self.engine).run(stop.clone()));
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        assert!(waited.await.is_ok(), "never: {what}");
        stop.cancel();
        loops.await.unwrap();
    }

    pub(crate) fn request(&self) -> Submit {
        let input = Json::parse(r#"{"prompt":"hello"}"#).unwrap();
        Submit::new("agent_run".into(), input)
    }

    pub(crate) async fn submit(&self) -> TaskId {
        self.submit_as(self.request()).await
    }

    pub(crate) async fn submit_as(&self, request: Submit) -> TaskId {
        let accepted = self.engine.submit(&self.caller, request).await.unwrap();
        accepted.submitted.record.task.id
    }

    pub(crate) async fn session(&self) -> SessionId {
        let session = SessionId::new(self.clock.now(), self.random.id_bytes());
        self.store.open_session(session).await.unwrap();
        session
    }

    /// The ready tasks, in the hands of a fresh session.
    pub(crate) async fn claim(&self) -> Vec<TaskRecord> {
        let request = ClaimRequest {
            session: self.session().await,
            queue: "default".into(),
            max: 10,
            rate: None,
            after: None,
        };
        self.store.claim(request).await.unwrap().tasks
    }

    /// A fresh task in the hands of a worker.
    pub(crate) async fn running(&self) -> Lifecycle {
        let id = self.submit().await;
        let claimed = self.claim().await;
        let of_task = claimed.into_iter().find(|record| record.task.id == id);
        of_task.unwrap().life
    }

    pub(crate) async fn append(&self, life: &Lifecycle, append: Append) -> Lifecycle {
        let command = RunCommand::append(life.epoch, append);
        let done = self.store.record(TENANT, life.id, command, Vec::new());
        done.await.unwrap()
    }

    pub(crate) async fn record(
        &self,
        life: &Lifecycle,
        events: Vec<NewEvent>,
        next: Next,
    ) -> Lifecycle {
        self.append(life, Append::new(life.seq, events, next)).await
    }

    pub(crate) async fn complete(&self, life: &Lifecycle) -> Lifecycle {
        let result = Json::parse("{}").unwrap();
        self.record(life, Vec::new(), Next::Complete { result })
            .await
    }

    pub(crate) fn child(&self, step: u32) -> ChildSpec {
        ChildSpec {
            id: TaskId::new(self.clock.now(), self.random.id_bytes()),
            step,
            input: Json::parse(r#"{"prompt":"part"}"#).unwrap(),
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
        self.engine.task(TENANT, task).await.unwrap()
    }

    pub(crate) async fn state(&self, task: TaskId) -> String {
        self.task(task).await.life.state.name().to_string()
    }

    pub(crate) async fn log(&self, task: TaskId) -> Vec<StoredEvent> {
        self.store.events(TENANT, task, 0, 1_000).await.unwrap()
    }

    pub(crate) async fn kinds(&self, task: TaskId) -> Vec<String> {
        let log = self.log(task).await.into_iter();
        log.map(|event| event.event.kind).collect()
    }
}

fn event(number: u32, kind: StepKind, status: StepStatus, name: &str, body: Value) -> NewEvent {
    let mut body = body;
    body["v"] = json!(1);
    body["type"] = json!(name);
    NewEvent {
        kind: name.to_owned(),
        step: Some(StepMark {
            number,
            kind,
            status,
            effect: EffectClass::Pure,
        }),
        usage: Usage {
            input_tokens: 5,
            ..Usage::default()
        },
        blobs: Vec::new(),
        body: body.to_string().into(),
    }
}

/// A model call with its answer.
pub(crate) fn model(number: u32) -> Vec<NewEvent> {
    let of = |status, name| event(number, StepKind::Model, status, name, json!({}));
    vec![
        of(StepStatus::Started, "model.started"),
        of(StepStatus::Completed, "model.completed"),
    ]
}

pub(crate) fn called(number: u32) -> NewEvent {
    let body = json!({"name": "calculator", "input": {"n": number}});
    event(
        number,
        StepKind::Tool,
        StepStatus::Started,
        "tool.called",
        body,
    )
}

pub(crate) fn waits(number: u32) -> NewEvent {
    event(
        number,
        StepKind::Tool,
        StepStatus::Waiting,
        "tool.waiting",
        json!({}),
    )
}

pub(crate) fn returned(number: u32) -> NewEvent {
    let body = json!({"output": number});
    event(
        number,
        StepKind::Tool,
        StepStatus::Completed,
        "tool.completed",
        body,
    )
}

/// The outcome of a call that started a child.
pub(crate) fn spawned(number: u32, child: TaskId) -> NewEvent {
    let body = json!({"output": {}, "child": {"task": child.to_string()}});
    event(
        number,
        StepKind::Tool,
        StepStatus::Completed,
        "tool.completed",
        body,
    )
}
