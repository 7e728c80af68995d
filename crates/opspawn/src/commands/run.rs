//! `opspawn run`: one goal to its end.

use std::{io::Read as _, path::Path};

use agentkit::model::Image;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::asked_to_stop;
use crate::{
    cli,
    client::{Client, StreamEvent},
    config::Config,
    example,
    exit::{self, Exit},
    output,
    runtime::Role,
};

/// Submits, follows and prints the answer.
pub(super) async fn run(config: &Config, args: cli::Run, json: bool) -> Result<Exit> {
    let body = body(&args)?;
    let client = Client::connect(config, Role::Work).await?;
    if args.detach && client.embedded.is_some() {
        client.close().await?;
        return Err(exit::error(
            Exit::Usage,
            "--detach needs a running server, as this process would end with the task unfinished; \
             start one with `opspawn dev`",
        ));
    }
    let result = submit_and_follow(config, &client, &args, &body, json).await;
    client.close().await?;
    result
}

async fn submit_and_follow(
    config: &Config,
    client: &Client,
    args: &cli::Run,
    body: &Value,
    json: bool,
) -> Result<Exit> {
    let info = client.get("/api/v1/info").await?;
    if let Some(notice) = info["notice"].as_str() {
        eprintln!("note: {notice}");
    }
    let task = client
        .post("/api/v1/tasks/", body, args.idempotency_key.as_deref())
        .await?;
    let id = task["task_id"]
        .as_str()
        .context("the server named no task")?
        .to_owned();
    if args.detach {
        if json {
            output::json(&task)
        } else {
            println!("{id}")
        }
        return Ok(Exit::Ok);
    }
    eprintln!("task {id}");
    let mut progress = Progress::default();
    let parked = tokio::select! {
        followed = follow(client, &id, |event| progress.see(event)) => followed?,
        stop = asked_to_stop() => {
            stop?;
            drop(progress);
            eprintln!("interrupted; the task goes on where it was with `opspawn task watch {id}`");
            return Ok(Exit::Interrupted);
        }
    };
    drop(progress);
    if let Some(sentence) = parked {
        eprintln!("{sentence}");
        return Ok(Exit::Waits);
    }
    let task = client.get(&format!("/api/v1/tasks/{id}")).await?;
    Ok(finish(config, &task, info["data_dir"].as_str(), json))
}

fn body(args: &cli::Run) -> Result<Value> {
    let mut input = serde_json::Map::new();
    let mut overrides = serde_json::Map::new();
    if let Some(name) = &args.example {
        let example = example::find(name)?;
        input.insert("prompt".into(), example.agent.goal.into());
        input.insert("files".into(), json!(example.files));
        overrides.insert("instructions".into(), example.agent.instructions.into());
        overrides.insert("script".into(), example.script.into());
    } else {
        let goal = match args.goal.as_deref() {
            Some("-") => {
                let mut text = String::new();
                std::io::stdin()
                    .read_to_string(&mut text)
                    .context("cannot read the goal from standard input")?;
                text
            }
            Some(goal) => goal.to_owned(),
            None => String::new(),
        };
        if goal.trim().is_empty() {
            return Err(exit::error(
                Exit::Usage,
                "the goal is empty: say what the agent is to do",
            ));
        }
        input.insert("prompt".into(), goal.into());
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
    input.insert("agent_config".into(), overrides.into());
    let mut body = json!({"task_type": "agent_run", "input_data": input});
    if let Some(name) = &args.example {
        body["name"] = format!("example {name}").into();
    }
    if let Some(agent) = &args.agent {
        body["agent_id"] = agent.clone().into();
    }
    if let Some(timeout) = &args.timeout {
        body["limits"]["timeout"] = timeout.clone().into();
    }
    if let Some(steps) = args.max_steps {
        body["limits"]["max_steps"] = steps.into();
    }
    if let Some(what) = &args.on_exhausted {
        body["limits"]["on_exhausted"] = what.clone().into();
    }
    Ok(body)
}

/// An image of the command line as a task brings it.
fn image_of(image: &str) -> Result<String> {
    if image.starts_with("https://") || image.starts_with("http://") {
        return Ok(image.to_owned());
    }
    let bytes = std::fs::read(image)
        .with_context(|| format!("cannot read the image `{image}` (--image)"))?;
    match Image::from_bytes(&bytes) {
        Ok(image) => Ok(image.to_string()),
        Err(error) => Err(exit::error(
            Exit::Usage,
            format!("`{image}` (--image) {error}"),
        )),
    }
}

fn schema(path: &Path) -> Result<Value> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read `{shown}` (--output-schema)"))?;
    serde_json::from_str(&text)
        .with_context(|| format!("`{shown}` (--output-schema) is not JSON; write a JSON Schema"))
}

fn finish(config: &Config, task: &Value, data_dir: Option<&str>, json: bool) -> Exit {
    let exit = exit_of(task);
    if json {
        output::json(task);
        return exit;
    }
    if exit == Exit::Ok {
        let result = &task["result"];
        match result["answer"].as_str() {
            Some(answer) => println!("{answer}"),
            None => println!("{}", result["answer"]),
        }
        let folder = data_dir.map_or_else(|| config.data_dir(), Into::into);
        let id = task["task_id"].as_str().unwrap_or_default();
        for file in result["files"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            println!(
                "file: {}",
                folder.join("workspaces").join(id).join(file).display()
            );
        }
        if let Some(notice) = result["notice"].as_str() {
            println!("note: {notice}");
        }
    } else {
        let message = task["error_message"].as_str().unwrap_or("it was cancelled");
        eprintln!(
            "the task {}: {message}",
            task["status"].as_str().unwrap_or("failed")
        );
    }
    exit
}

