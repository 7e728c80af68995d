//! The meaning of definitions of agents and of inputs of tasks: models, tools and policy are those of the
//! settings.

use agentkit::{
    Definition,
    definition::{DefinitionError, Scene, SceneTask},
    event::Failure,
    model::scripted::Script,
    planner::check_new_schema,
    run::PinnedTool,
    tool::Effect,
};
use ops_core::{
    AgentDigest, AgentName, Code, Json, TenantId,
    agent::AgentSpec,
    ports::{
        AgentDefinitions, AgentMistake, AgentTool, AgentTools, InputCheck, TaskInput,
        ToolSourceHealth,
    },
};
use serde_json::Value;
use units::{ModelName, nearest};

use crate::{
    factory::Factory,
    input::{self, TASK_TYPES},
    providers::named_twice,
    request::RequestedBy,
    tools::{Health, Wanted},
};

/// The code of a task for which no model is configured.
pub(crate) const NOT_CONFIGURED: &str = "provider_not_configured";

impl AgentDefinitions for Factory {
    fn check(&self, definition: &Json) -> Result<(AgentName, AgentSpec), Vec<AgentMistake>> {
        let definition =
            Definition::from_json(&definition.to_value()).map_err(|error| match error {
                DefinitionError::Mistakes(mistakes) => mistakes
                    .into_iter()
                    .map(|mistake| AgentMistake {
                        path: mistake.path,
                        message: mistake.message,
                    })
                    .collect(),
                syntax @ DefinitionError::Syntax { .. } => vec![AgentMistake {
                    path: Vec::new(),
                    message: syntax.to_string(),
                }],
            })?;
        let mistakes = self.mistakes(&definition);
        if mistakes.is_empty() {
            Ok(spec(&definition))
        } else {
            Err(mistakes)
        }
    }

    fn warnings(&self, definition: &Json) -> Vec<String> {
        let definition = models_of(definition);
        let mut warnings = Vec::new();
        let models = definition
            .model
            .iter()
            .filter_map(|name| self.providers.listed(name).ok());
        let missing = models
            .filter(|model| !model.is_scripted())
            .filter_map(|model| {
                let failure = self.providers.unconfigured(&model)?;
                Some(format!(
                    "`model`: {}; until then, tasks of the agent are refused, also where another model of the list \
                     could answer",
                    failure.message
                ))
            });
        warnings.extend(missing);
        let chain = match definition.model.is_empty() {
            true => self.providers.default_chain().to_vec(),
            false => {
                let names = definition.model.iter();
                names
                    .filter_map(|name| self.providers.listed(name).ok())
                    .collect()
            }
        };
        if definition.script.is_some()
            && let Some(first) = chain.first()
            && !chain.iter().any(ModelName::is_scripted)
        {
            warnings.push(format!(
                "`script`: `{first}` answers, so the script has no effect; `model = \"scripted\"` uses it"
            ));
        }
        warnings
    }

    fn check_input(&self, task: &TaskInput<'_>) -> InputCheck {
        if !TASK_TYPES.contains(&task.task_type) {
            return InputCheck::default();
        }
        let (mut found, overrides) = input::check(task.input);
        if let Some(overrides) = overrides {
            let definition = task.definition.map(models_of);
            let failure = self.unconfigured(&overrides, definition.as_ref());
            found.refused = failure.map(|failure| (Code::ProviderNotConfigured, failure.message));
        }
        found
    }

    fn is_costly_input(&self, task: &TaskInput<'_>) -> bool {
        input::is_costly(task.task_type, task.input)
    }

    fn tools(&self, tenant: TenantId) -> AgentTools {
        let listed = self.catalogue.listed(tenant).into_iter();
        let states = self.catalogue.states(tenant).into_iter();
        AgentTools {
            tools: listed
                .map(|listed| AgentTool {
                    name: listed.spec.name.clone(),
                    source: listed.source,
                    description: listed.spec.description.clone(),
                    effect: name_of(listed.spec.effect),
                    settles: listed.spec.settles.clone(),
                    digest: listed.spec.digest(),
                    input_schema: Json::from(&listed.spec.input_schema),
                })
                .collect(),
            sources: states
                .map(|state| ToolSourceHealth {
                    name: state.name,
                    tools: state.tools,
                    error: match state.health {
                        Health::Ready => None,
                        Health::Starting => Some("it has not answered yet".to_owned()),
                        Health::Away { message } => Some(message),
                    },
                })
                .collect(),
        }
    }
}

/// A definition that was read has a name and agents that are names, and its own digest.
fn spec(definition: &Definition) -> (AgentName, AgentSpec) {
    let name = |text: &String| text.parse().expect("a definition has names as agents have");
    let digest: AgentDigest = definition
        .digest()
        .parse()
        .expect("SHA-256 in hex is a digest");
    let canonical = definition.canonical();
    let spec = AgentSpec {
        definition: Json::parse(&canonical).expect("the canonical form is JSON"),
        digest,
        description: definition.description.clone(),
        agents: definition.agents.iter().map(name).collect(),
    };
    (name(&definition.name), spec)
}

/// The models of a stored definition, which needs not be read as a whole with each submit.
fn models_of(definition: &Json) -> Definition {
    let fields = definition.fields(&["model", "script"]).unwrap_or_default();
    let models = fields.get("model").and_then(Value::as_array);
    let models = models.into_iter().flatten().filter_map(Value::as_str);
    let script = fields.get("script").and_then(Value::as_str);
    Definition {
        model: models.map(str::to_owned).collect(),
        script: script.map(str::to_owned),
        ..Definition::default()
    }
}

