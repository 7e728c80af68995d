//! The task that a command line asks for.

use std::{
    collections::BTreeMap,
    path::{Component, Path},
};

use agentkit::model::Image;
use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use units::money;

use crate::{
    cli, example,
    exit::{self, Exit},
    input,
};

/// The largest file that a task is given.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// The body of the submit.
pub(super) fn body(args: &cli::Run) -> Result<Value> {
    let mut input = Map::new();
    for given in &args.input {
        input.extend(input_of(given)?);
    }
    let goal_of_input = ["prompt", "goal"]
        .into_iter()
        .find(|key| input.contains_key(*key));
    if let Some(key) = goal_of_input
        && (args.goal.is_some() || args.example.is_some())
    {
        return Err(usage(format!(
            "the goal is given twice: leave `{key}` of --input out, or the other one"
        )));
    }
    let mut overrides = match input.remove("agent_config") {
        None => Map::new(),
        Some(Value::Object(overrides)) => overrides,
        Some(_) => return Err(usage("`agent_config` in --input must be an object")),
    };
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    if let Some(name) = &args.example {
        let example = example::find(name)?;
        input.insert("prompt".into(), example.agent.goal.into());
        let own = example.files.into_iter();
        files.extend(own.map(|(path, text)| (path.to_owned(), text.to_owned())));
        overrides.insert("instructions".into(), example.agent.instructions.into());
        overrides.insert("script".into(), example.script.into());
    } else if let Some(goal) = goal(args.goal.as_deref())? {
        input.insert("prompt".into(), goal.into());
    }
    if !["prompt", "goal"]
        .iter()
        .any(|key| input.contains_key(*key))
    {
        return Err(usage("the goal is empty: say what the agent is to do"));
    }
    if let Some(model) = &args.model {
        overrides.insert("model".into(), model.clone().into());
    }
    if let Some(planner) = &args.planner {
        overrides.insert("planner".into(), planner.clone().into());
    }
    if let Some(path) = &args.output_schema {
        overrides.insert("output_schema".into(), schema(path)?);
    }
    if !args.images.is_empty() {
        let images = args.images.iter().map(|image| image_of(image));
        input.insert("images".into(), images.collect::<Result<Vec<_>>>()?.into());
    }
    for given in &args.files {
        let (name, text) = file(given)?;
        if files.insert(name.clone(), text).is_some() {
            return Err(usage(format!("two files are named `{name}` (--file)")));
        }
    }
    if !files.is_empty() {
        let mut all = match input.remove("files") {
            None => Map::new(),
            Some(Value::Object(all)) => all,
            Some(_) => return Err(usage("`files` in --input must be an object")),
        };
        all.extend(files.into_iter().map(|(name, text)| (name, text.into())));
        input.insert("files".into(), all.into());
    }
    input.insert("agent_config".into(), overrides.into());
    let mut body = json!({"task_type": "agent_run", "input_data": input});
    let name = args.example.as_ref().map(|name| format!("example {name}"));
    let mut set = |key: &str, value: Value| {
        if !value.is_null() {
            body[key] = value;
        }
    };
    set("name", args.name.clone().or(name).into());
    set("agent_id", args.agent.clone().into());
    set("priority", args.priority.into());
    set("queue", args.queue.clone().into());
    set("concurrency_key", args.concurrency_key.clone().into());
    if !args.labels.is_empty() {
        set("labels", json!(labels(&args.labels)?));
    }
    let cost = args.max_cost_usd.map(money::usd);
    for (key, value) in [
        ("timeout", args.timeout.clone().into()),
        ("queue_timeout", args.queue_timeout.clone().into()),
        ("max_steps", args.max_steps.into()),
        ("max_tokens", args.max_tokens.into()),
        ("max_cost_usd", cost.into()),
        ("on_exhausted", args.on_exhausted.clone().into()),
    ] {
        let value: Value = value;
        if !value.is_null() {
            body["limits"][key] = value;
        }
    }
    Ok(body)
}

fn usage(message: impl Into<String>) -> anyhow::Error {
    exit::error(Exit::Usage, message)
}

