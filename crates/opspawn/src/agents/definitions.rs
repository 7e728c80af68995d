//! What a definition of an agent means here: its models, tools and policy are those of this
//! configuration.

use std::sync::Arc;

use agentkit::{
    Definition,
    definition::{DefinitionError, Scene, SceneTask},
    event::Failure,
    model::scripted::Script,
    planner::check_new_schema,
    policy::{Pattern, Policy, Strictest},
    tool::{Registry, control::SpawnAgent},
};
use ops_core::{
    AgentDigest, AgentName, Json, Micros, Task,
    agent::AgentSpec,
    ports::{AgentDefinitions, AgentMistake},
};

use units::nearest;

use super::Factory;

/// The tools of agents that start others.
const SPAWN: &str = "spawn_agent";
const AWAIT: &str = "await_agents";

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

impl Factory {
    /// What this configuration does not have of what a definition names.
    pub(crate) fn mistakes(&self, definition: &Definition) -> Vec<AgentMistake> {
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
        if let Some(Err(error)) = definition.script.as_deref().map(Script::parse) {
            wrong("script", error.to_string());
        }
        if let Some(output) = &definition.output
            && let Err(error) = check_new_schema(&output.schema)
        {
            wrong("output", format!("`schema` cannot be used: {error}"));
        }
        let names = self.registry.specs();
        let names = || names.iter().map(|spec| spec.name.as_str());
        for tool in definition.tools.iter().flatten() {
            let matches = |pattern: Pattern| names().any(|name| pattern.matches(name));
            if tool.parse().is_ok_and(matches) {
                continue;
            }
            let known: Vec<&str> = names().collect();
            let hint = nearest::hint(tool, known);
            wrong("tools", format!("no tool is named `{tool}`; {hint}"));
        }
        mistakes
    }

    /// The definition of a task, if it has one.
    ///
    /// # Errors
    /// One that this release cannot read is of a newer one: the task waits for that.
    pub(super) fn definition(definition: Option<&Json>) -> Result<Option<Definition>, Failure> {
        let Some(definition) = definition else {
            return Ok(None);
        };
        Definition::from_json(&definition.to_value())
            .map(Some)
            .map_err(|error| {
                Failure::passing(
                    "invalid_agent",
                    format!("the agent's definition cannot be read by this release: {error}"),
                )
            })
    }

    /// The tools that a definition gives.
    pub(super) fn tools_of(&self, definition: &Definition) -> Result<Registry, Failure> {
        let failed = |error: agentkit::tool::RegistryError| {
            Failure::last("invalid_agent", error.to_string())
        };
        let patterns: Option<Vec<Pattern>> = definition
            .tools
            .as_ref()
            .map(|tools| tools.iter().filter_map(|tool| tool.parse().ok()).collect());
        let starts = !definition.agents.is_empty();
        let names: Vec<String> = self
            .registry
            .specs()
            .iter()
            .map(|spec| spec.name.clone())
            .filter(|name| match &patterns {
                None => true,
                Some(_) if starts && [SPAWN, AWAIT].contains(&name.as_str()) => true,
                Some(patterns) => patterns.iter().any(|pattern| pattern.matches(name)),
            })
            .collect();
        let registry = self.registry.subset(&names).map_err(failed)?;
        if !names.iter().any(|name| name == SPAWN) {
            return Ok(registry);
        }
        registry
            .replace(Arc::new(SpawnAgent::of(&definition.agents)))
            .map_err(failed)
    }

    /// The policy of a definition, beside the server's own.
    pub(super) fn policy_of(
        &self,
        definition: &Definition,
        tools: &Registry,
    ) -> Result<Arc<dyn Policy>, Failure> {
        let own = definition
            .policy()
            .map_err(|error| Failure::last("invalid_agent", error.to_string()))?;
        let Some(own) = own else {
            return Ok(Arc::clone(&self.policy));
        };
        let names = tools.specs().into_iter().map(|spec| spec.name.clone());
        let own: Arc<dyn Policy> = Arc::new(own.policy(names));
        Ok(Arc::new(Strictest(vec![Arc::clone(&self.policy), own])))
    }
}

/// The instructions of a task's run.
pub(super) fn instructions(
    definition: &Definition,
    goal: &str,
    task: &Task,
    started: Micros,
    tools: &Registry,
) -> Result<String, Failure> {
    let date = jiff::Timestamp::from_microsecond(started.0)
        .map(|at| at.strftime("%Y-%m-%d").to_string())
        .unwrap_or_default();
    definition.instructions(&Scene {
        goal: goal.to_owned(),
        input: task.input.to_value(),
        task: SceneTask {
            id: task.id.to_string(),
            name: task.name.clone().unwrap_or_default(),
            labels: task.labels.clone(),
        },
        date,
        tools: tools
            .specs()
            .into_iter()
            .map(|spec| spec.name.clone())
            .collect(),
    })
}
