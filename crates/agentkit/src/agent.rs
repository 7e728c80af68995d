//! An agent: a model, a planner, tools behind a gate, and limits.

mod approve;
mod chat;
mod run;

use std::{collections::BTreeSet, sync::Arc};

use schemars::JsonSchema;
use serde_json::Value;

pub use self::{
    approve::{CallDecision, PendingCall},
    chat::{Chat, Question},
    run::{Answer, RunBuilder, RunError, RunEvent, RunStream},
};
use crate::{
    Goal,
    drive::{self, DriveEnvironment, Stop},
    event::Wait,
    memory::{
        self,
        long_term::{LongTermConfig, RunMemory},
    },
    model::Model,
    planner::{self, OutputError, Planner, check_new_schema},
    policy::{ConfiguredPolicy, Policy},
    run::{
        DEFAULT_REASKS, Limits, MemoryConfig, OutputConfig, PinnedModel, PinnedTool, Run, RunConfig,
    },
    schema,
    tool::{Gate, Registry, RegistryError, Tool},
};

/// An agent, ready to drive runs. A clone is cheap.
#[derive(Clone)]
pub struct Agent {
    pub(crate) config: Arc<RunConfig>,
    /// The chain, never empty.
    pub(crate) models: Vec<Arc<dyn Model>>,
    pub(crate) planner: Arc<dyn Planner>,
    pub(crate) gate: Gate,
    pub(crate) model_tries: u32,
    /// [`Agent::binding_children`].
    pub(crate) child_policies: Vec<Value>,
    /// [`AgentBuilder::max_reasks`].
    max_reasks: Option<u32>,
    /// [`AgentBuilder::content_in_spans`].
    pub(crate) content_in_spans: bool,
    /// The store that its runs recall from and remember in.
    pub(crate) long_term: Option<RunMemory>,
}

/// Puts an agent together.
#[derive(Clone)]
pub struct AgentBuilder {
    config: RunConfig,
    models: Vec<Arc<dyn Model>>,
    planner: Arc<dyn Planner>,
    tools: Vec<Arc<dyn Tool>>,
    registry: Option<Registry>,
    policy: Option<Arc<dyn Policy>>,
    model_tries: u32,
    max_reasks: Option<u32>,
    content_in_spans: bool,
    long_term: Option<RunMemory>,
}

/// An agent that cannot be put together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A tool is invalid.
    #[error(transparent)]
    Tool(#[from] RegistryError),
    /// The schema of the answers is invalid.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// Two models of the chain have one name, so the log of a run would not say which of them it used.
    #[error(
        "two models of the chain are named `{name}`; give one of them a name of its own with \
         `Model::named`, or leave it out"
    )]
    DuplicateModel {
        /// The name.
        name: String,
    },
}

impl Agent {
    /// An agent with this model, the `react` planner, no tools and the default limits.
    #[must_use]
    pub fn builder(model: impl Model + 'static) -> AgentBuilder {
        let config = RunConfig {
            agent: "agent".to_owned(),
            agent_digest: None,
            model: model.name().to_owned(),
            models: Vec::new(),
            planner: String::new(),
            instructions: String::new(),
            tools: Arc::default(),
            tools_tokens: 0,
            limits: Limits::default(),
            memory: MemoryConfig::default(),
            long_term: None,
            script: None,
            temperature: None,
            output: None,
            host: Value::Null,
        };
        AgentBuilder {
            config,
            models: vec![Arc::new(model)],
            planner: Arc::new(planner::React),
            tools: Vec::new(),
            registry: None,
            policy: None,
            model_tries: 5,
            max_reasks: None,
            content_in_spans: false,
            long_term: None,
        }
    }

    /// The definition that its runs are pinned to.
    #[must_use]
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// The model, the first of the chain.
    #[must_use]
    pub fn model(&self) -> &Arc<dyn Model> {
        self.models.first().expect("an agent is built with a model")
    }

    /// How often the model is asked again for an answer that matches a schema.
    pub(crate) fn max_reasks(&self) -> u32 {
        let configured = self.config.output.as_ref().map(|output| output.max_reasks);
        configured.or(self.max_reasks).unwrap_or(DEFAULT_REASKS)
    }

    /// The same agent with other limits and data of the host.
    #[must_use]
    pub fn with(mut self, limits: Limits, script: Option<String>, host: Value) -> Self {
        let config = Arc::make_mut(&mut self.config);
        config.limits = limits;
        config.script = script;
        config.host = host;
        self
    }

