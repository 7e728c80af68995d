//! One agent of very many steps: whether a late step costs what an early one costs, how long a killed
//! run takes to go on, and what a page of its steps and events takes.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use hyper::Method;
use ops_testkit::clock;
use serde_json::{Value, json};

use crate::{
    cli,
    figures::{percentile, percentiles, round},
    http::Connection,
    process::cpu_micros,
    server::{Binary, Server},
    steps,
};

/// The steps whose CPU is compared: the first ones and the last ones.
const WINDOW: usize = 100;
/// How often a page is asked for.
const PAGE_READS: usize = 20;

/// When, and the CPU so far; both in microseconds.
type Sample = (f64, f64);

/// Runs such agents one after the other, and kills the server late in a further one.
pub(crate) async fn long(binary: &Binary, load: &cli::Long) -> Result<()> {
    let turns = (load.steps / 2).max(WINDOW);
    let folder = tempfile::tempdir_in(".").context("cannot make a folder for the database here")?;
    let mut windows = Vec::new();
    let server = start(binary, folder.path(), turns).await?;
    let mut last = String::new();
    let mut seconds = Vec::new();
    for _ in 0..load.tasks.max(1) {
        let sampler = Sampler::start(server.pid()?);
        let begin = Instant::now();
        last = run(&server.url, turns).await?;
        seconds.push(begin.elapsed().as_secs_f64());
        let samples = sampler.stop().await?;
        windows.push(cpu_of_steps(&server.url, &last, &samples).await?);
    }
    let peak = server.usage()?.peak;
    let pages = pages(&server.url, &last).await?;
    let counted = server.stop().await?;
    let resume = resume(binary, folder.path(), turns).await?;

    let median = |pick: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = windows.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        round(percentile(&values, 0.5))
    };
    let line = json!({
        "bench": "long",
        "what": "one scripted agent of many model and tool steps; its server killed near the end of a further one",
        "store": "sqlite",
        "durability": "WAL, synchronous=FULL; each outcome with the next intent is one append",
        "steps": turns * 2 + 1,
        "tasks": load.tasks.max(1),
        "seconds": percentiles(&mut seconds),
        "cpu_us_per_step": {
            "first_100": median(|(first, _)| *first),
            "last_100": median(|(_, last)| *last),
            "ratio": median(|(first, last)| last / first),
        },
        "resume_ms": round(resume),
        "pages_ms": pages,
        "server_peak_rss_mib": round(peak),
        "database": counted,
    });
    println!("{line}");
    Ok(())
}

async fn start(binary: &Binary, folder: &Path, turns: usize) -> Result<Server> {
    let steps = (turns * 2 + 2).to_string();
    let settings = [
        ("OPSPAWN_MAX_STEPS", steps.as_str()),
        ("OPSPAWN_PROVIDER", "scripted"),
    ];
    Server::start(binary, folder, &settings).await
}

async fn submit(connection: &mut Connection, turns: usize) -> Result<String> {
    let body = Bytes::from(steps::task(turns).to_string());
    let answer = connection
        .send(Method::POST, "/api/v1/tasks/", body)
        .await?;
    let answer: Value = serde_json::from_slice(&answer)?;
    Ok(answer["task_id"].as_str().unwrap_or_default().to_owned())
}

