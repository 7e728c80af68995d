//! Puts agents together: models, planner, tools, policy and limits.

mod begun;
mod long_term;
mod memory;
mod policies;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use agentkit::{
    Agent, Definition, Model,
    event::Failure,
    model::{
        cassette::CassetteError,
        scripted::{Script, ScriptError, Scripted},
    },
    planner,
    policy::{Policy, PolicyFile},
    run::{Limits, MemoryConfig, RunConfig},
    tool::{Registry, RegistryError, control::SpawnAgent},
};
use ops_core::TenantId;
use serde_json::Value;
use units::ModelName;

use self::begun::recorded;
use crate::{
    definitions,
    input::{Input, ModelChoice, Overrides},
    limits::{Given, Usual},
    providers::Providers,
    request::{AgentRequest, Made},
    settings::{LongTermSettings, Settings},
    tape::Tape,
    tools::{Catalogue, CatalogueError, Pins, Selection, ToolSource, Wanted},
};

/// The scripted model's script, where the model was chosen by name and has no script.
const NO_SCRIPT: &str = r#"
name = "no-script"
[[turn]]
answer = "The scripted model has no script, so no LLM has worked on this goal: {{ goal }} (Set OPENAI_API_KEY, or OPENAI_BASE_URL for a compatible endpoint, and start again.)"
"#;
/// Agents that are kept ready.
const KEEP: usize = 64;
/// The tool of agents that start others.
const SPAWN: &str = "spawn_agent";
/// Key of a run's pinned tools: the tools of sources that are not built in, by source.
const SOURCES: &str = "tool_sources";
/// The key of a run's policies beside the server's and the agent's policy.
const POLICIES: &str = "policies";

/// Makes agents.
pub struct Factory {
    pub(crate) providers: Providers,
    tape: Tape,
    pub(crate) catalogue: Catalogue,
    /// The script of tasks without a script of their own; `None` if unset.
    script: Option<String>,
    /// Answers every task, for load tests.
    mock: Option<String>,
    instructions: String,
    planner: String,
    temperature: Option<f64>,
    model_tries: u32,
    limits: Usual,
    memory: MemoryConfig,
    long_term: LongTermSettings,
    content_in_spans: bool,
    policy: PolicyFile,
    /// Agents that differ only in their limits, by their other properties.
    ready: Mutex<HashMap<Key, Ready>>,
}

