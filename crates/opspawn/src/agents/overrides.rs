//! What a task's input says of its agent.

use std::collections::BTreeMap;

use agentkit::event::Failure;
use serde_json::{Map, Value};

use crate::config::nearest;

/// The keys of `input_data.agent_config`.
const KEYS: [&str; 5] = ["provider", "model", "planner", "instructions", "script"];

/// The parts of `input_data` that an agent run reads.
#[derive(Debug, PartialEq)]
pub(super) struct Input {
    /// `prompt`, else `goal`.
    pub(super) goal: String,
    /// `files`: what the workspace begins with, by path.
    pub(super) files: BTreeMap<String, String>,
    /// `agent_config`.
    pub(super) overrides: Overrides,
}

/// `input_data.agent_config`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Overrides {
    pub(super) provider: Option<String>,
    pub(super) model: Option<ModelWish>,
    pub(super) planner: Option<String>,
    pub(super) instructions: Option<String>,
    pub(super) script: Option<String>,
}

/// `agent_config.model`.
#[derive(Debug, PartialEq)]
pub(super) enum ModelWish {
    /// A model of `agent_config.provider`, or of the usual provider.
    Name(String),
    /// A chain of models, each with its provider.
    Chain(Vec<String>),
}

impl Input {
    /// Reads a task's input.
    pub(super) fn read(input: &Value) -> Result<Self, Failure> {
        let goal = ["prompt", "goal"]
            .iter()
            .filter_map(|key| input.get(key))
            .find(|value| !value.is_null());
        let goal = match goal {
            Some(Value::String(goal)) if !goal.trim().is_empty() => goal.clone(),
            Some(Value::String(_)) => return Err(invalid("`input_data.prompt` is empty")),
            Some(_) => return Err(invalid("`input_data.prompt` must be text")),
            None => {
                return Err(invalid(
                    "`input_data` has neither `prompt` nor `goal`: say what the agent is to do",
                ));
            }
        };
        let files = match input.get("files") {
            None | Some(Value::Null) => BTreeMap::new(),
            Some(Value::Object(files)) => files.iter().map(file).collect::<Result<_, _>>()?,
            Some(_) => {
                return Err(invalid(
                    "`input_data.files` must be an object of path to text",
                ));
            }
        };
        let overrides = match input.get("agent_config") {
            None | Some(Value::Null) => Overrides::default(),
            Some(Value::Object(config)) => Overrides::read(config)?,
            Some(_) => return Err(invalid("`input_data.agent_config` must be an object")),
        };
        Ok(Self {
            goal,
            files,
            overrides,
        })
    }
}

fn file((path, content): (&String, &Value)) -> Result<(String, String), Failure> {
    match content {
        Value::String(text) => Ok((path.clone(), text.clone())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(invalid(&format!(
                "`input_data.files`: the content of `{path}` must be text"
            )))
        }
    }
}

impl Overrides {
    fn read(config: &Map<String, Value>) -> Result<Self, Failure> {
        if let Some(unknown) = config.keys().find(|key| !KEYS.contains(&key.as_str())) {
            let hint = nearest(unknown, KEYS.into_iter()).map_or_else(
                || format!("known are {}", KEYS.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("unknown field `{unknown}` in `input_data.agent_config`; {hint}");
            return Err(invalid(&message));
        }
        let text = |key: &str| match config.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(invalid(&format!(
                "`input_data.agent_config.{key}` must be text"
            ))),
        };
        Ok(Self {
            provider: text("provider")?,
            model: model(config)?,
            planner: text("planner")?,
            instructions: text("instructions")?,
            script: text("script")?,
        })
    }
}

fn model(config: &Map<String, Value>) -> Result<Option<ModelWish>, Failure> {
    const KEY: &str = "`input_data.agent_config.model`";
    match config.get("model") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) => Ok(Some(ModelWish::Name(name.clone()))),
        Some(Value::Array(_)) if config.get("provider").is_some_and(|p| !p.is_null()) => {
            let message = format!(
                "{KEY} is a list, whose models have providers of their own; leave out `provider`"
            );
            Err(invalid(&message))
        }
        Some(Value::Array(names)) => {
            let names: Option<Vec<String>> = names
                .iter()
                .map(|name| name.as_str().map(str::to_owned))
                .collect();
            match names {
                Some(names) if !names.is_empty() => Ok(Some(ModelWish::Chain(names))),
                Some(_) | None => Err(invalid(&format!("{KEY} must be text, or a list of texts"))),
            }
        }
        Some(_) => Err(invalid(&format!("{KEY} must be text, or a list of texts"))),
    }
}

fn invalid(message: &str) -> Failure {
    Failure::last("invalid_input", message)
}