/// The exit code that tells how a task ended.
pub(super) fn exit_of(task: &Value) -> Exit {
    match task["status"].as_str() {
        Some("completed") => Exit::Ok,
        _ if task["error"]["code"] == "timeout" => Exit::Timeout,
        _ => Exit::TaskFailed,
    }
}

/// Follows a task until it has ended or waits for somebody, and says what they have to do then.
pub(super) async fn follow(
    client: &Client,
    id: &str,
    mut see: impl FnMut(&StreamEvent),
) -> Result<Option<String>> {
    let mut last = 0;
    loop {
        let mut parked = None;
        let followed = client.follow(id, &mut last, |event| {
            see(event);
            parked = parks(id, event);
            parked.is_none()
        });
        followed.await?;
        let Some((on, sentence)) = parked else {
            return Ok(None);
        };
        // A log is followed from its beginning: what it says there may be over.
        let task = client.get(&format!("/api/v1/tasks/{id}")).await?;
        if task["state"] == "waiting" && task["state_detail"]["on"] == on {
            return Ok(Some(sentence));
        }
    }
}

/// What a task waits for and what somebody has to do, if this event says that it waits for them.
fn parks(id: &str, event: &StreamEvent) -> Option<(&'static str, String)> {
    if event.kind != "task.waiting" {
        return None;
    }
    let wait = &event.data["data"]["wait"];
    let steps = &wait["steps"];
    Some(match wait["on"].as_str()? {
        "in_doubt" => (
            "in_doubt",
            format!(
                "the task waits: the outcome of step {steps} is unknown. See `opspawn reconcile \
                 ls`, then `opspawn reconcile resolve {id} STEP done|failed|retry`"
            ),
        ),
        "approval" => (
            "approval",
            format!(
                "the task waits for approval of step {steps}. See `opspawn approval ls`, then \
                 `opspawn approval approve {id} STEP` or `opspawn approval deny {id} STEP`"
            ),
        ),
        "budget" => (
            "budget",
            format!(
                "the task waits: {}. Raise it with `opspawn task limit {id}`",
                text(&wait["message"])
            ),
        ),
        "signal" => (
            "signal",
            format!(
                "the task waits for {}. See `opspawn task logs {id}`, then answer with `opspawn \
                 task signal {id} ANSWER`",
                wait["names"]
            ),
        ),
        _ => return None,
    })
}

/// Tells on stderr what the agent does.
#[derive(Default)]
pub(super) struct Progress {
    spinner: Option<indicatif::ProgressBar>,
}

impl Progress {
    /// Tells what an event says.
    pub(super) fn see(&mut self, event: &StreamEvent) {
        let body = &event.data["data"];
        let line = match event.kind.as_str() {
            "model.started" => {
                self.wait_for(body["name"].as_str().unwrap_or("the model"));
                None
            }
            // The last answer is the result, which goes to stdout.
            "model.completed" if body["refused"].is_object() => Some(format!(
                "asking again: the answer {}",
                text(&body["refused"]["message"])
            )),
            "model.completed" if body["calls"] == 0 => None,
            "model.completed" => body["output"]
                .as_str()
                .filter(|text| !text.is_empty())
                .map(first_line),
            "model.failed" => Some(format!("model failed: {}", text(&body["error"]["message"]))),
            "tool.called" => Some(format!(
                "{}({})",
                text(&body["name"]),
                short(&body["input"])
            )),
            "tool.completed" => Some(format!("  -> {}", short(&body["output"]))),
            "tool.failed" => Some(format!("  failed: {}", text(&body["error"]["message"]))),
            "plan.updated" => Some(plan(body)),
            "task.lease_lost" => Some("the worker was lost; resuming".to_owned()),
            "task.retry_scheduled" => Some(format!(
                "attempt failed, another follows: {}",
                text(&body["error"]["message"])
            )),
            "task.waiting" => Some("waiting".to_owned()),
            _ => None,
        };
        if let Some(line) = line {
            if let Some(spinner) = self.spinner.take() {
                spinner.finish_and_clear();
            }
            eprintln!("{line}");
        }
    }

    fn wait_for(&mut self, name: &str) {
        if self.spinner.is_none() {
            self.spinner = output::spinner(format!("{name} is thinking"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }
}

/// What a plan says now: why a step failed, or the step that is being worked on.
fn plan(body: &Value) -> String {
    if let Some(message) = body["error"]["message"].as_str() {
        return format!("plan: {message}");
    }
    let items = body["output"].as_array().map_or(&[][..], Vec::as_slice);
    let at = items.iter().position(|item| item["status"] == "active");
    match at {
        Some(at) => format!(
            "plan: step {} of {}: {}",
            at + 1,
            items.len(),
            text(&items[at]["title"])
        ),
        None => "plan: every step is done".to_owned(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn first_line(text: &str) -> String {
    output::cut(text.lines().next().unwrap_or_default(), 160)
}

fn short(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    };
    output::cut(&text.replace('\n', "\\n"), 120)
}
