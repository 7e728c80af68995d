//! Settings of agents: the part of a configuration that this crate reads.

use std::{path::PathBuf, sync::Arc, time::Duration};

use agentkit::{
    memory::long_term::LongTermMemory,
    model::{
        Catalog,
        client::{ApiKey, Provider},
    },
    policy::PolicyFile,
    run::{Limits, MemoryConfig},
};

/// How long a run waits for a tool source that was never listed.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest that one model call may take.
const MODEL_TIMEOUT: Duration = Duration::from_secs(300);
/// Tries of a model call that fails in a passing way.
const MODEL_TRIES: u32 = 5;

/// Settings of agents. The names in the messages are those of `opspawn`'s settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How to reach the providers; a provider without an endpoint has neither a key nor a base URL.
    pub endpoints: Vec<Endpoint>,
    /// `model.provider`: the provider of tasks that name no provider; unless set, the first endpoint.
    pub provider: Option<String>,
    /// `model.name`: the model of tasks that name no model, with or without its provider.
    pub model: Option<String>,
    /// `model.fallback`: the models that go on where it cannot, each with its provider.
    pub fallback: Vec<String>,
    /// Facts about models.
    pub catalog: Catalog,
    /// Whether answers are asked for as a stream.
    pub stream: bool,
    /// The longest that one model call may take.
    pub model_timeout: Duration,
    /// Tries of a model call that fails in a passing way, for each attempt of a task.
    pub model_tries: u32,
    /// Sent with each request, if it is set.
    pub temperature: Option<f64>,
    /// Where the answers of models are kept, or come from.
    pub cassette: Option<CassetteSettings>,
    /// `agent.script`: the script of the scripted model, for tasks without a script.
    pub script: Option<String>,
    /// Answers every task with a mock after so many milliseconds, for load tests.
    pub mock_delay_ms: Option<u64>,
    /// Instructions of agents without a definition.
    pub instructions: String,
    /// The planner of agents that name no planner.
    pub planner: String,
    /// Limits of a run unless its task or its agent sets them.
    pub limits: Limits,
    /// How long a task may take from its first start, unless it or its agent says otherwise.
    pub timeout: Option<Duration>,
    /// How a conversation is kept within the model's context.
    pub memory: MemoryConfig,
    /// Long-term memory.
    pub long_term: LongTermSettings,
    /// The policy that binds every agent.
    pub policy: PolicyFile,
    /// How long a run waits for a tool source that it names and that was never listed.
    pub start_timeout: Duration,
    /// `telemetry.content`: whether spans hold prompts, answers, arguments and results.
    pub content_in_spans: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            provider: None,
            model: None,
            fallback: Vec::new(),
            catalog: Catalog::built_in(),
            stream: true,
            model_timeout: MODEL_TIMEOUT,
            model_tries: MODEL_TRIES,
            temperature: None,
            cassette: None,
            script: None,
            mock_delay_ms: None,
            instructions: String::new(),
            planner: "react".to_owned(),
            limits: Limits::default(),
            timeout: None,
            memory: MemoryConfig::default(),
            long_term: LongTermSettings::default(),
            policy: PolicyFile::default(),
            start_timeout: START_TIMEOUT,
            content_in_spans: false,
        }
    }
}

/// Long-term memory of agents.
#[derive(Clone, Default)]
pub struct LongTermSettings {
    /// The store; without a store, the calls of agents that have long-term memory fail, and their runs go on.
    pub store: Option<Arc<dyn LongTermMemory>>,
    /// `memory.provider` is set: every agent has long-term memory, whatever its definition says.
    pub everywhere: bool,
}

impl std::fmt::Debug for LongTermSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LongTermSettings")
            .field("has_store", &self.store.is_some())
            .field("everywhere", &self.everywhere)
            .finish()
    }
}

/// How to reach a provider.
#[derive(Clone)]
pub struct Endpoint {
    /// The provider.
    pub provider: Provider,
    /// Address of requests; `None` for the provider's own address.
    pub base_url: Option<String>,
    /// The key.
    pub api_key: Option<ApiKey>,
    /// Headers of each request; keys may stand in them.
    pub headers: Vec<(String, String)>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Endpoint")
            .field("provider", &self.provider)
            .field("base_url", &self.base_url)
            .field("has_key", &self.api_key.is_some())
            .field("headers", &headers)
            .finish()
    }
}

/// A cassette.
#[derive(Clone)]
pub struct CassetteSettings {
    /// Mode of the cassette.
    pub mode: CassetteMode,
    /// Its folder.
    pub folder: PathBuf,
    /// Patterns of text that never reaches the cassette.
    pub redact: Vec<String>,
    /// Texts that never reach the cassette: the configured keys.
    pub secrets: Vec<String>,
}

impl std::fmt::Debug for CassetteSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CassetteSettings")
            .field("mode", &self.mode)
            .field("folder", &self.folder)
            .field("redact", &self.redact)
            .finish_non_exhaustive()
    }
}

/// Mode of a cassette.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CassetteMode {
    /// The answers of models are kept.
    Record,
    /// Models answer from the cassette, and no provider is called.
    Replay,
}