    /// The same agent with other answers. [`planner::check_schema`] must accept their schema, or the
    /// model's answers are refused.
    #[must_use]
    pub fn with_output(mut self, output: Option<OutputConfig>) -> Self {
        if self.config.output != output {
            Arc::make_mut(&mut self.config).output = output;
        }
        self
    }

    /// The same agent with the policies that bind the children that its runs begin, each the content of a policy file.
    /// Whoever makes the agents of children holds them to these policies.
    #[must_use]
    pub fn binding_children(mut self, policies: Vec<Value>) -> Self {
        self.child_policies = policies;
        self
    }

    /// The same agent with these tools, and no others, under this policy.
    #[must_use]
    pub fn with_tools(mut self, registry: Registry, policy: Arc<dyn Policy>) -> Self {
        pin_tools(Arc::make_mut(&mut self.config), &registry);
        self.gate = Gate::new(registry, policy);
        self
    }

    /// The same agent with long-term memory. The gate's registry must have [`tool::memory`](crate::tool::memory)'s
    /// tools: the machine recalls and remembers with them. Without a store, each such call fails and the run goes on.
    #[must_use]
    pub fn with_long_term(mut self, config: LongTermConfig, memory: Option<RunMemory>) -> Self {
        Arc::make_mut(&mut self.config).long_term = Some(config);
        self.long_term = memory;
        self
    }

    /// A run in this process, with its log in memory: for programs that need no durability. Await
    /// it, or follow it with [`RunBuilder::stream`].
    ///
    /// # Panics
    /// Awaited outside of a Tokio runtime, or in one without its timer (`enable_time`).
    ///
    /// # Errors
    /// Awaited, [`RunError::Failed`] holds the code and the message of a run without an answer.
    pub fn run(&self, goal: impl Into<Goal>) -> RunBuilder {
        RunBuilder::new(self.clone(), goal.into())
    }

    /// Drives a run in a session of the caller, who has its log, to its end. `run` is the fold of
    /// that log, empty for a new run. It sleeps through timers.
    ///
    /// # Errors
    /// As [`Agent::run`]. A run that has begun takes its own goal again, or an empty one:
    /// [`DriveError::OtherGoal`](drive::DriveError::OtherGoal) refuses any other.
    pub async fn run_in(
        &self,
        goal: impl Into<Goal>,
        run: &mut Run,
        environment: &DriveEnvironment,
    ) -> Result<Value, RunError> {
        let mut goal = goal.into();
        loop {
            match drive::drive(self, std::mem::take(&mut goal), run, environment).await? {
                Stop::Completed(answer) => return Ok(answer),
                Stop::Failed(failure) => return Err(failure.into()),
                Stop::Waiting(wait @ Wait::Timer { .. }) => {
                    drive::sleep_through(&wait, environment).await;
                }
                Stop::Waiting(wait) => return Err(RunError::Waiting(wait)),
            }
        }
    }
}