async fn wait_for(connection: &mut Connection, id: &str) -> Result<()> {
    let begin = Instant::now();
    loop {
        let task = connection.get(&format!("/api/v1/tasks/{id}")).await?;
        match task["status"].as_str() {
            Some("completed") => return Ok(()),
            Some("failed" | "cancelled") => anyhow::bail!("the task ended: {task}"),
            _ => {}
        }
        anyhow::ensure!(
            begin.elapsed() < Duration::from_secs(300),
            "the run did not end in time"
        );
        // Rarely: what is asked costs CPU of the process that is measured.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Runs one to its end; gives its id.
async fn run(url: &str, turns: usize) -> Result<String> {
    let mut connection = Connection::open(url).await?;
    let id = submit(&mut connection, turns).await?;
    wait_for(&mut connection, &id).await?;
    Ok(id)
}

/// Reads a process's CPU every few milliseconds.
struct Sampler {
    stop: Arc<AtomicBool>,
    samples: Arc<Mutex<Vec<Sample>>>,
    thread: std::thread::JoinHandle<()>,
}

impl Sampler {
    fn start(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let samples = Arc::new(Mutex::new(Vec::new()));
        let (stopped, kept) = (Arc::clone(&stop), Arc::clone(&samples));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if let Ok(cpu) = cpu_micros(pid) {
                    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
                    let now = clock::wall_us() as f64;
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.push((now, cpu));
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self {
            stop,
            samples,
            thread,
        }
    }

    async fn stop(self) -> Result<Vec<Sample>> {
        self.stop.store(true, Ordering::Relaxed);
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await?;
        joined.map_err(|_| anyhow::anyhow!("the sampler panicked"))?;
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut samples))
    }
}

/// CPU microseconds for each of the first and of the last steps.
async fn cpu_of_steps(url: &str, id: &str, samples: &[Sample]) -> Result<(f64, f64)> {
    let mut connection = Connection::open(url).await?;
    let mut begun = Vec::new();
    for step in all(&mut connection, id, "steps").await? {
        begun.push(micros(&step["started_at"])?);
    }
    anyhow::ensure!(begun.len() > 2 * WINDOW, "the task has too few steps");
    let until = |at: f64| {
        let after = samples.partition_point(|(time, _)| *time < at);
        let (Some(left), Some(right)) = (samples.get(after.wrapping_sub(1)), samples.get(after))
        else {
            return f64::NAN;
        };
        left.1 + (right.1 - left.1) * (at - left.0) / (right.0 - left.0)
    };
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let each = |from: usize| (until(begun[from + WINDOW]) - until(begun[from])) / WINDOW as f64;
    // The very first steps pay for the start of the run.
    Ok((each(1), each(begun.len() - 1 - WINDOW)))
}

/// Every item of a list, page by page.
async fn all(connection: &mut Connection, id: &str, list: &str) -> Result<Vec<Value>> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/tasks/{id}/{list}?limit=1000{cursor}");
        let mut page = connection.get(&path).await?;
        if let Some(page) = page[list].as_array_mut() {
            items.append(page);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(items),
        }
    }
}

fn micros(at: &Value) -> Result<f64> {
    let text = at.as_str().unwrap_or_default();
    let at: jiff::Timestamp = text.parse().context("a step has no time")?;
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    Ok(at.as_microsecond() as f64)
}

/// Milliseconds of the first, a middle and the last page of steps and of events.
async fn pages(url: &str, id: &str) -> Result<Value> {
    let mut connection = Connection::open(url).await?;
    let mut figures = json!({});
    for list in ["steps", "events"] {
        let items = all(&mut connection, id, list).await?;
        let seq = |index: usize| items.get(index).and_then(|item| item["seq"].as_u64());
        let places = [
            ("first", 0),
            ("middle", seq(items.len() / 2).unwrap_or(0)),
            ("last", seq(items.len().saturating_sub(101)).unwrap_or(0)),
        ];
        for (name, after) in places {
            let path = format!("/api/v1/tasks/{id}/{list}?limit=100&after={after}");
            let mut times = Vec::new();
            for _ in 0..PAGE_READS {
                let begin = Instant::now();
                connection.send(Method::GET, &path, Bytes::new()).await?;
                times.push(begin.elapsed().as_secs_f64() * 1e3);
            }
            figures[format!("{list}_{name}")] = percentiles(&mut times);
        }
    }
    Ok(figures)
}

/// Milliseconds from the lease of a run whose server was killed near its end to its next event.
async fn resume(binary: &Binary, folder: &Path, turns: usize) -> Result<f64> {
    let server = start(binary, folder, turns).await?;
    let mut connection = Connection::open(&server.url).await?;
    let id = submit(&mut connection, turns).await?;
    // A turn is four events.
    let late = turns * 4 * 95 / 100;
    let path = format!("/api/v1/tasks/{id}/events?limit=1&after={late}");
    while connection.get(&path).await?["events"][0].is_null() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.kill().await?;

    let server = start(binary, folder, turns).await?;
    let mut connection = Connection::open(&server.url).await?;
    wait_for(&mut connection, &id).await?;
    let log = all(&mut connection, &id, "events").await?;
    server.stop().await?;
    let leased = log
        .iter()
        .rposition(|event| event["type"] == "task.leased")
        .filter(|at| *at > late)
        .context("the run had ended before the kill")?;
    let next = log.get(leased + 1).context("nothing follows the lease")?;
    Ok((micros(&next["at"])? - micros(&log[leased]["at"])?) / 1e3)
}
