//! The part of a task's input that concerns its agent.

use std::{collections::BTreeMap, path::Path};

use agentkit::{
    Definition, Goal,
    event::Failure,
    model::{Image, scripted::Script},
    planner::{self, OutputError, check_new_schema, check_schema},
    run::{DEFAULT_REASKS, OutputConfig},
};
use bounded::schema;
use ops_core::{FieldError, Json, ports::InputCheck};
use ops_worker::checked_path;
use serde_json::{Map, Value};
use units::nearest;

use crate::providers;

/// The task types that run an agent.
pub const TASK_TYPES: [&str; 2] = ["agent_run", "agent_task"];

/// The keys of `input_data.agent_config`.
const KEYS: [&str; 10] = [
    "provider",
    "llm_provider",
    "model",
    "llm_model",
    "planner",
    "instructions",
    "script",
    "output_schema",
    "max_reasks",
    "policies",
];
/// Whether an agent gets the tools that reach every MCP server; true unless it is said.
const INJECT_PROXY: &str = "inject_mcp_proxy";
/// The most images that a task may bring.
const MAX_IMAGES: usize = 20;
/// The most tries that a task may ask for.
const MAX_REASKS: u32 = 20;
/// The most policies of a task: one policy for each agent above the task, and some more.
const MAX_POLICIES: usize = 32;

/// The parts of `input_data` that an agent run reads.
#[derive(Debug, PartialEq)]
pub(crate) struct Input {
    /// `prompt`, else `goal`, with `images`.
    pub(crate) goal: Goal,
    /// `files`: the initial files of the workspace, by path.
    pub(crate) files: BTreeMap<String, String>,
    /// `agent_config`.
    pub(crate) overrides: Overrides,
    /// `inject_mcp_proxy`: whether the tools are given that reach every MCP server.
    pub(crate) has_proxy: bool,
    /// `user`, as given: the user on whose behalf an agent with long-term memory works.
    pub(crate) user: Value,
}

/// `input_data.agent_config`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Overrides {
    pub(crate) provider: Option<String>,
    pub(crate) model: Option<ModelChoice>,
    pub(crate) planner: Option<String>,
    pub(crate) instructions: Option<String>,
    pub(crate) script: Option<String>,
    pub(crate) output: Option<OutputConfig>,
    /// Policies of the task beside the server's and the agent's policy.
    pub(crate) policies: Vec<Value>,
}

/// The most files that a workspace begins with: each is a write to disk before the run begins.
const MAX_FILES: usize = 10_000;

/// `agent_config.model`.
#[derive(Debug, PartialEq)]
pub(crate) enum ModelChoice {
    /// A model of `agent_config.provider`, or of the usual provider.
    Name(String),
    /// A chain of models, each with its provider.
    Chain(Vec<String>),
}

impl Input {
    /// Reads a task's input.
    pub(crate) fn read(input: &Json) -> Result<Self, Failure> {
        let input = input
            .fields(&[
                "prompt",
                "goal",
                "images",
                "files",
                "agent_config",
                INJECT_PROXY,
                "user",
            ])
            .map_err(|error| invalid(&format!("`input_data` {error} in what an agent reads")))?;
        let goal = goal(&input)?;
        let images = images(input.get("images"))
            .map_err(|message| invalid(&format!("`input_data.images` {message}")))?;
        let files = files(input.get("files"))?.into_iter();
        let files = files.map(|(path, content)| (path.to_owned(), content.to_owned()));
        let files = files.collect();
        let overrides = match input.get("agent_config") {
            None | Some(Value::Null) => Overrides::default(),
            Some(Value::Object(config)) => Overrides::read(config)?,
            Some(_) => return Err(invalid("`input_data.agent_config` must be an object")),
        };
        let has_proxy = input.get(INJECT_PROXY) != Some(&Value::Bool(false));
        Ok(Self {
            goal: Goal { text: goal, images },
            files,
            overrides,
            has_proxy,
            user: input.get("user").cloned().unwrap_or_default(),
        })
    }
}

/// `prompt`, else `goal`.
fn goal(input: &Map<String, Value>) -> Result<String, Failure> {
    let goal = ["prompt", "goal"]
        .iter()
        .filter_map(|key| input.get(*key))
        .find(|value| !value.is_null());
    match goal {
        Some(Value::String(goal)) if !goal.trim().is_empty() => Ok(goal.clone()),
        Some(Value::String(_)) => Err(invalid("`input_data.prompt` is empty")),
        Some(_) => Err(invalid("`input_data.prompt` must be text")),
        None => Err(invalid(
            "`input_data` has neither `prompt` nor `goal`: say what the agent is to do",
        )),
    }
}

