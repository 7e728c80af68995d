//! Durable steps through the engine: agents that call a model and a tool in turn.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use crate::{
    cli::Load,
    figures::{percentile, round},
    http::Connection,
    server::{Binary, Server},
};

/// Runs so many agents at once and counts their steps.
pub(crate) async fn steps(binary: &Binary, load: &Load) -> Result<()> {
    let runs = load.clients.unwrap_or(64).max(1);
    let tasks = load.tasks.unwrap_or(runs * 4).max(1);
    let turns = (load.steps / 2).max(1);
    let folder = tempfile::tempdir_in(".").context("cannot make a folder for the database here")?;
    let (steps, at_once) = ((turns * 2 + 2).to_string(), runs.to_string());
    let settings = [
        ("OPSPAWN_MAX_STEPS", steps.as_str()),
        ("OPSPAWN_CONCURRENCY", at_once.as_str()),
        ("OPSPAWN_PROVIDER", "scripted"),
    ];
    let server = Server::start(binary, folder.path(), &settings).await?;
    let mut connection = Connection::open(&server.url).await?;
    let body = Bytes::from(task(turns).to_string());
    let before = server.usage()?;
    let begin = Instant::now();
    let mut ids = Vec::new();
    for _ in 0..tasks {
        let answer = connection
            .send(Method::POST, "/api/v1/tasks/", body.clone())
            .await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        ids.push(answer["task_id"].as_str().unwrap_or_default().to_owned());
    }
    while connection.completed().await? < tasks as u64 {
        anyhow::ensure!(
            begin.elapsed() < Duration::from_secs(600),
            "the runs did not end in time"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let elapsed = begin.elapsed();
    let after = server.usage()?;
    let mut gaps = Vec::new();
    for id in ids.iter().rev().take(8) {
        gaps.extend(step_times(&mut connection, id).await?);
    }
    let counted = server.stop().await?;
    gaps.sort_by(f64::total_cmp);
    // Each turn is a model call and a tool call; one more model call answers.
    let total = tasks * (turns * 2 + 1);
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (count, tasks_f) = (total as f64, tasks as f64);
    let per_step = |key: &str| counted[key].as_f64().map(|figure| round(figure / count));
    let line = json!({
        "bench": "steps",
        "what": "model and tool steps of scripted agents, through REST, engine and worker",
        "store": "sqlite",
        "durability": "WAL, synchronous=FULL; each outcome with the next intent is one append",
        "runs_at_once": runs,
        "tasks": tasks,
        "steps_per_task": round(count / tasks_f),
        "steps_per_second": round(count / elapsed.as_secs_f64()),
        "append_ms": {
            "p50": round(percentile(&gaps, 0.5)),
            "p99": round(percentile(&gaps, 0.99)),
        },
        "server_cpu_us_per_step": round((after.cpu - before.cpu) * 1e6 / count),
        "server_peak_rss_mib": round(after.peak),
        "events_per_step": per_step("events"),
        "transactions_per_step": per_step("transactions"),
        "fsyncs_per_step": per_step("fsyncs"),
    });
    println!("{line}");
    Ok(())
}

/// A task whose agent calls the calculator so many times and then answers.
pub(crate) fn task(turns: usize) -> Value {
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

/// The milliseconds between the appends of a run.
async fn step_times(connection: &mut Connection, id: &str) -> Result<Vec<f64>> {
    let page = connection
        .get(&format!("/api/v1/tasks/{id}/steps?limit=200"))
        .await?;
    let mut times: Vec<f64> = Vec::new();
    for step in page["steps"].as_array().into_iter().flatten() {
        let at = |key: &str| {
            step[key]
                .as_str()
                .and_then(|text| text.parse::<jiff::Timestamp>().ok())
        };
        if let (Some(start), Some(end)) = (at("started_at"), at("ended_at")) {
            times.push(end.duration_since(start).as_secs_f64() * 1e3);
        }
    }
    Ok(times)
}
