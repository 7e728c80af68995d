//! A server on a port of its own, and a worker that acts through the store.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ops_core::{
    AgentDigest, AgentName, Append, Code, Json, Micros, Next, RunCommand, SessionId, TaskId,
    TenantId,
    agent::AgentSpec,
    event::{EffectClass, NewEvent, StepKind, StepMark, StepStatus, TaskError, Usage},
    ports::{
        AgentDefinitions, AgentMistake, AgentTool, AgentTools, ClaimRequest, Clock, Delta,
        Expected, Follow, Fut, Hint, Hints, InputCheck, Live, PromptError, Prompts, Queue, Random,
        Reload, ReloadRefused, Reloaded, Retention, RunStore as _, TaskInput, TaskRecord,
        TaskStore as _, ToolSourceHealth, Workspaces,
    },
    retry::RetryPolicy,
};
use ops_engine::{Adapters, Engine, FieldError, Hub};
use ops_queue::{LocalLive, LocalQueue};
use ops_server::{Hosts, ModelInfo, RestSettings, ServerInfo, serve};
use ops_store::{Durability, Options, SqliteStore};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::client::Reply;

/// 2025-04-12T10:00:00Z.
const START: i64 = 1_744_452_000_000_000;

/// Whether others were served while an input that waits for them was looked at.
pub(crate) static OTHERS_GO_ON: AtomicBool = AtomicBool::new(false);