/// `files`: the initial files of the workspace.
fn files(given: Option<&Value>) -> Result<BTreeMap<&str, &str>, Failure> {
    few(given).map_err(|message| invalid(&format!("`input_data.files` {message}")))?;
    match given {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(Value::Object(files)) => files.iter().map(file).collect(),
        Some(_) => Err(invalid(
            "`input_data.files` must be an object of path to text",
        )),
    }
}

/// `images`: each a `data` URL, or a place where the provider can get it.
fn images(given: Option<&Value>) -> Result<Vec<Image>, String> {
    let given = match given {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(given)) if given.len() <= MAX_IMAGES => given,
        Some(Value::Array(_)) => return Err(format!("must be {MAX_IMAGES} at most")),
        Some(_) => return Err("must be a list of texts".to_owned()),
    };
    let image = |(index, text): (usize, &Value)| {
        let read = text.as_str().map(Image::parse);
        let read = read.unwrap_or(Err(agentkit::model::ImageError::Form));
        read.map_err(|error| format!("number {} {error}", index + 1))
    };
    given.iter().enumerate().map(image).collect()
}

/// `files`: not more than can be written before a run begins.
fn few(given: Option<&Value>) -> Result<(), String> {
    let count = given.and_then(Value::as_object).map_or(0, Map::len);
    if count <= MAX_FILES {
        return Ok(());
    }
    Err(format!(
        "has {count} files, and may have {MAX_FILES}; put them together, for instance as rows of a CSV file"
    ))
}

fn file<'a>((path, content): (&'a String, &'a Value)) -> Result<(&'a str, &'a str), Failure> {
    content
        .as_str()
        .map(|content| (path.as_str(), content))
        .ok_or_else(|| {
            invalid(&format!(
                "`input_data.files`: the content of `{path}` must be text"
            ))
        })
}

impl Overrides {
    fn read(config: &Map<String, Value>) -> Result<Self, Failure> {
        let text = |key, value: Option<&Value>| match value {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Wrong::new(key, "must be text")),
        };
        let plain = |key| text(key, config.get(key));
        let read = || {
            let (key, provider) = spelled(config, PROVIDER)?;
            let provider = text(key, provider)?;
            Ok::<_, Wrong>(Self {
                model: model(config, provider.is_some())?,
                provider,
                planner: plain("planner")?,
                instructions: plain("instructions")?,
                script: plain("script")?,
                output: output(config)?,
                policies: policies(config)?,
            })
        };
        read().map_err(|Wrong { key, message, .. }| {
            invalid(&format!("`input_data.agent_config.{key}` {message}"))
        })
    }
}

/// The spellings of the provider: ours, and that of version 1.
const PROVIDER: [&str; 2] = ["provider", "llm_provider"];
/// The spellings of the model.
const MODEL: [&str; 2] = ["model", "llm_model"];

/// A value of `agent_config` that has two spellings, under the spelling in use.
fn spelled<'a>(
    config: &'a Map<String, Value>,
    [ours, theirs]: [&'static str; 2],
) -> Result<(&'static str, Option<&'a Value>), Wrong> {
    let given = |key| config.get(key).filter(|value| !value.is_null());
    match (given(ours), given(theirs)) {
        (Some(one), Some(other)) if one != other => Err(Wrong::new(
            theirs,
            format!("and `{ours}` say different things; give one of them"),
        )),
        (None, Some(value)) => Ok((theirs, Some(value))),
        (value, _) => Ok((ours, value)),
    }
}

/// The mistake in a key of `agent_config`.
struct Wrong {
    key: &'static str,
    message: String,
    kind: &'static str,
}

impl Wrong {
    fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self {
            key,
            message: message.into(),
            kind: "value_error",
        }
    }
}

/// `agent_config.output_schema` and `agent_config.max_reasks`.
fn output(config: &Map<String, Value>) -> Result<Option<OutputConfig>, Wrong> {
    let given = |key| config.get(key).filter(|value| !value.is_null());
    let max_reasks = match given("max_reasks") {
        None => DEFAULT_REASKS,
        Some(count) => count
            .as_u64()
            .and_then(|count| u32::try_from(count).ok())
            .filter(|count| *count <= MAX_REASKS)
            .ok_or_else(|| Wrong::new("max_reasks", format!("must be 0 to {MAX_REASKS}")))?,
    };
    let Some(schema) = given("output_schema") else {
        return Ok(None);
    };
    let schema = schema::unwrapped(schema);
    check_schema(schema).map_err(unusable)?;
    Ok(Some(OutputConfig {
        schema: schema.clone(),
        max_reasks,
    }))
}

