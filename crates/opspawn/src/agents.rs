//! The agents of tasks: configuration, what a task overrides, models and tools put together.

mod overrides;
mod provider;

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use agentkit::{
    Agent, Model,
    event::Failure,
    model::scripted::{Script, Scripted},
    planner,
    policy::Policy,
    run::{Limits, MemoryConfig, RunConfig},
    tool::{Registry, Tool},
};
use anyhow::{Context as _, Result};
use ops_core::{Lifecycle, Task};
use ops_worker::{Agents, Prepared};
use serde_json::Value;

pub(crate) use self::overrides::check_input;
use self::overrides::{Input, ModelWish};
pub(crate) use self::provider::{Outline, Providers};
use crate::config::Config;

/// The task types that run an agent.
pub(crate) const TASK_TYPES: [&str; 2] = ["agent_run", "agent_task"];
/// What the scripted model answers to a task that brings no script.
const NO_SCRIPT: &str = r#"
name = "no-provider"
[[turn]]
answer = "No model provider is configured, so no LLM has worked on this goal: {{ goal }} (Set OPENAI_API_KEY, or OPENAI_BASE_URL for a compatible endpoint, and start again.)"
"#;
/// Agents that are kept ready.
const KEEP: usize = 64;

/// Makes agents.
pub(crate) struct Factory {
    providers: Providers,
    /// The script of tasks that bring none, under the scripted model.
    script: String,
    /// Answers every task with a mock, for load tests.
    mock: bool,
    instructions: String,
    planner: String,
    temperature: Option<f64>,
    model_tries: u32,
    limits: Limits,
    memory: MemoryConfig,
    timeout_micros: Option<i64>,
    registry: Registry,
    policy: Arc<dyn Policy>,
    /// Agents that differ in nothing but their limits, by everything else.
    ready: Mutex<HashMap<Key, Agent>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    /// Provider and model, the first choice first; never empty.
    models: Vec<String>,
    planner: String,
    instructions: String,
    script: Option<String>,
}

impl Factory {
    /// A factory for this configuration, with these tools.
    pub(crate) fn new(config: &Config, tools: Vec<Arc<dyn Tool>>) -> Result<Self> {
        let providers = Providers::from_config(config)?;
        let mock = config.number("mock_agent_delay_ms");
        let script = match (mock, config.optional("agent.script")) {
            (Some(delay), _) => format!(
                "name = \"mock\"\nlatency_ms = {delay}\n[[turn]]\nanswer = \"mock answer: the agent is mocked for load tests\"\n"
            ),
            (None, Some(path)) => std::fs::read_to_string(Path::new(path)).with_context(|| {
                format!("cannot read the script `{path}` (setting agent.script)")
            })?,
            (None, None) => NO_SCRIPT.to_owned(),
        };
        Script::parse(&script).context("the script of setting agent.script is not valid")?;
        let temperature = match config.optional("model.temperature") {
            Some(text) => Some(text.parse().with_context(|| {
                format!("setting `model.temperature`: `{text}` is not a number")
            })?),
            None => None,
        };
        let micros = |duration: std::time::Duration| i64::try_from(duration.as_micros()).ok();
        let count = |key| {
            config
                .number(key)
                .and_then(|count| u32::try_from(count).ok())
        };
        let defaults = Limits::default();
        let limits = Limits {
            max_steps: count("limits.max_steps").unwrap_or(defaults.max_steps),
            max_tokens: config.number("limits.max_tokens"),
            max_cost_micros: config.usd("limits.max_cost_usd"),
            context_tokens: config.number("limits.context_tokens"),
            max_output_tokens: config.number("limits.max_output_tokens"),
            max_children: count("limits.max_children").unwrap_or(defaults.max_children),
            spawn_depth_left: count("limits.spawn_depth").unwrap_or(defaults.spawn_depth_left),
            ..defaults
        };
        let usual = MemoryConfig::default();
        let compact_at = config.number("memory.compact_at");
        let memory = MemoryConfig {
            compact_at: compact_at
                .and_then(|share| u8::try_from(share).ok())
                .unwrap_or(usual.compact_at),
            keep_exchanges: count("memory.keep_exchanges").unwrap_or(usual.keep_exchanges),
            summarise: config.is_on("memory.summarise"),
        };
        let registry = Registry::new(tools)?;
        let names = registry.specs().into_iter().map(|spec| spec.name.clone());
        let policy = crate::policy::load(config)?.file.policy(names);
        Ok(Self {
            providers,
            script,
            mock: mock.is_some(),
            instructions: config
                .optional("agent.instructions")
                .unwrap_or_default()
                .to_owned(),
            planner: config
                .optional("agent.planner")
                .unwrap_or_default()
                .to_owned(),
            temperature,
            model_tries: count("model.tries").unwrap_or(5),
            limits,
            memory,
            timeout_micros: config.duration("limits.timeout").and_then(micros),
            registry,
            policy: Arc::new(policy),
            ready: Mutex::default(),
        })
    }

    /// The model that tasks get unless they ask for another.
    pub(crate) fn default_model(&self) -> Result<Arc<dyn Model>, Failure> {
        let chain = self.default_chain();
        let first = chain.first().expect("a chain is never empty");
        self.model(first, Some(&self.script))
    }

    /// The providers.
    pub(crate) fn providers(&self) -> &Providers {
        &self.providers
    }

