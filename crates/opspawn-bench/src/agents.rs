//! The agent loop against an HTTP stand-in for a model: what a model step with its tool step takes,
//! with the log in memory and durably through the server.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agentkit::{
    Agent,
    model::client::{Client, Config, Provider},
    run::Limits,
};
use anyhow::{Context as _, Result};
use bytes::Bytes;
use hyper::Method;
use ops_testkit::ModelStub;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    cli,
    figures::{percentiles, round},
    http::Connection,
    process::{Usage, forget_peak},
    server::{Binary, Server},
};

/// Clients that submit.
const CLIENTS: usize = 16;
/// What each agent is asked.
const GOAL: &str = "Calculate 1 + 2 again and again.";

/// What was measured of so many agents at once.
struct Figures {
    /// From the first to the last.
    elapsed: f64,
    /// Milliseconds of each agent.
    agents: Vec<f64>,
    cpu: f64,
    peak: f64,
}

/// A line for each number of agents, as a library and durably.
pub(crate) async fn agents(binary: &Binary, load: &cli::Agents) -> Result<()> {
    let turns = load.turns.max(1);
    let own = match load.base_url {
        Some(_) => None,
        None => Some(stand_in(turns).await?),
    };
    let base_url = load.base_url.clone();
    let base_url = base_url.or_else(|| own.as_ref().map(ModelStub::base_url));
    let base_url = &base_url.context("there is no model")?;
    for &count in &load.agents {
        let count = count.max(1);
        let rounds = if count == 1 {
            100
        } else {
            1_000_usize.div_ceil(count)
        };
        let figures = library(base_url, turns, count, rounds).await?;
        show(
            "library",
            "none: the log is in memory",
            count,
            turns,
            rounds,
            figures,
        );
        let figures = durable(binary, base_url, turns, count, rounds).await?;
        let durability = "WAL, synchronous=FULL; each outcome with the next intent is one append";
        show("sqlite", durability, count, turns, rounds, figures);
    }
    Ok(())
}

/// The stand-in for a model: so many calls of the calculator, then the answer `done`.
async fn stand_in(turns: usize) -> Result<ModelStub> {
    let call = json!({"tool": "calculator", "arguments": {"expression": "1 + 2"}});
    ModelStub::start_unlogged(&json!({"turns": vec![call; turns]})).await
}

fn show(store: &str, durability: &str, count: usize, turns: usize, rounds: usize, of: Figures) {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (steps, per_agent) = ((count * rounds * turns) as f64, turns as f64);
    let Figures {
        elapsed,
        mut agents,
        cpu,
        peak,
    } = of;
    for agent in &mut agents {
        *agent /= per_agent;
    }
    let line = json!({
        "bench": "agents",
        "what": "agent loop: a model call over HTTP (a stand-in on loopback) and a tool call in turn",
        "store": store,
        "durability": durability,
        "agents": count,
        "turns": turns,
        "rounds": rounds,
        "wall_ms_per_step": round(elapsed * 1e3 / steps),
        "agent_ms_per_step": percentiles(&mut agents),
        "steps_per_second": round(steps / elapsed),
        "cpu_us_per_step": round(cpu * 1e6 / steps),
        "peak_rss_mib": round(peak),
    });
    println!("{line}");
}

/// Within this process.
async fn library(base_url: &str, turns: usize, count: usize, rounds: usize) -> Result<Figures> {
    let folder = tempfile::tempdir_in(".").context("cannot make a folder here")?;
    let config = Config {
        base_url: base_url.to_owned(),
        stream: false,
        ..Config::new(Provider::OpenAi, "stand-in")
    };
    let limits = Limits {
        max_steps: u32::try_from(turns * 2 + 2)?,
        ..Limits::default()
    };
    let tools = agentkit_tools::standard(&agentkit_tools::http::Settings::default());
    let agent = Agent::builder(Arc::new(Client::new(config)?))
        .tools(tools)
        .limits(limits)
        .build()?;
    agent.run(GOAL).workspace(folder.path()).await?;
    forget_peak();
    let before = Usage::own()?;
    let begin = Instant::now();
    let mut agents = Vec::with_capacity(count * rounds);
    for _ in 0..rounds {
        let mut running = JoinSet::new();
        for _ in 0..count {
            let (agent, folder) = (agent.clone(), folder.path().to_owned());
            running.spawn(async move {
                let begin = Instant::now();
                let answer = agent.run(GOAL).workspace(folder).await?;
                anyhow::ensure!(answer.output == "done", "the agent answered {answer}");
                Ok(begin.elapsed().as_secs_f64() * 1e3)
            });
        }
        while let Some(agent) = running.join_next().await {
            agents.push(agent??);
        }
    }
    let elapsed = begin.elapsed().as_secs_f64();
    let after = Usage::own()?;
    Ok(Figures {
        elapsed,
        agents,
        cpu: after.cpu - before.cpu,
        peak: after.peak,
    })
}

