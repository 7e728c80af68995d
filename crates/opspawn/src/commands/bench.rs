//! `opspawn bench`: how many tasks and durable steps a second this machine and the disk of a folder
//! take. Client, server and worker share this process; no model is asked.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use super::doctor::fsync_cost;
use crate::{
    cli,
    client::Client,
    config::Config,
    exit::Exit,
    output::{self, show},
    runtime::Role,
};

/// Clients that submit at once.
const CLIENTS: usize = 16;
/// How long no task may end before the bench gives up.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often the number of completed tasks is asked for.
const PAUSE: Duration = Duration::from_millis(5);

/// Runs the tasks on a server of its own and prints the rates.
pub(super) async fn bench(args: &cli::Bench, json: bool) -> Result<Exit> {
    let folder = tempfile::tempdir_in(&args.folder)
        .with_context(|| format!("cannot make a folder in {}", args.folder.display()))?;
    let sync_us = fsync_cost(folder.path()).context("the disk cannot be measured")?;
    // Each turn is a model call and a tool call; one more model call answers.
    let turns = (args.steps / 2).max(1);
    let steps = turns * 2 + 1;
    let config = Config::load(
        &[
            ("data", folder.path().display().to_string()),
            ("url", String::new()),
            ("model.provider", "scripted".to_owned()),
            ("worker.concurrency", args.at_once.to_string()),
            ("limits.max_steps", (steps + 1).to_string()),
        ],
        None,
    )?;
    let client = Client::connect(&config, Role::Work).await?;
    let begin = Instant::now();
    let run = run(&client, args.tasks, &task(turns)).await;
    let seconds = begin.elapsed().as_secs_f64();
    client.close().await?;
    run?;

    let rate = |count: f64| (count / seconds * 10.0).round() / 10.0;
    let (tasks, all_steps) = (
        f64::from(args.tasks),
        f64::from(args.tasks) * f64::from(steps),
    );
    let figures = json!({
        "folder": args.folder,
        "at_once": args.at_once,
        "tasks": args.tasks,
        "steps_per_task": steps,
        "seconds": (seconds * 1e3).round() / 1e3,
        "tasks_per_second": rate(tasks),
        "steps_per_second": rate(all_steps),
        "sync_us": u64::try_from(sync_us).unwrap_or(u64::MAX),
    });
    if json {
        output::json(&figures);
    } else {
        show!(
            "{} tasks of {steps} steps, {} at once, in {seconds:.1} s",
            args.tasks,
            args.at_once
        );
        show!("tasks per second  {:.0}", tasks / seconds);
        show!("steps per second  {:.0}", all_steps / seconds);
        show!("sync to disk      {sync_us} us");
    }
    Ok(Exit::Ok)
}

/// Submits the tasks and waits until all are completed.
async fn run(client: &Client, tasks: u32, body: &Value) -> Result<()> {
    stream::iter(0..tasks)
        .map(|_| client.post("/api/v1/tasks/", body, None))
        .buffer_unordered(CLIENTS)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    let (mut last, mut since) = (0, Instant::now());
    loop {
        let completed = count(client, "completed").await?;
        if completed >= u64::from(tasks) {
            return Ok(());
        }
        if completed > last {
            (last, since) = (completed, Instant::now());
        }
        let failed = count(client, "failed").await?;
        anyhow::ensure!(
            failed == 0,
            "{failed} tasks failed; is a limit set? See `opspawn config`"
        );
        anyhow::ensure!(
            since.elapsed() < TIMEOUT,
            "no task was completed for {} s; {completed} of {tasks} are",
            TIMEOUT.as_secs()
        );
        tokio::time::sleep(PAUSE).await;
    }
}

async fn count(client: &Client, status: &str) -> Result<u64> {
    let path = format!("/api/v1/tasks/?limit=1&status={status}");
    let page = client.get(&path).await?;
    page["total"].as_u64().context("the list has no total")
}

/// A task whose scripted agent calls the calculator so many times and then answers.
fn task(turns: u32) -> Value {
    let script = format!(
        "name = \"steps\"\nrepeat_from = 1\n[[turn]]\n[[turn.case]]\nwhen = \"turn > {turns}\"\n\
         answer = \"done\"\n[[turn.case]]\ncalls = [{{ tool = \"calculator\", arguments = {{ \
         expression = \"1 + 2\" }} }}]\n"
    );
    json!({
        "task_type": "agent_run",
        "input_data": {"prompt": "steps", "agent_config": {"provider": "scripted", "script": script}},
    })
}