/// Settings that no agent can be made with.
#[derive(Debug, thiserror::Error)]
pub enum FactoryError {
    /// A model or a provider.
    #[error("{0}")]
    Provider(String),
    /// The script.
    #[error("the script of setting agent.script is not valid")]
    Script(#[source] ScriptError),
    /// The cassette's patterns.
    #[error("setting `cassette.redact`")]
    Redact(#[source] CassetteError),
    /// The cassette.
    #[error("the setting `cassette.mode`")]
    Cassette(#[source] CassetteError),
    /// The tools.
    #[error(transparent)]
    Tools(#[from] CatalogueError),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    tenant: TenantId,
    /// The first choice first; never empty.
    models: Vec<ModelName>,
    planner: String,
    instructions: String,
    script: Option<String>,
    /// The version of the definition.
    digest: Option<String>,
    pins: Arc<Pins>,
    /// Further policies, as JSON.
    policies: Vec<String>,
}

/// An agent that is ready, with the tools behind its gate.
#[derive(Clone)]
struct Ready {
    agent: Agent,
    tools: Registry,
    policy: Arc<dyn Policy>,
}

/// Which models a task asks for, and with which script.
struct Choice {
    models: Vec<ModelName>,
    /// The script, if a model of the chain is scripted.
    script: Option<String>,
}

impl Factory {
    /// A factory for these settings, with tools from these sources.
    ///
    /// # Errors
    /// Settings that contradict each other or name unknown models, providers or tools.
    pub fn new(
        settings: Settings,
        sources: Vec<Arc<dyn ToolSource>>,
    ) -> Result<Self, FactoryError> {
        let tape = Tape::new(&settings)?;
        let providers = Providers::new(&settings)?;
        let mock = settings.mock_delay_ms.map(|delay| {
            format!(
                "name = \"mock\"\nlatency_ms = {delay}\n[[turn]]\nanswer = \"mock answer: the agent \
                 is mocked for load tests\"\n"
            )
        });
        if let Some(script) = &settings.script {
            Script::parse(script).map_err(FactoryError::Script)?;
        }
        if mock.is_none() && tape.calls() {
            providers.check_endpoints()?;
            providers.check_default()?;
        }
        Ok(Self {
            catalogue: Catalogue::new(sources, settings.start_timeout)?,
            limits: Usual::new(&settings),
            providers,
            tape,
            script: settings.script,
            mock,
            instructions: settings.instructions,
            planner: settings.planner,
            temperature: settings.temperature,
            model_tries: settings.model_tries,
            memory: settings.memory,
            long_term: settings.long_term,
            content_in_spans: settings.content_in_spans,
            policy: settings.policy,
            ready: Mutex::default(),
        })
    }

    /// The sources of tools.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The model of tasks that name no model; `None` if no provider is configured.
    ///
    /// # Errors
    /// If its client cannot be made.
    pub fn default_model(&self) -> Result<Option<Arc<dyn Model>>, Failure> {
        let name = match self.providers.default_chain().first() {
            Some(first) if self.mock.is_none() => first.clone(),
            None if self.mock.is_none() && self.script.is_none() => return Ok(None),
            Some(_) | None => ModelName::scripted(),
        };
        self.model(&name, None).map(Some)
    }

    /// Makes an agent, once its tool sources are there.
    ///
    /// # Errors
    /// The mistake in the input or the definition, for instance an unknown provider; and a tool source that
    /// the agent names and that is not there in time.
    pub async fn make(&self, request: &AgentRequest<'_>) -> Result<Made, Failure> {
        let patterns = request
            .definition
            .and_then(|definition| definition.tools.as_deref());
        let patterns = patterns.unwrap_or_default().iter().map(String::as_str);
        self.wait_for_tools(request.by.tenant, patterns).await?;
        self.make_now(request)
    }

    /// Waits for the tool sources that patterns of tools name.
    pub(crate) async fn wait_for_tools(
        &self,
        tenant: TenantId,
        patterns: impl Iterator<Item = &str>,
    ) -> Result<(), Failure> {
        let sources = patterns.filter_map(|pattern| Some(pattern.split_once('/')?.0));
        self.catalogue.wait_for(tenant, &sources.collect()).await
    }

    /// Waits for the tool sources that a run is pinned to.
    pub(crate) async fn wait_for_pinned(
        &self,
        tenant: TenantId,
        config: &RunConfig,
    ) -> Result<(), Failure> {
        let sources = config.host[SOURCES].as_object();
        let sources = sources.into_iter().flatten().map(|(name, _)| name.as_str());
        self.catalogue.wait_for(tenant, &sources.collect()).await
    }

    /// Makes an agent with the tools that are there.
    pub(crate) fn make_now(&self, request: &AgentRequest<'_>) -> Result<Made, Failure> {
        let AgentRequest {
            definition,
            digest,
            input,
            by,
        } = request;
        let Input {
            goal,
            files,
            overrides,
            has_proxy,
            user,
        } = Input::read(input)?;
        let long_term = long_term::of(&self.long_term, *definition, &user)?;
        let Choice { models, script } = self.choose(&overrides, *definition)?;
        let tools = self.select(by.tenant, *definition, has_proxy, long_term.is_some())?;
        let instructions = match (overrides.instructions, definition) {
            (Some(instructions), _) => instructions,
            (None, Some(definition)) => {
                definitions::instructions(definition, &goal.text, input, by, tools.pins.tools())?
            }
            (None, None) => self.instructions.clone(),
        };
        let own_planner = definition.and_then(|definition| definition.planner.clone());
        let planner = overrides.planner.or(own_planner);
        let digest = digest
            .clone()
            .or_else(|| definition.map(Definition::digest));
        let key = Key {
            tenant: by.tenant,
            models,
            planner: planner.unwrap_or_else(|| self.planner.clone()),
            instructions,
            script: script.clone(),
            digest,
            pins: Arc::clone(&tools.pins),
            policies: policies::texts(&overrides.policies),
        };
        let given = Given {
            limits: by.limits,
            started: by.started,
            depth_left: by.depth_left,
        };
        let limits = self.limits.of(given, *definition);
        let host = policies::host(&tools.sources, &overrides.policies);
        let Ready {
            agent,
            tools,
            policy,
        } = self
            .ready(
                key,
                *definition,
                tools.registry.clone(),
                &overrides.policies,
            )
            .map_err(definitions::never_again)?;
        let own_output = definition.and_then(|definition| definition.output());
        let agent = agent.with(limits, script, host);
        let agent = long_term::given(agent, &self.long_term, long_term, by.tenant, &by.id);
        Ok(Made {
            agent: agent.with_output(overrides.output.or(own_output)),
            goal,
            files,
            tools,
            policy,
        })
    }

    /// The agent of a run that has begun, from the run's pinned configuration.
    pub(crate) fn again(
        &self,
        tenant: TenantId,
        definition: Option<&Definition>,
        digest: Option<String>,
        config: &RunConfig,
        task: &str,
    ) -> Result<Agent, Failure> {
        let tools = self.catalogue.pinned(tenant, &config.tools)?;
        let policies = config.host[POLICIES]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let key = Key {
            tenant,
            models: recorded(config)?,
            planner: config.planner.clone(),
            instructions: config.instructions.clone(),
            script: config.script.clone(),
            digest,
            pins: tools.pins,
            policies: policies::texts(policies),
        };
        let Ready { agent, .. } = self.ready(key, definition, tools.registry, policies)?;
        let agent = agent.with(
            config.limits.clone(),
            config.script.clone(),
            config.host.clone(),
        );
        let long_term = config.long_term.clone();
        let agent = long_term::given(agent, &self.long_term, long_term, tenant, task);
        Ok(agent.with_output(config.output.clone()))
    }

    /// The limits of a task's run.
    pub(crate) fn limits_of(&self, given: Given<'_>, definition: Option<&Definition>) -> Limits {
        self.limits.of(given, definition)
    }

    /// Why no agent can be made for a task with these models; `None` if an agent can.
    pub(crate) fn unconfigured(
        &self,
        overrides: &Overrides,
        definition: Option<&Definition>,
    ) -> Option<Failure> {
        let failure = match self.choose(overrides, definition) {
            Err(failure) => failure,
            Ok(_) if !self.tape.calls() => return None,
            Ok(choice) => {
                let mut models = choice.models.iter().filter(|model| !model.is_scripted());
                models.find_map(|model| self.providers.unconfigured(model))?
            }
        };
        (failure.code == definitions::NOT_CONFIGURED).then_some(failure)
    }

    /// The models that a task names, else those of its agent. A task that names a provider or a model gets
    /// that and no other. Without a provider, the scripted model serves a task that has a script.
    fn choose(
        &self,
        overrides: &Overrides,
        definition: Option<&Definition>,
    ) -> Result<Choice, Failure> {
        if let Some(mock) = &self.mock {
            return Ok(Choice {
                models: vec![ModelName::scripted()],
                script: Some(mock.clone()),
            });
        }
        let own = definition.and_then(|definition| definition.script.as_ref());
        let script = overrides.script.as_ref().or(own).or(self.script.as_ref());
        let listed = |names: &[String]| {
            let names = names.iter().map(|name| self.providers.listed(name));
            names.collect::<Result<Vec<_>, _>>()
        };
        let models = match (overrides.provider.as_deref(), &overrides.model) {
            (None, None) => match definition {
                Some(definition) if !definition.model.is_empty() => listed(&definition.model)?,
                Some(_) | None => match (self.providers.default_chain(), script) {
                    ([], Some(_)) => vec![ModelName::scripted()],
                    ([], None) => return Err(definitions::not_configured()),
                    (chain, _) => chain.to_vec(),
                },
            },
            (_, Some(ModelChoice::Chain(names))) => listed(names)?,
            (provider, Some(ModelChoice::Name(model))) => {
                vec![self.providers.named(provider, Some(model))?]
            }
            (provider, None) => vec![self.providers.named(provider, None)?],
        };
        let scripted = models.iter().any(ModelName::is_scripted);
        let script = script.map_or_else(|| NO_SCRIPT.to_owned(), String::clone);
        Ok(Choice {
            models,
            script: scripted.then_some(script),
        })
    }

    fn ready(
        &self,
        key: Key,
        definition: Option<&Definition>,
        tools: Registry,
        policies: &[Value],
    ) -> Result<Ready, Failure> {
        if let Some(ready) = self.locked().get(&key) {
            return Ok(ready.clone());
        }
        let mut models = Vec::with_capacity(key.models.len());
        for name in &key.models {
            models.push(self.model(name, key.script.as_deref())?);
        }
        let mut models = models.into_iter();
        let first = models.next().expect("a chain is never empty");
        let mut names = BTreeSet::from([first.name().to_owned()]);
        let planner = planner::by_name(&key.planner)?;
        let tools = match definition {
            Some(definition) if tools.get(SPAWN).is_some() => tools
                .replace(Arc::new(SpawnAgent::of(&definition.agents)))
                .map_err(invalid)?,
            Some(_) | None => tools,
        };
        let policy = policies::of(&self.policy, definition, policies, &tools)?;
        let mut builder = Agent::builder(first)
            .name(definition.map_or("default", |definition| &definition.name))
            .instructions(&key.instructions)
            .planner(planner)
            .model_tries(self.model_tries)
            .memory(memory::of(definition, &self.memory))
            .registry(tools.clone())
            .policy(Arc::clone(&policy));
        if let Some(digest) = &key.digest {
            builder = builder.digest(digest);
        }
        if self.content_in_spans {
            builder = builder.content_in_spans();
        }
        // What an earlier release stored may name a model twice: a second try of the same one.
        for model in models.filter(|model| names.insert(model.name().to_owned())) {
            builder = builder.fallback(model);
        }
        let own = definition.and_then(|definition| definition.temperature);
        if let Some(temperature) = own.or(self.temperature) {
            builder = builder.temperature(temperature);
        }
        let agent = builder
            .build()
            .map_err(|error| Failure::last("invalid_agent", error.to_string()))?
            .binding_children(policies::of_children(definition, policies));
        let made = Ready {
            agent,
            tools,
            policy,
        };
        let mut ready = self.locked();
        if ready.len() >= KEEP {
            ready.clear();
        }
        ready.insert(key, made.clone());
        Ok(made)
    }

    fn model(&self, name: &ModelName, script: Option<&str>) -> Result<Arc<dyn Model>, Failure> {
        if !name.is_scripted() {
            return self.tape.model(&self.providers, name);
        }
        let own = self.mock.as_deref().or(self.script.as_deref());
        let script = script.or(own).unwrap_or(NO_SCRIPT);
        let script = Script::parse(script).map_err(|error| {
            let message = format!("the task's script is not valid: {error}");
            Failure::last("invalid_script", message)
        })?;
        Ok(Arc::new(Scripted::new(Arc::new(script))))
    }

    /// The tools that a definition gives, or all of them.
    fn select(
        &self,
        tenant: TenantId,
        definition: Option<&Definition>,
        has_proxy: bool,
        has_memory: bool,
    ) -> Result<Arc<Selection>, Failure> {
        let patterns = definition.and_then(|definition| definition.tools.as_ref());
        let wanted: Option<Vec<Wanted>> = patterns.map(|patterns| {
            let patterns = patterns.iter().map(String::as_str);
            patterns.filter_map(Wanted::parse).collect()
        });
        let starts = definition.is_some_and(|definition| !definition.agents.is_empty());
        let always = long_term::always(starts, has_memory);
        let without = long_term::without(has_proxy, has_memory);
        self.catalogue.select(tenant, wanted, always, without)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Ready>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn invalid(error: RegistryError) -> Failure {
    Failure::last("invalid_agent", error.to_string())
}