fn goal(given: Option<&str>) -> Result<Option<String>> {
    let goal = match given {
        None => return Ok(None),
        Some("-") => {
            input::stdin(MAX_FILE_BYTES).context("cannot read the goal from standard input")?
        }
        Some(goal) => goal.to_owned(),
    };
    if goal.trim().is_empty() {
        return Err(usage("the goal is empty: say what the agent is to do"));
    }
    Ok(Some(goal))
}

/// Fields of `input_data`: an object in JSON, `@FILE` with one, or `KEY=VALUE`, where VALUE is JSON or
/// else text.
fn input_of(given: &str) -> Result<Map<String, Value>> {
    let object = |text: &str, test_dir: &str| match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(usage(format!("{test_dir} must be a JSON object"))),
        Err(error) => Err(usage(format!("{test_dir} is not JSON: {error}"))),
    };
    if let Some(path) = given.strip_prefix('@') {
        let text = input::file(Path::new(path), MAX_FILE_BYTES)
            .map_err(|error| usage(format!("cannot read `{path}` (--input): {error}")))?;
        return object(&text, &format!("`{path}` (--input)"));
    }
    if given.trim_start().starts_with('{') {
        return object(given, "--input");
    }
    let (key, value) = pair(given).ok_or_else(|| {
        usage(format!(
            "--input `{given}` is neither KEY=VALUE, nor a JSON object, nor @FILE"
        ))
    })?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok(Map::from_iter([(key.to_owned(), value)]))
}