fn name_of(effect: Effect) -> String {
    let name = serde_json::to_value(effect).unwrap_or_default();
    name.as_str().unwrap_or_default().to_owned()
}

impl Factory {
    /// The names in a definition that these settings do not have.
    #[must_use]
    pub fn mistakes(&self, definition: &Definition) -> Vec<AgentMistake> {
        let mut mistakes = Vec::new();
        let mut wrong = |key: &str, message: String| {
            mistakes.push(AgentMistake {
                path: vec![key.to_owned()],
                message: format!("`{key}`: {message}"),
            });
        };
        for model in &definition.model {
            if let Err(failure) = self.providers.listed(model) {
                wrong("model", failure.message);
            }
        }
        let chain = definition.model.iter().map(String::as_str);
        if let Some(message) = named_twice(chain) {
            wrong("model", message);
        }
        if let Some(Err(error)) = definition.script.as_deref().map(Script::parse) {
            wrong("script", error.to_string());
        }
        if let Some(output) = &definition.output
            && let Err(error) = check_new_schema(&output.schema)
        {
            wrong("output", format!("`schema` cannot be used: {error}"));
        }
        for message in self.idle_rules(definition) {
            wrong("policy", message);
        }
        for tool in definition.tools.iter().flatten() {
            if let Some(message) = self.no_tool(tool) {
                wrong("tools", message);
            }
        }
        mistakes
    }

    /// The rules of a definition's policy that can never match, as far as it is known now: a source that
    /// was never listed may have any tool.
    fn idle_rules(&self, definition: &Definition) -> Vec<String> {
        let tenant = TenantId::DEFAULT;
        let sources = self.catalogue.sources(tenant);
        match definition.policy() {
            Ok(Some(policy)) if sources.iter().all(|(_, listed)| *listed) => {
                let listed = self.catalogue.listed(tenant).into_iter();
                policy.idle_rules(&listed.map(|tool| tool.spec).collect::<Vec<_>>())
            }
            Ok(_) | Err(_) => Vec::new(),
        }
    }

    /// The mistake in a name or pattern of tools, as far as the lists are known now: a source that was
    /// never listed may have any tool.
    fn no_tool(&self, pattern: &str) -> Option<String> {
        let tenant = TenantId::DEFAULT;
        let listed = self.catalogue.listed(tenant);
        let wanted = Wanted::parse(pattern);
        let taken = |wanted: Wanted| {
            let mut listed = listed.iter();
            listed.any(|tool| wanted.takes(&tool.source, &tool.spec.name))
        };
        if wanted.clone().is_some_and(taken) {
            return None;
        }
        let tool = pattern.rsplit('/').next().unwrap_or_default();
        if let Some(why) = self.catalogue.why_held(tenant, tool) {
            return Some(why);
        }
        let named = wanted.and_then(|wanted| wanted.source);
        let Some(source) = named else {
            let known: Vec<&str> = listed.iter().map(|tool| tool.spec.name.as_str()).collect();
            let hint = nearest::hint(pattern, known);
            return Some(format!("no tool is named `{pattern}`; {hint}"));
        };
        let sources = self.catalogue.sources(tenant);
        match sources.iter().find(|(name, _)| *name == source) {
            Some((_, false)) => None,
            Some((name, true)) => {
                let own = listed.iter().filter(|tool| tool.source == *name);
                let known: Vec<&str> = own.map(|tool| tool.spec.name.as_str()).collect();
                let hint = nearest::hint(tool, known);
                Some(format!(
                    "the tool source `{name}` has no tool `{tool}`; {hint}"
                ))
            }
            None => {
                let known: Vec<&str> = sources.iter().map(|(name, _)| *name).collect();
                let hint = nearest::hint(&source, known);
                Some(format!("there is no tool source `{source}`; {hint}"))
            }
        }
    }
}

/// No provider is configured, and no provider is chosen.
pub(crate) fn not_configured() -> Failure {
    Failure::last(
        NOT_CONFIGURED,
        "no model provider is configured: set OPENAI_API_KEY, ANTHROPIC_API_KEY, GOOGLE_API_KEY or \
         OPENROUTER_API_KEY, or OPENAI_BASE_URL for a compatible endpoint, and start again; or choose \
         the scripted model by its name, `scripted`",
    )
}

/// A task that begins without a provider is not tried again: only a restart configures a provider.
pub(crate) fn never_again(failure: Failure) -> Failure {
    let retryable = failure.retryable && failure.code != NOT_CONFIGURED;
    Failure {
        retryable,
        ..failure
    }
}

/// The instructions of a run.
pub(crate) fn instructions(
    definition: &Definition,
    goal: &str,
    input: &Json,
    by: &RequestedBy<'_>,
    tools: &[PinnedTool],
) -> Result<String, Failure> {
    let date = jiff::Timestamp::from_microsecond(by.started.0)
        .map(|at| at.strftime("%Y-%m-%d").to_string())
        .unwrap_or_default();
    definition.instructions(&Scene {
        goal: goal.to_owned(),
        input: input.to_value(),
        task: SceneTask {
            id: by.id.clone(),
            name: by.name.to_owned(),
            labels: by.labels.clone(),
        },
        date,
        tools: tools.iter().map(|tool| tool.name.clone()).collect(),
    })
}
