//! The agents of tasks: configuration, what a task overrides, models and tools put together.

mod definitions;
mod overrides;
mod provider;
mod tape;
mod trial;

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use agentkit::{
    Agent, Definition, Model,
    event::Failure,
    model::scripted::{Script, Scripted},
    planner,
    policy::Policy,
    run::{Exhaustion, Limits, MemoryConfig, RunConfig},
    tool::{Registry, Tool},
};
use anyhow::{Context as _, Result};
use ops_core::Json;
use ops_worker::{Agents, Job, Prepared, exhaustion};
use serde_json::Value;
use units::{ModelName, model::ModelNameError};

use self::overrides::{Input, ModelWish};
pub(crate) use self::overrides::{check_input, is_costly_input};
use self::tape::Tape;
pub(crate) use self::{
    provider::{Outline, Providers},
    tape::notice as cassette_notice,
    trial::Trial,
};
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
    tape: Tape,
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
    /// The first choice first; never empty.
    models: Vec<ModelName>,
    planner: String,
    instructions: String,
    script: Option<String>,
    /// The version of the definition.
    digest: Option<String>,
}

impl Factory {
    /// A factory for this configuration, with these tools.
    pub(crate) fn new(config: &Config, tools: Vec<Arc<dyn Tool>>) -> Result<Self> {
        let providers = Providers::from_config(config)?;
        let mock = config.number("mock_agent_delay_ms");
        let script = match mock {
            Some(delay) => format!(
                "name = \"mock\"\nlatency_ms = {delay}\n[[turn]]\nanswer = \"mock answer: the agent is mocked for load tests\"\n"
            ),
            None => script_of(config)?.unwrap_or_else(|| NO_SCRIPT.to_owned()),
        };
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
            on_exhausted: match config.optional("limits.on_exhausted") {
                Some("wait") => Exhaustion::Wait,
                Some(_) | None => Exhaustion::Fail,
            },
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
            tape: Tape::from_config(config)?,
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

    fn default_chain(&self) -> Vec<ModelName> {
        if self.mock {
            vec![ModelName::scripted()]
        } else {
            self.providers.default_chain().to_vec()
        }
    }

    /// The models that a task asks for, else those of its agent. A task that names a provider or a
    /// model gets that and no other.
    fn chain(
        &self,
        provider: Option<&str>,
        model: Option<&ModelWish>,
        definition: Option<&Definition>,
    ) -> Result<Vec<ModelName>, Failure> {
        let listed = |names: &[String]| {
            let names = names.iter().map(|name| self.providers.listed(name));
            names.collect()
        };
        match (provider, model) {
            _ if self.mock => Ok(self.default_chain()),
            (None, None) => match definition {
                Some(definition) if !definition.model.is_empty() => listed(&definition.model),
                Some(_) | None => Ok(self.default_chain()),
            },
            (_, Some(ModelWish::Chain(names))) => listed(names),
            (provider, Some(ModelWish::Name(model))) => {
                Ok(vec![self.providers.named(provider, Some(model))?])
            }
            (provider, None) => Ok(vec![self.providers.named(provider, None)?]),
        }
    }

    fn agent(&self, key: Key, definition: Option<&Definition>) -> Result<Agent, Failure> {
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
        let (registry, policy) = match definition {
            Some(definition) => {
                let registry = self.tools_of(definition)?;
                let policy = self.policy_of(definition, &registry)?;
                (registry, policy)
            }
            None => (self.registry.clone(), Arc::clone(&self.policy)),
        };
        let mut builder = Agent::builder(first)
            .name(definition.map_or("default", |definition| &definition.name))
            .instructions(&key.instructions)
            .planner(planner)
            .model_tries(self.model_tries)
            .memory(self.memory_of(definition))
            .registry(registry)
            .policy(policy);
        if let Some(digest) = &key.digest {
            builder = builder.digest(digest);
        }
        for model in models {
            builder = builder.fallback(model);
        }
        let own = definition.and_then(|definition| definition.temperature);
        if let Some(temperature) = own.or(self.temperature) {
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

    fn model(&self, name: &ModelName, script: Option<&str>) -> Result<Arc<dyn Model>, Failure> {
        if !name.is_scripted() {
            return self.tape.model(&self.providers, name);
        }
        let script = Script::parse(script.unwrap_or(&self.script)).map_err(|error| {
            Failure::last(
                "invalid_script",
                format!("the task's script is not valid: {error}"),
            )
        })?;
        Ok(Arc::new(Scripted::new(Arc::new(script))))
    }

    fn ready(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Agent>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory_of(&self, definition: Option<&Definition>) -> MemoryConfig {
        let own = definition.map(|definition| &definition.memory);
        let usual = &self.memory;
        MemoryConfig {
            compact_at: own
                .and_then(|memory| memory.compact_at)
                .unwrap_or(usual.compact_at),
            keep_exchanges: own
                .and_then(|memory| memory.keep_exchanges)
                .unwrap_or(usual.keep_exchanges),
            summarise: own
                .and_then(|memory| memory.summarise)
                .unwrap_or(usual.summarise),
        }
    }

    fn limits_of(&self, job: &Job<'_>, definition: Option<&Definition>) -> Limits {
        let Job { task, life, .. } = job;
        let nothing = Definition::default();
        let definition = definition.unwrap_or(&nothing);
        let agent = &definition.limits;
        let own_timeout = agent
            .timeout()
            .and_then(|timeout| i64::try_from(timeout.as_micros()).ok());
        let timeout = task.limits.timeout_micros.or(own_timeout);
        let timeout = timeout.or(self.timeout_micros);
        let started = life.started_at.unwrap_or(life.updated_at).0;
        let depth = task.parent.map(|parent| parent.depth_left);
        let limits = &self.limits;
        let asked = &task.limits;
        Limits {
            max_steps: asked
                .max_steps
                .or(agent.max_steps)
                .unwrap_or(limits.max_steps),
            max_tokens: asked.max_tokens.or(agent.max_tokens).or(limits.max_tokens),
            max_cost_micros: asked
                .max_cost_micros
                .or(agent.max_cost_micros())
                .or(limits.max_cost_micros),
            deadline_micros: timeout.map(|timeout| started.saturating_add(timeout)),
            context_tokens: definition.memory.context_tokens.or(limits.context_tokens),
            max_output_tokens: agent.max_output_tokens.or(limits.max_output_tokens),
            on_exhausted: asked.on_exhausted.map_or(
                agent.on_exhausted.unwrap_or(limits.on_exhausted),
                exhaustion,
            ),
            max_children: agent.max_children.unwrap_or(limits.max_children),
            spawn_depth_left: depth
                .or(agent.spawn_depth)
                .unwrap_or(limits.spawn_depth_left),
            ..limits.clone()
        }
    }
}

impl Agents for Factory {
    fn start(&self, job: &Job<'_>) -> Result<Prepared, Failure> {
        let definition = Self::definition(job.definition)?;
        let definition = definition.as_ref();
        let input = Input::read(&job.task.input)?;
        let overrides = input.overrides;
        let models = self.chain(
            overrides.provider.as_deref(),
            overrides.model.as_ref(),
            definition,
        )?;
        let scripted = models.iter().any(ModelName::is_scripted);
        let own_script = definition.and_then(|definition| definition.script.clone());
        let script = match overrides.script.or(own_script) {
            Some(script) if scripted && !self.mock => Some(script),
            _ if scripted => Some(self.script.clone()),
            _ => None,
        };
        let own_planner = definition.and_then(|definition| definition.planner.clone());
        let instructions = match (overrides.instructions, definition) {
            (Some(instructions), _) => instructions,
            (None, Some(definition)) => {
                let started = job.life.started_at.unwrap_or(job.life.updated_at);
                let tools = self.tools_of(definition)?;
                definitions::instructions(definition, &input.goal.text, job.task, started, &tools)?
            }
            (None, None) => self.instructions.clone(),
        };
        let key = Key {
            models,
            planner: overrides
                .planner
                .or(own_planner)
                .unwrap_or_else(|| self.planner.clone()),
            instructions,
            script: script.clone(),
            digest: job.task.agent_digest.map(|digest| digest.to_string()),
        };
        let limits = self.limits_of(job, definition);
        let agent = self
            .agent(key, definition)?
            .with(limits, script, Value::Null);
        let own_output = definition.and_then(|definition| definition.output());
        let agent = agent.with_output(overrides.output.or(own_output));
        Ok(Prepared {
            agent,
            goal: input.goal,
            files: input.files,
        })
    }

    fn resume(
        &self,
        job: &Job<'_>,
        config: &RunConfig,
    ) -> Result<(Agent, BTreeMap<String, String>), Failure> {
        let definition = Self::definition(job.definition)?;
        let key = Key {
            models: recorded(config)?,
            planner: config.planner.clone(),
            instructions: config.instructions.clone(),
            script: config.script.clone(),
            digest: job.task.agent_digest.map(|digest| digest.to_string()),
        };
        let agent = self.agent(key, definition.as_ref())?;
        // What this release would refuse of the input was accepted when the run began.
        let files = Input::read(&job.task.input).map(|input| input.files);
        let agent = agent.with(
            config.limits.clone(),
            config.script.clone(),
            config.host.clone(),
        );
        let agent = agent.with_output(config.output.clone());
        Ok((agent, files.unwrap_or_default()))
    }

    fn is_costly(&self, job: &Job<'_>) -> bool {
        const KEYS: [&str; 3] = ["{%", "\"schema\"", "\"script\""];
        let definition = job.definition.map_or("", Json::as_str);
        KEYS.iter().any(|key| definition.contains(key))
            || is_costly_input(&job.task.task_type, &job.task.input)
    }

    fn limits(&self, job: &Job<'_>) -> Limits {
        let definition = Self::definition(job.definition).ok().flatten();
        self.limits_of(job, definition.as_ref())
    }
}

/// The script of the setting `agent.script`, if it is set.
pub(crate) fn script_of(config: &Config) -> Result<Option<String>> {
    let Some(path) = config.optional("agent.script") else {
        return Ok(None);
    };
    let script = std::fs::read_to_string(Path::new(path))
        .with_context(|| format!("cannot read the script `{path}` (setting agent.script)"))?;
    Script::parse(&script).context("the script of setting agent.script is not valid")?;
    Ok(Some(script))
}

/// The models that a run began with.
fn recorded(config: &RunConfig) -> Result<Vec<ModelName>, Failure> {
    let names: Vec<&String> = match &*config.models {
        [] => vec![&config.model],
        models => models.iter().map(|model| &model.name).collect(),
    };
    let names = names.into_iter().map(|name| name.parse());
    names
        .collect::<Result<_, ModelNameError>>()
        .map_err(|error| Failure::passing("invalid_run", error.to_string()))
}

#[cfg(test)]
mod tests;
