//! What a task's input says of its agent.

use std::collections::BTreeMap;

use agentkit::{
    Goal,
    event::Failure,
    model::{Image, scripted::Script},
    planner::{self, check_schema},
    run::{DEFAULT_REASKS, OutputConfig},
};
use ops_core::Json;
use ops_engine::FieldError;
use serde_json::{Map, Value};
use units::nearest;

use super::TASK_TYPES;

/// The keys of `input_data.agent_config`.
const KEYS: [&str; 7] = [
    "provider",
    "model",
    "planner",
    "instructions",
    "script",
    "output_schema",
    "max_reasks",
];
/// The most images that a task may bring.
const MOST_IMAGES: usize = 20;
/// The most tries that a task may ask for.
const MOST_REASKS: u32 = 20;

/// The parts of `input_data` that an agent run reads.
#[derive(Debug, PartialEq)]
pub(super) struct Input {
    /// `prompt`, else `goal`, with `images`.
    pub(super) goal: Goal,
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
    pub(super) output: Option<OutputConfig>,
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
    pub(super) fn read(input: &Json) -> Result<Self, Failure> {
        let input = input
            .fields(&["prompt", "goal", "images", "files", "agent_config"])
            .map_err(|error| invalid(&format!("`input_data` {error} in what an agent reads")))?;
        let goal = ["prompt", "goal"]
            .iter()
            .filter_map(|key| input.get(*key))
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
        let images = images(input.get("images"))
            .map_err(|message| invalid(&format!("`input_data.images` {message}")))?;
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
            goal: Goal { text: goal, images },
            files,
            overrides,
        })
    }
}

/// `images`: each a `data` URL, or a place where the provider can get it.
fn images(given: Option<&Value>) -> Result<Vec<Image>, String> {
    let given = match given {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(given)) if given.len() <= MOST_IMAGES => given,
        Some(Value::Array(_)) => return Err(format!("must be {MOST_IMAGES} at most")),
        Some(_) => return Err("must be a list of texts".to_owned()),
    };
    let image = |(index, text): (usize, &Value)| {
        let read = text.as_str().map(Image::parse);
        let read = read.unwrap_or(Err(agentkit::model::ImageError::Form));
        read.map_err(|error| format!("number {} {error}", index + 1))
    };
    given.iter().enumerate().map(image).collect()
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
            let hint = nearest::hint(unknown, KEYS);
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
            output: output(config).map_err(|error| {
                let Wrong { key, message } = error;
                invalid(&format!("`input_data.agent_config.{key}` {message}"))
            })?,
        })
    }
}

/// What is wrong with a key of `agent_config`.
struct Wrong {
    key: &'static str,
    message: String,
}

/// `agent_config.output_schema` and `agent_config.max_reasks`.
fn output(config: &Map<String, Value>) -> Result<Option<OutputConfig>, Wrong> {
    let given = |key| config.get(key).filter(|value| !value.is_null());
    let wrong = |key, message: String| Wrong { key, message };
    let max_reasks = match given("max_reasks") {
        None => DEFAULT_REASKS,
        Some(count) => count
            .as_u64()
            .and_then(|count| u32::try_from(count).ok())
            .filter(|count| *count <= MOST_REASKS)
            .ok_or_else(|| wrong("max_reasks", format!("must be 0 to {MOST_REASKS}")))?,
    };
    let Some(schema) = given("output_schema") else {
        return Ok(None);
    };
    check_schema(schema).map_err(|error| {
        let message = format!("cannot be used: {error}");
        wrong("output_schema", message)
    })?;
    Ok(Some(OutputConfig {
        schema: schema.clone(),
        max_reasks,
    }))
}

/// `agent_config.planner` and `agent_config.script`, as far as every server reads them alike.
fn named(config: &Map<String, Value>) -> Vec<Wrong> {
    let text = |key| config.get(key).and_then(Value::as_str);
    let planner = text("planner").and_then(|name| planner::by_name(name).err());
    let planner = planner.map(|failure| Wrong {
        key: "planner",
        message: format!("cannot be used: {}", failure.message),
    });
    let script = text("script").and_then(|script| Script::parse(script).err());
    let script = script.map(|error| Wrong {
        key: "script",
        message: format!("is not valid: {error}"),
    });
    planner.into_iter().chain(script).collect()
}

/// What of a task's input is refused before the task is accepted: an output schema that no answer
/// can be held to, what is no image, no planner, or no script.
pub(crate) fn check_input(task_type: &str, input: &Json) -> Vec<FieldError> {
    // Most inputs have none, and need not be read for that.
    const KEYS: [&str; 5] = [
        "\"output_schema\"",
        "\"max_reasks\"",
        "\"images\"",
        "\"planner\"",
        "\"script\"",
    ];
    let may_have = KEYS.iter().any(|key| input.as_str().contains(key));
    if !may_have || !TASK_TYPES.contains(&task_type) {
        return Vec::new();
    }
    let input = match input.fields(&["agent_config", "images"]) {
        Ok(input) => input,
        Err(error) => {
            let message = format!("{error} in what an agent reads");
            return vec![FieldError::new(&["input_data"], "value_error", message)];
        }
    };
    let config = input.get("agent_config").and_then(Value::as_object);
    let schema = config.and_then(|config| output(config).err());
    let wrong = config.map(named).unwrap_or_default();
    let wrong = schema.into_iter().chain(wrong);
    let mut errors: Vec<_> = wrong
        .map(|Wrong { key, message }| {
            let path = ["input_data", "agent_config", key];
            FieldError::new(&path, "value_error", message)
        })
        .collect();
    if let Err(message) = images(input.get("images")) {
        errors.push(FieldError::new(
            &["input_data", "images"],
            "value_error",
            message,
        ));
    }
    errors
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