/// A file of the workspace: `PATH`, or `NAME=PATH` for another name there. A path that leads out of
/// the current folder is known by its last part.
fn file(given: &str) -> Result<(String, String)> {
    // A file whose own name has a `=` is taken as it is.
    let (name, path) = match pair(given) {
        Some((name, path)) if !Path::new(given).exists() => (Some(name), path),
        Some(_) | None => (None, given),
    };
    let shown = Path::new(path);
    let wrong = |what: &str| usage(format!("cannot use the file `{path}` (--file): {what}"));
    let about = std::fs::metadata(shown).map_err(|error| wrong(&error.to_string()))?;
    if !about.is_file() {
        return Err(wrong("it is no file"));
    }
    if about.len() > MAX_FILE_BYTES {
        return Err(wrong(&format!(
            "it is larger than {} MiB",
            MAX_FILE_BYTES >> 20
        )));
    }
    let bytes = std::fs::read(shown).map_err(|error| wrong(&error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is not text (UTF-8)"))?;
    let stays = shown
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let own = if stays {
        let parts = shown.components().filter_map(|part| match part {
            Component::Normal(part) => part.to_str(),
            _ => None,
        });
        Some(parts.collect::<Vec<_>>().join("/"))
    } else {
        shown
            .file_name()
            .and_then(|name| name.to_str())
            .map(str::to_owned)
    };
    let name = name.map(str::to_owned).or(own);
    Ok((name.ok_or_else(|| wrong("it has no name"))?, text))
}

/// Labels, each as `KEY=VALUE`.
pub(in crate::commands) fn labels(given: &[String]) -> Result<BTreeMap<&str, &str>> {
    let label =
        |text| pair(text).ok_or_else(|| usage(format!("the label `{text}` is not like KEY=VALUE")));
    given.iter().map(|text| label(text.as_str())).collect()
}

fn pair(text: &str) -> Option<(&str, &str)> {
    text.split_once('=').filter(|(key, _)| !key.is_empty())
}

/// An image of the command line as a task brings it.
fn image_of(image: &str) -> Result<String> {
    if image.starts_with("https://") || image.starts_with("http://") {
        return Ok(image.to_owned());
    }
    let bytes = std::fs::read(image).map_err(|error| {
        usage(format!(
            "cannot read the image `{image}` (--image): {error}"
        ))
    })?;
    match Image::from_bytes(&bytes) {
        Ok(image) => Ok(image.to_string()),
        Err(error) => Err(usage(format!("`{image}` (--image) {error}"))),
    }
}

fn schema(path: &Path) -> Result<Value> {
    let shown = path.display();
    let text = input::file(path, MAX_FILE_BYTES)
        .map_err(|error| usage(format!("cannot read `{shown}` (--output-schema): {error}")))?;
    serde_json::from_str(&text).map_err(|error| {
        usage(format!(
            "`{shown}` (--output-schema) is not JSON: {error}; write a JSON Schema"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> cli::Run {
        use clap::Parser as _;
        let words = ["opspawn", "run"].iter().chain(words);
        match cli::Cli::try_parse_from(words).unwrap().command {
            cli::Command::Run(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    /// cli/C7: an agent that needs `input.customer` could not be run.
    #[test]
    fn every_part_of_a_task_can_be_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.csv");
        std::fs::write(&path, "id\n7\n").unwrap();
        let fields = folder.path().join("more.json");
        std::fs::write(&fields, r#"{"region": "north"}"#).unwrap();
        let path = path.to_str().unwrap();
        let renamed = format!("data/o.csv={path}");
        let more = format!("@{}", fields.display());
        let body = body(&args(&[
            "Who made it?",
            "--agent",
            "researcher",
            "--input",
            "customer=Acme",
            "--input",
            "order=7",
            "--input",
            r#"{"agent_config": {"provider": "openai"}}"#,
            "--input",
            &more,
            "--file",
            path,
            "--file",
            &renamed,
            "--label",
            "team=a",
            "--label",
            "x=y=z",
            "--name",
            "orders",
            "--priority",
            "7",
            "--max-cost-usd",
            "0.25",
            "--max-tokens",
            "1000",
            "--timeout",
            "1h30m",
            "--model",
            "gpt-5",
            "--queue",
            "slow",
            "--concurrency-key",
            "k",
        ]))
        .unwrap();
        assert_eq!(
            body,
            json!({
                "task_type": "agent_run", "name": "orders", "agent_id": "researcher", "priority": 7,
                "queue": "slow", "concurrency_key": "k",
                "labels": {"team": "a", "x": "y=z"},
                "limits": {"timeout": "1h30m", "max_tokens": 1000, "max_cost_usd": 0.25},
                "input_data": {
                    "prompt": "Who made it?", "customer": "Acme", "order": 7, "region": "north",
                    "files": {"orders.csv": "id\n7\n", "data/o.csv": "id\n7\n"},
                    "agent_config": {"provider": "openai", "model": "gpt-5"},
                },
            })
        );
        let example = super::body(&args(&["--example", "report", "--name", "mine"])).unwrap();
        assert_eq!(example["name"], "mine");
        assert!(example["input_data"]["files"]["data/notes.txt"].is_string());
        let goal = super::body(&args(&["--input", "goal=do it"])).unwrap();
        assert_eq!(goal["input_data"]["goal"], "do it");
    }

    #[test]
    fn what_cannot_be_used_is_told_with_its_flag() {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("b");
        std::fs::write(&binary, [0xff, 0xfe]).unwrap();
        let binary = binary.to_str().unwrap();
        for (words, says) in [
            (&["x", "--input", "customer"][..], "is neither KEY=VALUE"),
            (&["x", "--input", "{]"], "--input is not JSON"),
            (
                &["x", "--input", "@/nowhere"],
                "cannot read `/nowhere` (--input)",
            ),
            (&["x", "--label", "team"], "is not like KEY=VALUE"),
            (
                &["x", "--file", "/nowhere"],
                "cannot use the file `/nowhere` (--file)",
            ),
            (&["x", "--file", binary], "it is not text"),
            (&["x", "--file", "/"], "it is no file"),
            (&["x", "--file", "a=/dev/null"], "it is no file"),
            (&["  "], "the goal is empty"),
            (&["--input", "a=1"], "the goal is empty"),
        ] {
            let error = body(&args(words)).unwrap_err();
            assert!(error.to_string().contains(says), "{words:?}: {error}");
            assert_eq!(exit::code_of(&error), Exit::Usage);
        }
    }
}