/// Has nothing to say against an input, but waits for others to be served if it asks for that. It
/// warns of a provider that there is not.
fn check(input: &Json) -> InputCheck {
    let mut found = InputCheck::default();
    let begun = Instant::now();
    while input.as_str().contains("waits_for_others") && !OTHERS_GO_ON.load(Ordering::SeqCst) {
        if begun.elapsed() > Duration::from_secs(5) {
            let message = "nobody else was served meanwhile";
            let wrong = FieldError::new(&["input"], "value_error", message);
            found.wrong.push(wrong);
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    if input.as_str().contains("non_existent_provider") {
        let path = ["input", "agent_config", "llm_provider"];
        let message = "there is no provider `non_existent_provider`; the task will fail";
        let warning = FieldError::new(&path, "unknown_provider", message);
        found.warnings.push(warning);
    }
    if input.as_str().contains("provider_without_key") {
        let message = "the provider has no key".to_owned();
        found.refused = Some((Code::ProviderNotConfigured, message));
    }
    found
}

/// A clock that goes on by a millisecond with each look.
pub(crate) struct TestClock {
    time: AtomicI64,
    ahead: AtomicI64,
}

impl TestClock {
    /// Time passes.
    pub(crate) fn advance(&self, seconds: i64) {
        self.time.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    /// The clock is set: so far ahead of the time.
    pub(crate) fn set_ahead(&self, seconds: i64) {
        self.ahead.store(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Micros {
        let ahead = self.ahead.load(Ordering::SeqCst);
        Micros(self.time.fetch_add(1_000, Ordering::SeqCst) + ahead)
    }

    fn boot_micros(&self) -> i64 {
        self.time.load(Ordering::SeqCst)
    }
}

struct Counter(AtomicU64);

impl Random for Counter {
    fn id_bytes(&self) -> [u8; 10] {
        let mut bytes = [0; 10];
        let count = self.0.fetch_add(1, Ordering::SeqCst);
        bytes[2..].copy_from_slice(&count.to_be_bytes());
        bytes
    }
}

/// The files have changed, and one of the changes waits for a restart.
struct TestReload;

impl Reload for TestReload {
    fn reload(&self) -> Fut<'_, Result<Reloaded, ReloadRefused>> {
        let reloaded = Reloaded {
            notes: vec!["a note".to_owned()],
            needs_restart: vec!["limits.max_steps".to_owned()],
        };
        Box::pin(std::future::ready(Ok(reloaded)))
    }
}

/// Tasks without folders.
struct NoFolders;

impl Workspaces for NoFolders {
    fn remove(&self, _: TaskId) -> Fut<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Every task has one model call: its step 1.
struct OnePrompt;

impl Prompts for OnePrompt {
    fn prompt<'a>(
        &'a self,
        record: &'a TaskRecord,
        step: u32,
    ) -> Fut<'a, Result<Json, PromptError>> {
        let prompt = match step {
            1 => Ok(Json::from(&json!({
                "step": 1, "attempt": 2, "model": "scripted/s",
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": record.task.id.to_string(), "images": 1},
                    {"role": "assistant", "content": "", "calls": [
                        {"step": 2, "name": "calculator", "arguments": "{", "arguments_bytes": 9},
                    ]},
                    {"role": "tool", "step": 2, "name": "calculator", "content": "2",
                        "content_bytes": 70_000, "is_error": false},
                ],
                "messages_left_out": 3,
                "tools": [{"name": "calculator", "description": "Calculates."}],
                "response_schema": null,
            }))),
            2 => Err(PromptError::Unavailable("the model is gone".to_owned())),
            _ => Err(PromptError::NoCall),
        };
        Box::pin(std::future::ready(prompt))
    }
}

/// Definitions are objects with a `name`, and perhaps `agents` and `n`.
struct Definitions;

impl AgentDefinitions for Definitions {
    fn check(&self, definition: &Json) -> Result<(AgentName, AgentSpec), Vec<AgentMistake>> {
        let value = definition.to_value();
        let mistake = |key: &str, message: &str| {
            vec![AgentMistake {
                path: vec![key.to_owned()],
                message: format!("`{key}` {message}"),
            }]
        };
        let fields = value
            .as_object()
            .ok_or_else(|| mistake("", "is no object"))?;
        let known = ["name", "agents", "n"];
        if let Some(key) = fields.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(mistake(key, "is not known"));
        }
        let name = value["name"].as_str().and_then(|name| name.parse().ok());
        let name: AgentName = name.ok_or_else(|| mistake("name", "is missing"))?;
        let agents = value["agents"].as_array().into_iter().flatten();
        let mut digest = [0; 32];
        let number = value["n"].as_u64().unwrap_or(0).to_be_bytes();
        digest[24..].copy_from_slice(&number);
        digest[..name.as_str().len().min(24)].copy_from_slice(name.as_str().as_bytes());
        let spec = AgentSpec {
            definition: Json::from(&value),
            digest: AgentDigest::from_bytes(digest),
            description: String::new(),
            agents: agents
                .map(|agent| agent.as_str().unwrap().parse().unwrap())
                .collect(),
        };
        Ok((name, spec))
    }

    fn check_input(&self, task: &TaskInput<'_>) -> InputCheck {
        check(task.input)
    }

    fn tools(&self, _: TenantId) -> AgentTools {
        AgentTools {
            tools: vec![AgentTool {
                name: "read_file".into(),
                source: "builtin".into(),
                description: "Reads a file.".into(),
                effect: "pure".into(),
                settles: Vec::new(),
                digest: "0".repeat(64),
                input_schema: Json::parse(r#"{"type":"object"}"#).unwrap(),
            }],
            sources: vec![
                ToolSourceHealth {
                    name: "builtin".into(),
                    tools: Some(1),
                    error: None,
                },
                ToolSourceHealth {
                    name: "github".into(),
                    tools: None,
                    error: Some("it has not answered yet".into()),
                },
            ],
        }
    }
}

/// Wakes readers, when a test lets it.
#[derive(Default)]
pub(crate) struct TestLive {
    inner: LocalLive,
    held: Mutex<Option<Vec<Hint>>>,
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl TestLive {
    /// How many tasks are followed.
    pub(crate) fn followed(&self) -> usize {
        self.inner.followed()
    }

    /// Keeps hints back.
    pub(crate) fn hold(&self) {
        self.held.lock().unwrap().get_or_insert_default();
    }

    /// Lets the hints go that were kept back.
    pub(crate) fn release(&self) {
        let held = self.held.lock().unwrap().take();
        for hint in held.into_iter().flatten() {
            self.inner.hint(hint);
        }
    }

    /// Acts at the last moment before the next follower listens.
    pub(crate) fn before_listening(&self, act: impl FnOnce() + Send + 'static) {
        *self.meanwhile.lock().unwrap() = Some(Box::new(act));
    }
}

impl Live for TestLive {
    fn hint(&self, hint: Hint) {
        if let Some(held) = &mut *self.held.lock().unwrap() {
            return held.push(hint);
        }
        self.inner.hint(hint);
    }

    fn delta(&self, tenant: TenantId, task: TaskId, delta: Delta) {
        self.inner.delta(tenant, task, delta);
    }

    fn follow(&self, tenant: TenantId, task: TaskId) -> Box<dyn Follow> {
        if let Some(act) = self.meanwhile.lock().unwrap().take() {
            act();
        }
        self.inner.follow(tenant, task)
    }

    fn hints(&self, tenant: TenantId) -> Box<dyn Hints> {
        self.inner.hints(tenant)
    }
}

/// A server with its parts.
pub(crate) struct App {
    pub(crate) addr: SocketAddr,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) live: Arc<TestLive>,
    pub(crate) stop: CancellationToken,
    pub(crate) served: JoinHandle<()>,
    session: SessionId,
    _dir: tempfile::TempDir,
}

impl App {
    pub(crate) async fn start() -> Self {
        Self::start_with(serve::Settings::default()).await
    }

    pub(crate) async fn dev() -> Self {
        Self::start_with(serve::Settings {
            hosts: Hosts::Loopback,
            ..serve::Settings::default()
        })
        .await
    }

    pub(crate) async fn start_with(settings: serve::Settings) -> Self {
        Self::start_with_routes(settings, |_| {}, |routes| routes).await
    }

    pub(crate) async fn adjusted(adjust: impl FnOnce(&mut RestSettings)) -> Self {
        Self::start_with_routes(serve::Settings::default(), adjust, |routes| routes).await
    }

    pub(crate) async fn start_with_routes(
        settings: serve::Settings,
        adjust: impl FnOnce(&mut RestSettings),
        extend: impl FnOnce(axum::Router) -> axum::Router,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock {
            time: AtomicI64::new(START),
            ahead: AtomicI64::new(0),
        });
        let queue: Arc<dyn Queue> = Arc::new(LocalQueue::default());
        let live = Arc::new(TestLive::default());
        let hub = Hub::new(Arc::clone(&queue), Arc::clone(&live) as Arc<dyn Live>);
        let store = SqliteStore::open(Options {
            durability: Durability::Off,
            observer: Arc::clone(&hub) as _,
            ..Options::new(dir.path(), Arc::clone(&clock) as Arc<dyn Clock>)
        });
        let store = Arc::new(store.unwrap());
        let engine = Engine::new(
            Adapters {
                store: Arc::clone(&store) as _,
                upkeep: Arc::clone(&store) as _,
                live: Arc::clone(&live) as Arc<dyn Live>,
                queue,
                clock: Arc::clone(&clock) as Arc<dyn Clock>,
                random: Arc::new(Counter(AtomicU64::new(1))),
                hub,
                workspaces: Arc::new(NoFolders),
                definitions: Arc::new(Definitions),
                prompts: Arc::new(OnePrompt),
            },
            ops_engine::Settings {
                budgets: crate::budgets::configured(),
                providers: crate::budgets::providers(),
                configuration: Default::default(),
                task_types: ["agent_run", "agent_task", "echo"]
                    .map(str::to_owned)
                    .into(),
                queues: ["default".to_owned()].into(),
                works: true,
                retry: RetryPolicy::default(),
                max_input_bytes: 8 << 20,
                retention: Retention {
                    completed: Some(3_600_000_000),
                    ..Retention::default()
                },
            },
        );
        let stop = CancellationToken::new();
        let mut rest_settings = RestSettings::new(Arc::clone(&engine), info(), stop.clone());
        rest_settings.mcp = Arc::new(crate::mcp::TestServers(Arc::clone(&store) as _));
        rest_settings.reload = Arc::new(TestReload);
        adjust(&mut rest_settings);
        let routes = extend(ops_server::router(rest_settings));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let served = tokio::spawn(serve(listener, routes, settings, stop.clone()));
        let session = SessionId::new(Micros(START), [9; 10]);
        store.open_session(session).await.unwrap();
        Self {
            addr,
            clock,
            engine,
            store,
            live,
            stop,
            served,
            session,
            _dir: dir,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        crate::client::request(self.addr, "GET", path, &[], b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        let body = body.to_string();
        let headers = [("content-type", "application/json")];
        crate::client::request(self.addr, "POST", path, &headers, body.as_bytes()).await
    }

    /// Submits a task, and gives its id as text.
    pub(crate) async fn submit(&self, body: &Value) -> String {
        let reply = self.post("/api/v1/tasks", body).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        reply.json()["task_id"].as_str().unwrap().to_owned()
    }

    /// Submits an echo.
    pub(crate) async fn echo(&self) -> String {
        self.submit(&json!({"task_type": "echo"})).await
    }

    pub(crate) async fn task(&self, id: &str) -> Value {
        let reply = self.get(&format!("/api/v1/tasks/{id}")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    }

    /// The worker's session.
    pub(crate) fn session(&self) -> SessionId {
        self.session
    }

    /// Claims the next task.
    pub(crate) async fn claim(&self) -> TaskRecord {
        let request = ClaimRequest {
            session: self.session,
            queue: "default".to_owned(),
            max: 1,
            rate: None,
            after: None,
        };
        let mut claimed = self.store.claim(request).await.unwrap().tasks;
        assert_eq!(claimed.len(), 1, "there is a task to claim");
        claimed.remove(0)
    }

    /// Applies agents of these names.
    pub(crate) async fn agents(&self, names: &[&str]) {
        for name in names {
            let definition = Json::from(&json!({"name": name}));
            let tenant = TenantId::DEFAULT;
            let applied = self
                .engine
                .apply_agent(tenant, name, &definition, Expected::Any);
            applied.await.unwrap();
        }
    }

    /// Records the work of a worker.
    pub(crate) async fn append(&self, task: TaskId, events: Vec<NewEvent>, next: Next) {
        let life = self.store.task(TenantId::DEFAULT, task).await.unwrap().life;
        let append = Append::new(life.seq, events, next);
        let command = RunCommand::append(life.epoch, append);
        self.store
            .record(TenantId::DEFAULT, task, command, Vec::new())
            .await
            .unwrap();
    }

    /// Claims the next task and ends it with a result.
    pub(crate) async fn complete_next(&self, result: &Value) {
        let task = self.claim().await.task.id;
        let result = Json::from(result);
        self.append(task, Vec::new(), Next::Complete { result })
            .await;
    }

    /// Claims the next task and ends it without a run.
    pub(crate) async fn fail_next(&self, retryable: bool) {
        let task = self.claim().await.task.id;
        let error = TaskError {
            code: "model_refused".into(),
            message: "the model refused".into(),
        };
        self.append(task, Vec::new(), Next::Fail { error, retryable })
            .await;
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn info() -> ServerInfo {
    ServerInfo {
        version: "0.1.0".into(),
        mode: "dev".into(),
        model: ModelInfo {
            provider: "scripted".into(),
            name: "scripted".into(),
            is_llm: false,
        },
        storage: "sqlite".into(),
        durability: "ephemeral".into(),
        data_dir: None,
        notice: Some("the scripted model is not an LLM".into()),
    }
}

/// An event of a run.
pub(crate) fn event(number: u32, status: StepStatus, mut body: Value) -> NewEvent {
    let kind = format!("tool.{}", status.as_str());
    body["type"] = kind.as_str().into();
    body["v"] = 1.into();
    NewEvent {
        kind,
        step: Some(StepMark {
            number,
            kind: StepKind::Tool,
            status,
            effect: EffectClass::Write,
        }),
        usage: Usage {
            input_tokens: 3,
            output_tokens: 2,
            cost_micros: 1_500,
        },
        blobs: Vec::new(),
        body: body.to_string().into(),
    }
}