    fn default_chain(&self) -> Vec<String> {
        if self.mock {
            vec!["scripted".to_owned()]
        } else {
            self.providers.default_chain().to_vec()
        }
    }

    /// The models that a task asks for. One that names a provider or a model gets that and no other.
    fn chain(
        &self,
        provider: Option<&str>,
        model: Option<&ModelWish>,
    ) -> Result<Vec<String>, Failure> {
        match (provider, model) {
            _ if self.mock => Ok(self.default_chain()),
            (None, None) => Ok(self.default_chain()),
            (_, Some(ModelWish::Chain(names))) => names
                .iter()
                .map(|name| self.providers.listed(name))
                .collect(),
            (provider, Some(ModelWish::Name(model))) => {
                Ok(vec![self.providers.named(provider, Some(model))?])
            }
            (provider, None) => Ok(vec![self.providers.named(provider, None)?]),
        }
    }

    fn agent(&self, key: Key) -> Result<Agent, Failure> {
        if let Some(agent) = self.ready().get(&key) {
            return Ok(agent.clone());
        }
        let mut models = Vec::with_capacity(key.models.len());
        for name in &key.models {
            models.push(self.model(name, key.script.as_deref())?);
        }
        let mut models = models.into_iter();
        let first = models.next().expect("a chain is never empty");
        let planner = planner::by_name(&key.planner)?;
        let mut builder = Agent::builder(first)
            .name("default")
            .instructions(&key.instructions)
            .planner(planner)
            .model_tries(self.model_tries)
            .memory(self.memory.clone())
            .registry(self.registry.clone())
            .policy(Arc::clone(&self.policy));
        for model in models {
            builder = builder.fallback(model);
        }
        if let Some(temperature) = self.temperature {
            builder = builder.temperature(temperature);
        }
        let agent = builder
            .build()
            .map_err(|error| Failure::last("invalid_agent", error.to_string()))?;
        let mut ready = self.ready();
        if ready.len() >= KEEP {
            ready.clear();
        }
        ready.insert(key, agent.clone());
        Ok(agent)
    }

    fn model(&self, name: &str, script: Option<&str>) -> Result<Arc<dyn Model>, Failure> {
        match name.split_once('/').unwrap_or((name, "")) {
            ("scripted", _) => {
                let script = Script::parse(script.unwrap_or(&self.script)).map_err(|error| {
                    Failure::last(
                        "invalid_script",
                        format!("the task's script is not valid: {error}"),
                    )
                })?;
                Ok(Arc::new(Scripted::new(Arc::new(script))))
            }
            (provider, model) => self.providers.client(provider, model),
        }
    }

    fn ready(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Agent>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limits_of(&self, task: &Task, life: &Lifecycle) -> Limits {
        let timeout = task.limits.timeout_micros.or(self.timeout_micros);
        let started = life.started_at.unwrap_or(life.updated_at).0;
        let depth = task.parent.map(|parent| parent.depth_left);
        Limits {
            max_steps: task.limits.max_steps.unwrap_or(self.limits.max_steps),
            max_tokens: task.limits.max_tokens.or(self.limits.max_tokens),
            max_cost_micros: task.limits.max_cost_micros.or(self.limits.max_cost_micros),
            deadline_micros: timeout.map(|timeout| started.saturating_add(timeout)),
            spawn_depth_left: depth.unwrap_or(self.limits.spawn_depth_left),
            ..self.limits.clone()
        }
    }
}

impl Agents for Factory {
    fn start(&self, task: &Task, life: &Lifecycle) -> Result<Prepared, Failure> {
        let input = Input::read(&task.input.to_value())?;
        let overrides = input.overrides;
        let models = self.chain(overrides.provider.as_deref(), overrides.model.as_ref())?;
        let scripted = models
            .iter()
            .any(|name| name.split('/').next() == Some("scripted"));
        let script = match overrides.script {
            Some(script) if scripted && !self.mock => Some(script),
            _ if scripted => Some(self.script.clone()),
            _ => None,
        };
        let key = Key {
            models,
            planner: overrides.planner.unwrap_or_else(|| self.planner.clone()),
            instructions: overrides
                .instructions
                .unwrap_or_else(|| self.instructions.clone()),
            script: script.clone(),
        };
        let limits = self.limits_of(task, life);
        let agent = self.agent(key)?.with(limits, script, Value::Null);
        let agent = agent.with_output(overrides.output);
        Ok(Prepared {
            agent,
            goal: input.goal,
            files: input.files,
        })
    }

    fn resume(
        &self,
        task: &Task,
        config: &RunConfig,
    ) -> Result<(Agent, BTreeMap<String, String>), Failure> {
        let key = Key {
            models: match &*config.models {
                [] => vec![config.model.clone()],
                models => models.iter().map(|model| model.name.clone()).collect(),
            },
            planner: config.planner.clone(),
            instructions: config.instructions.clone(),
            script: config.script.clone(),
        };
        let agent = self.agent(key)?;
        // What this release would refuse of the input was accepted when the run began.
        let files = Input::read(&task.input.to_value()).map(|input| input.files);
        let agent = agent.with(
            config.limits.clone(),
            config.script.clone(),
            config.host.clone(),
        );
        let agent = agent.with_output(config.output.clone());
        Ok((agent, files.unwrap_or_default()))
    }

    fn limits(&self, task: &Task, life: &Lifecycle) -> Limits {
        self.limits_of(task, life)
    }
}

#[cfg(test)]
mod tests;