/// Through a server of its own.
async fn durable(
    binary: &Binary,
    base_url: &str,
    turns: usize,
    count: usize,
    rounds: usize,
) -> Result<Figures> {
    let folder = tempfile::tempdir_in(".").context("cannot make a folder for the database here")?;
    let (steps, at_once) = ((turns * 2 + 2).to_string(), count.to_string());
    let settings = [
        ("OPSPAWN_PROVIDER", "openai"),
        ("OPSPAWN_OPENAI_BASE_URL", base_url),
        ("OPSPAWN_MODEL", "stand-in"),
        ("OPSPAWN_STREAM", "false"),
        ("OPSPAWN_MAX_STEPS", steps.as_str()),
        ("OPSPAWN_CONCURRENCY", at_once.as_str()),
    ];
    let server = Server::start(binary, folder.path(), &settings).await?;
    let mut asking = Connection::open(&server.url).await?;
    submit(&server.url, 1).await?;
    wait_for(&mut asking, 1).await?;
    let before = server.usage()?;
    let (mut elapsed, mut agents) = (0.0, Vec::with_capacity(count * rounds));
    for number in 1..=rounds {
        let begin = Instant::now();
        let ids = submit(&server.url, count).await?;
        wait_for(&mut asking, (number * count + 1) as u64).await?;
        let wall = begin.elapsed().as_secs_f64();
        for id in &ids {
            agents.push(took(&mut asking, id).await?);
        }
        // One agent's end is seen late by a poll; its record says when it was.
        elapsed += if count == 1 {
            agents[agents.len() - 1] / 1e3
        } else {
            wall
        };
    }
    let after = server.usage()?;
    server.stop().await?;
    Ok(Figures {
        elapsed,
        agents,
        cpu: after.cpu - before.cpu,
        peak: after.peak,
    })
}

/// Submits so many tasks; gives their ids.
async fn submit(url: &str, count: usize) -> Result<Vec<String>> {
    let body = json!({"task_type": "agent_run", "input_data": {"prompt": GOAL}});
    let body = Bytes::from(body.to_string());
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS.min(count) {
        let (mut connection, body) = (Connection::open(url).await?, body.clone());
        clients.spawn(async move {
            let mut ids = Vec::new();
            for _ in (client..count).step_by(CLIENTS) {
                let answer = connection.send(Method::POST, "/api/v1/tasks/", body.clone());
                let answer: Value = serde_json::from_slice(&answer.await?)?;
                ids.push(answer["task_id"].as_str().unwrap_or_default().to_owned());
            }
            anyhow::Ok(ids)
        });
    }
    let mut ids = Vec::with_capacity(count);
    while let Some(client) = clients.join_next().await {
        ids.extend(client??);
    }
    Ok(ids)
}

async fn wait_for(connection: &mut Connection, tasks: u64) -> Result<()> {
    let begin = Instant::now();
    while connection.completed().await? < tasks {
        anyhow::ensure!(
            begin.elapsed() < Duration::from_secs(120),
            "the agents did not end in time"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Milliseconds from a task's submit to its end, as its record says.
async fn took(connection: &mut Connection, id: &str) -> Result<f64> {
    let task = connection.get(&format!("/api/v1/tasks/{id}")).await?;
    let at = |key: &str| {
        let text = task[key].as_str().unwrap_or_default();
        text.parse::<jiff::Timestamp>()
            .with_context(|| format!("the task has no {key}"))
    };
    let took = at("completed_at")?.duration_since(at("created_at")?);
    Ok(took.as_secs_f64() * 1e3)
}