/// `agent_config.policies`: each like a policy file.
fn policies(config: &Map<String, Value>) -> Result<Vec<Value>, Wrong> {
    let wrong = |message: String| Wrong::new("policies", message);
    let given = match config.get("policies") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(given)) => given,
        Some(_) => return Err(wrong("must be a list of policies".to_owned())),
    };
    if given.len() > MAX_POLICIES {
        return Err(wrong(format!("must be {MAX_POLICIES} policies at most")));
    }
    for policy in given {
        let read = Definition::policy_of(policy);
        read.map_err(|error| wrong(format!("cannot be used: {error}")))?;
    }
    Ok(given.clone())
}

/// As [`output`], and checks the schema's keywords as well. A task that an earlier release accepted runs,
/// whatever its schema.
fn new_output(config: &Map<String, Value>) -> Result<(), Wrong> {
    match output(config)? {
        Some(output) => check_new_schema(&output.schema).map_err(unusable),
        None => Ok(()),
    }
}

fn unusable(error: OutputError) -> Wrong {
    Wrong {
        key: "output_schema",
        message: format!("cannot be used: {error}"),
        kind: error.code(),
    }
}

/// `agent_config.planner` and `agent_config.script`, as far as every server reads them alike.
fn named(config: &Map<String, Value>) -> Vec<Wrong> {
    let text = |key| config.get(key).and_then(Value::as_str);
    let planner = text("planner").and_then(|name| planner::by_name(name).err());
    let planner = planner
        .map(|failure| Wrong::new("planner", format!("cannot be used: {}", failure.message)));
    let script = text("script").and_then(|script| Script::parse(script).err());
    let script = script.map(|error| Wrong::new("script", format!("is not valid: {error}")));
    planner
        .into_iter()
        .chain(script)
        .chain(twice(config))
        .collect()
}

/// A chain that names one model twice. A task that an earlier release accepted runs.
fn twice(config: &Map<String, Value>) -> Option<Wrong> {
    let (key, value) = spelled(config, MODEL).ok()?;
    let names = value?.as_array()?.iter().filter_map(Value::as_str);
    Some(Wrong::new(key, providers::named_twice(names)?))
}

/// Whether an input may have a key of this list. Most inputs have none, and need no further reading. An
/// escape may stand for any character of a key.
fn may_have(input: &str, keys: &[&str]) -> bool {
    keys.iter().any(|key| input.contains(key)) || input.contains("\\u")
}

/// Whether an input has a script or a schema: some hundred bytes of either may take a while to read.
pub(crate) fn is_costly(task_type: &str, input: &Json) -> bool {
    const KEYS: [&str; 2] = ["\"output_schema\"", "\"script\""];
    TASK_TYPES.contains(&task_type) && may_have(input.as_str(), &KEYS)
}

/// What of an input is refused before its task is accepted: an output schema that no answer can be
/// held to or that does not say what it seems to, what is no image, no planner, no script, or two spellings that differ. And what its client is
/// warned of: keys of `agent_config` that no one reads, and providers, prompts and files that fail the task. With the
/// `agent_config`, if it can be used.
pub(crate) fn check(input: &Json) -> (InputCheck, Option<Overrides>) {
    let input = match input.fields(&["prompt", "goal", "agent_config", "images", "files"]) {
        Ok(input) => input,
        Err(error) => {
            let message = format!("{error} in what an agent reads");
            let wrong = FieldError::new(&["input"], "value_error", message);
            let found = InputCheck {
                wrong: vec![wrong],
                ..InputCheck::default()
            };
            return (found, None);
        }
    };
    let field =
        |kind, key: &str, message| FieldError::new(&["input", "agent_config", key], kind, message);
    let mut found = InputCheck::default();
    let mut overrides = Some(Overrides::default());
    if let Some(config) = input.get("agent_config").and_then(Value::as_object) {
        let mut wrong = named(config);
        wrong.extend(new_output(config).err());
        wrong.extend(policies(config).err());
        wrong.extend(
            [PROVIDER, MODEL]
                .into_iter()
                .filter_map(|keys| spelled(config, keys).err()),
        );
        let wrong = wrong.into_iter();
        let wrong = wrong.map(|Wrong { key, message, kind }| field(kind, key, message));
        found.wrong.extend(wrong);
        overrides = Overrides::read(config).ok();
        let unknown = unknown_keys(config).chain(unknown_providers(config));
        found.warnings = unknown
            .map(|(kind, key, message)| field(kind, &key, message))
            .collect();
    }
    found.warnings.extend(will_fail(&input));
    if let Err(message) = few(input.get("files")) {
        found
            .wrong
            .push(FieldError::new(&["input", "files"], "value_error", message));
    }
    if let Err(message) = images(input.get("images")) {
        found.wrong.push(FieldError::new(
            &["input", "images"],
            "value_error",
            message,
        ));
    }
    (found, overrides)
}