impl AgentBuilder {
    /// With a name.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.config.agent);
        self
    }

    /// With the version of the definition that it is made of: see
    /// [`Definition::digest`](crate::Definition::digest).
    #[must_use]
    pub fn digest(mut self, digest: &str) -> Self {
        self.config.agent_digest = Some(digest.to_owned());
        self
    }

    /// With instructions for the model.
    #[must_use]
    pub fn instructions(mut self, instructions: &str) -> Self {
        instructions.clone_into(&mut self.config.instructions);
        self
    }

    /// Adds another model, which goes on where the models before cannot: after a final error, or when their
    /// tries are used up. The run's log names the model of each call. The models of a chain have different
    /// names: see [`Model::named`].
    #[must_use]
    pub fn fallback(mut self, model: impl Model + 'static) -> Self {
        self.models.push(Arc::new(model));
        self
    }

    /// With one more tool.
    #[must_use]
    pub fn tool(mut self, tool: impl Tool + 'static) -> Self {
        self.tools.push(Arc::new(tool));
        self
    }

    /// With more tools.
    #[must_use]
    pub fn tools(mut self, tools: impl IntoIterator<Item = Arc<dyn Tool>>) -> Self {
        self.tools.extend(tools);
        self
    }

    /// Adds the tools of a registry, beside the single tools: the registry's schemas are compiled once for
    /// many agents.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// With another planner.
    #[must_use]
    pub fn planner(mut self, planner: impl Planner + 'static) -> Self {
        self.planner = Arc::new(planner);
        self
    }

    /// With other limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// With another way of keeping the conversation within the model's context.
    #[must_use]
    pub fn memory(mut self, memory: MemoryConfig) -> Self {
        self.config.memory = memory;
        self
    }

    /// With long-term memory: its tools, a recall before planning, and the outcome remembered at the end.
    #[must_use]
    pub fn long_term(mut self, config: LongTermConfig, memory: RunMemory) -> Self {
        self.config.long_term = Some(config);
        self.long_term = Some(memory);
        self.tools(crate::tool::memory::all())
    }

    /// Sets the policy; without a policy, the given tools are allowed and no others.
    #[must_use]
    pub fn policy(mut self, policy: Arc<dyn Policy>) -> Self {
        self.policy = Some(policy);
        self
    }

    /// With so many tries of a model call that fails in a passing way, before the run gives up.
    #[must_use]
    pub fn model_tries(mut self, tries: u32) -> Self {
        self.model_tries = tries.max(1);
        self
    }

    /// With a temperature, which some models refuse.
    #[must_use]
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.config.temperature = Some(temperature);
        self
    }

    /// With answers that are JSON of this schema. The model is asked again for an answer that
    /// matches, [`DEFAULT_REASKS`] times unless [`AgentBuilder::max_reasks`] says otherwise.
    #[must_use]
    pub fn output_schema(mut self, schema: Value) -> Self {
        let schema = bounded::schema::unwrapped(&schema).clone();
        self.config.output = Some(OutputConfig {
            schema,
            max_reasks: DEFAULT_REASKS,
        });
        self
    }

    /// With answers of a type: JSON of its schema, as with [`AgentBuilder::output_schema`].
    /// [`RunBuilder::typed`] does so for one run, and gives the value.
    #[must_use]
    pub fn output<T: JsonSchema>(self) -> Self {
        self.output_schema(schema::of_answer::<T>())
    }

    /// With so many further tries for an answer that matches the output schema, be it the agent's or
    /// that of [`RunBuilder::typed`].
    #[must_use]
    pub fn max_reasks(mut self, reasks: u32) -> Self {
        self.max_reasks = Some(reasks);
        self
    }

    /// With prompts, answers, arguments and results in the spans of its runs. Without this word no
    /// filter of a subscriber brings them there: see [`telemetry`](crate::telemetry).
    #[must_use]
    pub fn content_in_spans(mut self) -> Self {
        self.content_in_spans = true;
        self
    }

    /// The agent.
    ///
    /// # Errors
    /// If two tools or two models have one name, a tool's name or schema is not valid, or the output
    /// schema is not.
    pub fn build(mut self) -> Result<Agent, BuildError> {
        if let Some(output) = &mut self.config.output {
            check_new_schema(&output.schema)?;
            output.max_reasks = self.max_reasks.unwrap_or(output.max_reasks);
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = self.models.iter().find(|model| !names.insert(model.name())) {
            let name = twice.name().to_owned();
            return Err(BuildError::DuplicateModel { name });
        }
        let registry = match self.registry {
            Some(registry) => registry.with(self.tools)?,
            None => Registry::new(self.tools)?,
        };
        self.config.models = self
            .models
            .iter()
            .map(|model| pin_model(&**model))
            .collect();
        if let [only] = &*self.config.models
            && only.context_tokens.is_none()
            && only.max_output_tokens.is_none()
            && only.prices.is_empty()
        {
            self.config.models.clear();
        }
        pin_tools(&mut self.config, &registry);
        self.planner.name().clone_into(&mut self.config.planner);
        let policy = self.policy.unwrap_or_else(|| {
            let names = registry
                .specs()
                .iter()
                .map(|spec| spec.name.clone())
                .collect::<Vec<_>>();
            Arc::new(ConfiguredPolicy::new(names))
        });
        Ok(Agent {
            config: Arc::new(self.config),
            models: self.models,
            planner: self.planner,
            gate: Gate::new(registry, policy),
            model_tries: self.model_tries,
            child_policies: Vec::new(),
            max_reasks: self.max_reasks,
            content_in_spans: self.content_in_spans,
            long_term: self.long_term,
        })
    }
}

fn pin_tools(config: &mut RunConfig, registry: &Registry) {
    let specs = registry.specs();
    let pin = |spec: &Arc<crate::ToolSpec>| PinnedTool {
        name: spec.name.clone(),
        digest: spec.digest(),
    };
    config.tools = specs.iter().map(pin).collect();
    config.tools_tokens = memory::specs_tokens(&specs);
}

fn pin_model(model: &dyn Model) -> PinnedModel {
    let info = model.info();
    PinnedModel {
        name: model.name().to_owned(),
        context_tokens: info.and_then(|info| info.context_tokens),
        max_output_tokens: info.and_then(|info| info.max_output_tokens),
        prices: info.map(|info| info.prices.clone()).unwrap_or_default(),
    }
}
