//! REST submit to completed: no-op agent tasks, each one scripted turn.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

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

/// Submits with so many clients at once and waits until every task is completed.
pub(crate) async fn submit(binary: &Binary, load: &Load) -> Result<()> {
    let clients = load.clients.unwrap_or(32).max(1);
    let tasks = load
        .tasks
        .unwrap_or(if clients == 1 { 1_000 } else { 40_000 });
    let folder = tempfile::tempdir_in(".").context("cannot make a folder for the database here")?;
    let server = Server::start(
        binary,
        folder.path(),
        &[("OPSPAWN_MOCK_AGENT_DELAY_MS", "0")],
    )
    .await?;
    // The first requests pay for caches and threads.
    drive(&server.url, clients, 200.min(tasks)).await?;
    wait_for(&server.url, 200.min(tasks) as u64).await?;

    let before = server.usage()?;
    let begin = Instant::now();
    let mut posts = drive(&server.url, clients, tasks).await?;
    let accepted = begin.elapsed();
    wait_for(&server.url, (tasks + 200.min(tasks)) as u64).await?;
    let elapsed = begin.elapsed();
    let after = server.usage()?;

    let mut rounds = Vec::new();
    if clients == 1 {
        let mut connection = Connection::open(&server.url).await?;
        for _ in 0..500 {
            rounds.push(round_trip(&mut connection).await?);
        }
    }
    let counted = server.stop().await?;
    posts.sort_by(f64::total_cmp);
    rounds.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let per_task = |key: &str| {
        let all = tasks + 200.min(tasks) + rounds.len();
        counted[key].as_f64().map(|count| round(count / all as f64))
    };
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let count = tasks as f64;
    let mut line = json!({
        "bench": "submit",
        "what": "REST submit to completed, no-op agent task of one scripted turn",
        "store": "sqlite",
        "durability": "WAL, synchronous=FULL; submit, lease, intent and outcome each durable",
        "clients": clients,
        "tasks": tasks,
        "tasks_per_second": round(count / elapsed.as_secs_f64()),
        "accepted_per_second": round(count / accepted.as_secs_f64()),
        "post_ms": {
            "p50": round(percentile(&posts, 0.5)),
            "p99": round(percentile(&posts, 0.99)),
            "max": round(percentile(&posts, 1.0)),
        },
        "server_cpu_us_per_task": round((after.cpu - before.cpu) * 1e6 / count),
        "server_peak_rss_mib": round(after.peak),
        "events_per_task": per_task("events"),
        "transactions_per_task": per_task("transactions"),
        "fsyncs_per_task": per_task("fsyncs"),
    });
    if !rounds.is_empty() {
        line["submit_to_completed_ms"] = json!({
            "p50": round(percentile(&rounds, 0.5)),
            "p99": round(percentile(&rounds, 0.99)),
        });
    }
    println!("{line}");
    Ok(())
}

/// Posts tasks from so many connections; gives the milliseconds of each POST.
async fn drive(url: &str, clients: usize, tasks: usize) -> Result<Vec<f64>> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut running = Vec::new();
    for _ in 0..clients {
        let (mut connection, next) = (Connection::open(url).await?, Arc::clone(&next));
        running.push(tokio::spawn(async move {
            let body = noop();
            let mut times = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < tasks {
                let begin = Instant::now();
                connection
                    .send(Method::POST, "/api/v1/tasks/", body.clone())
                    .await?;
                times.push(begin.elapsed().as_secs_f64() * 1e3);
            }
            anyhow::Ok(times)
        }));
    }
    let mut times = Vec::new();
    for client in running {
        times.extend(client.await??);
    }
    Ok(times)
}

fn noop() -> Bytes {
    Bytes::from_static(br#"{"task_type":"agent_run","input_data":{"prompt":"no-op"}}"#)
}

/// Waits until so many tasks are completed.
async fn wait_for(url: &str, tasks: u64) -> Result<()> {
    let mut connection = Connection::open(url).await?;
    let mut last = (0, Instant::now());
    loop {
        let completed = connection.completed().await?;
        if completed >= tasks {
            return Ok(());
        }
        if completed > last.0 {
            last = (completed, Instant::now());
        }
        anyhow::ensure!(
            last.1.elapsed() < Duration::from_secs(30),
            "no task was completed for 30 s; {completed} of {tasks} are"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Milliseconds from a submit to the answer that shows the task completed.
async fn round_trip(connection: &mut Connection) -> Result<f64> {
    let begin = Instant::now();
    let body = connection
        .send(Method::POST, "/api/v1/tasks/", noop())
        .await?;
    let task: Value = serde_json::from_slice(&body)?;
    let path = format!(
        "/api/v1/tasks/{}",
        task["task_id"].as_str().unwrap_or_default()
    );
    while connection.get(&path).await?["status"] != "completed" {
        tokio::task::yield_now().await;
    }
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}