/// What of prompt and files no run can begin with: the task is accepted, and fails.
fn will_fail(input: &Map<String, Value>) -> Vec<FieldError> {
    let warned = |key, message: &str| {
        let message = format!("{message}; the task will fail");
        FieldError::new(&["input", key], "value_error", message)
    };
    let is_few = few(input.get("files")).is_ok();
    let given = is_few.then(|| files(input.get("files")));
    let wrong_files = match given {
        None => Vec::new(),
        Some(Err(failure)) => vec![failure.message],
        Some(Ok(files)) => {
            let paths = files.keys().map(|path| checked_path(Path::new(""), path));
            let wrong = paths.filter_map(Result::err).take(MAX_WARNINGS);
            wrong.map(|error| error.to_string()).collect()
        }
    };
    let goal = goal(input)
        .err()
        .map(|failure| warned("prompt", &failure.message));
    let files = wrong_files.iter().map(|message| warned("files", message));
    goal.into_iter().chain(files).collect()
}

/// A warning: its kind, the key, and the message.
type Warned = (&'static str, String, String);

/// The most keys that warnings name.
const MAX_WARNINGS: usize = 20;

/// Keys of `agent_config` that are not known here: they are passed over, as version 1 did.
fn unknown_keys(config: &Map<String, Value>) -> impl Iterator<Item = Warned> {
    let unknown = config.keys().filter(|key| !KEYS.contains(&key.as_str()));
    unknown.take(MAX_WARNINGS).map(|key| {
        let key: String = key.chars().take(80).collect();
        let hint = nearest::hint(&key, KEYS);
        let message = format!("unknown field `{key}` of `agent_config` is passed over; {hint}");
        ("unknown_field", key, message)
    })
}

/// Providers that there are not: the task is accepted, and fails.
fn unknown_providers(config: &Map<String, Value>) -> impl Iterator<Item = Warned> {
    let named = spelled(config, PROVIDER).ok();
    let provider = named.and_then(|(key, value)| Some((key, value?.as_str()?)));
    let listed = spelled(config, MODEL).ok();
    let listed = listed.and_then(|(key, value)| Some((key, value?.as_array()?)));
    let listed = listed.into_iter().flat_map(|(key, names)| {
        let names = names.iter().filter_map(Value::as_str);
        names.filter_map(move |name| Some((key, name.split_once('/')?.0)))
    });
    let named = provider.into_iter().chain(listed);
    let unknown =
        named.filter_map(|(key, provider)| Some((key, providers::check(provider).err()?)));
    unknown.take(MAX_WARNINGS).map(|(key, failure)| {
        let message = format!(
            "{}; the task will fail",
            failure.message.trim_end_matches('.')
        );
        ("unknown_provider", key.to_owned(), message)
    })
}

fn model(config: &Map<String, Value>, has_provider: bool) -> Result<Option<ModelChoice>, Wrong> {
    const FORM: &str = "must be text, or a list of texts";
    let (key, value) = spelled(config, MODEL)?;
    match value {
        None => Ok(None),
        Some(Value::String(name)) => Ok(Some(ModelChoice::Name(name.clone()))),
        Some(Value::Array(_)) if has_provider => {
            let message =
                "is a list, whose models have providers of their own; leave out `provider`";
            Err(Wrong::new(key, message))
        }
        Some(Value::Array(names)) => {
            let names: Option<Vec<String>> = names
                .iter()
                .map(|name| name.as_str().map(str::to_owned))
                .collect();
            match names {
                Some(names) if !names.is_empty() => Ok(Some(ModelChoice::Chain(names))),
                Some(_) | None => Err(Wrong::new(key, FORM)),
            }
        }
        Some(_) => Err(Wrong::new(key, FORM)),
    }
}

fn invalid(message: &str) -> Failure {
    Failure::last("invalid_input", message)
}
