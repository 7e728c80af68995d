//! `opspawn run`: one goal to its end.

mod decide;
mod follow;
mod progress;
pub(super) mod request;

use std::path::Path;

use anyhow::{Context as _, Result};
use ops_core::ports::Random as _;
use serde_json::Value;

pub(crate) use self::follow::raised_by;
pub(super) use self::follow::{resumed, until_settled};
use self::progress::Progress;
use crate::{
    cli,
    client::Client,
    config::Config,
    exit::{self, Exit},
    output::{self, show, status},
    runtime::Role,
    system::SystemRandom,
};

/// Submits, follows and prints the answer.
pub(super) async fn run(config: &Config, args: cli::Run, json: bool) -> Result<Exit> {
    let body = request::body(&args)?;
    let client = Client::connect(config, Role::Work).await?;
    let result = if args.detach && client.is_for_a_command() {
        Err(exit::error(
            Exit::Usage,
            "--detach needs a running server, as this process would end with the task unfinished; \
             start one with `opspawn dev`",
        ))
    } else {
        submit_and_follow(config, &client, &args, &body, json).await
    };
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
    let notes = [
        info["notice"].as_str().map(str::to_owned),
        resumed(client, None).await?,
    ];
    for note in notes.into_iter().flatten() {
        status!("note: {note}");
    }
    // With a key, a submit whose answer was lost is sent again.
    let key = args
        .idempotency_key
        .clone()
        .unwrap_or_else(|| format!("run-{}", units::hex::encode(SystemRandom.id_bytes())));
    let task = client.post("/api/v1/tasks/", body, Some(&key)).await?;
    let id = task["task_id"]
        .as_str()
        .context("the server named no task")?
        .to_owned();
    if args.detach {
        if json {
            output::json(&task);
        } else {
            show!("{id}");
        }
        return Ok(Exit::Ok);
    }
    status!("task {id}");
    let mut progress = Progress::default();
    let rested = until_settled(client, &id, json, |event| progress.see(event)).await?;
    let Some(parked) = rested else {
        return Ok(Exit::Interrupted);
    };
    drop(progress);
    if let Some(sentence) = parked {
        status!("{sentence}");
        return Ok(Exit::Waits);
    }
    let task = client.get(&format!("/api/v1/tasks/{id}")).await?;
    Ok(finish(config, &task, info["data_dir"].as_str(), json))
}

fn finish(config: &Config, task: &Value, data_dir: Option<&str>, json: bool) -> Exit {
    let exit = exit_of(task);
    if json {
        output::json(task);
        return exit;
    }
    if exit != Exit::Ok {
        let message = task["error_message"].as_str().unwrap_or("it was cancelled");
        status!(
            "the task {}: {message}",
            task["status"].as_str().unwrap_or("failed")
        );
        return exit;
    }
    let result = &task["result"];
    match result["answer"].as_str() {
        Some(answer) => output::answer(answer),
        None => output::json_line(&result["answer"]),
    }
    let folder: std::path::PathBuf = data_dir.map_or_else(|| config.data_dir(), Into::into);
    let id = task["task_id"].as_str().unwrap_or_default();
    let files = result["files"].as_array().into_iter().flatten();
    for file in files.filter_map(Value::as_str) {
        status!("{}", output::one_line(&place(&folder, id, file)));
    }
    if let Some(notice) = result["notice"].as_str() {
        status!("note: {notice}");
    }
    exit
}

/// Where a file of a task is. The workspace is in the data folder of the worker that ran the task: the server's own worker,
/// or one on another machine.
fn place(folder: &Path, id: &str, file: &str) -> String {
    let path = folder.join("workspaces").join(id).join(file);
    match path.is_file() {
        true => format!("file: {}", path.display()),
        false => format!(
            "file: {file}, in the data folder of the worker that ran the task; `opspawn task export {id}` has its content"
        ),
    }
}

/// The exit code that tells how a task ended.
pub(super) fn exit_of(task: &Value) -> Exit {
    match task["status"].as_str() {
        Some("completed") => Exit::Ok,
        _ if task["error"]["code"] == "timeout" => Exit::Timeout,
        _ => Exit::TaskFailed,
    }
}
