//! The agent loop of rig against the HTTP stand-in for a model that `opspawn bench agents` uses: one
//! line of JSON for so many agents at once. Its base URL is in OPENAI_BASE_URL.
//!
//!     peer-rig AGENTS TURNS ROUNDS

use std::{convert::Infallible, env, fs, time::Instant};

use rig::{AgentBuilder, providers::openai::OpenAI, tool::PortableTool};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// As Opspawn has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const GOAL: &str = "Calculate 1 + 2 again and again.";

struct Calculator;

#[derive(Deserialize)]
struct Arguments {
    expression: String,
}

impl PortableTool for Calculator {
    const NAME: &'static str = "calculator";
    type Args = Arguments;
    type Output = Value;
    type Error = Infallible;

    fn description(&self) -> String {
        "Calculates.".to_owned()
    }

    fn parameters(&self) -> Value {
        json!({
            "type": "object",
            "properties": {"expression": {"type": "string"}},
            "required": ["expression"],
        })
    }

    async fn call(&self, arguments: Arguments) -> Result<Value, Infallible> {
        let sum: i64 = arguments
            .expression
            .split('+')
            .filter_map(|number| number.trim().parse::<i64>().ok())
            .sum();
        Ok(json!({"result": sum.to_string()}))
    }
}

/// CPU seconds and the highest resident memory in MiB of this process.
fn usage() -> anyhow::Result<(f64, f64)> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|kib| kib.trim().trim_end_matches(" kB").parse::<f64>().ok());
    Ok((ticks / 100.0, peak.unwrap_or(0.0) / 1024.0))
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    let index = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    round(sorted.get(index).copied().unwrap_or(f64::NAN))
}

fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let numbers: Vec<usize> = env::args()
        .skip(1)
        .map(|text| text.parse())
        .collect::<Result<_, _>>()?;
    let &[count, turns, rounds] = &numbers[..] else {
        anyhow::bail!("say how many agents, turns and rounds");
    };
    let agent = AgentBuilder::new(OpenAI::from_env()?.chat("stand-in"))
        .tool(Calculator)
        .default_max_turns(turns + 2)
        .build();
    agent.prompt(GOAL).await?;
    let (before, _) = usage()?;
    let begin = Instant::now();
    let mut agents = Vec::with_capacity(count * rounds);
    for _ in 0..rounds {
        let mut running = JoinSet::new();
        for _ in 0..count {
            let agent = agent.clone();
            running.spawn(async move {
                let begin = Instant::now();
                let response = agent.prompt(GOAL).await?;
                anyhow::ensure!(response.output() == "done", "{}", response.output());
                anyhow::ensure!(response.completion_calls.len() == turns + 1);
                Ok(begin.elapsed().as_secs_f64() * 1e3)
            });
        }
        while let Some(agent) = running.join_next().await {
            agents.push(agent??);
        }
    }
    let elapsed = begin.elapsed().as_secs_f64();
    let (after, peak) = usage()?;
    for agent in &mut agents {
        *agent /= turns as f64;
    }
    agents.sort_by(f64::total_cmp);
    let steps = (count * rounds * turns) as f64;
    let line = json!({
        "bench": "agents",
        "what": "agent loop of rig: a model call over HTTP (the same stand-in) and a tool call in turn",
        "store": "none",
        "durability": "none",
        "agents": count,
        "turns": turns,
        "rounds": rounds,
        "wall_ms_per_step": round(elapsed * 1e3 / steps),
        "agent_ms_per_step": {
            "p50": percentile(&agents, 0.5),
            "p99": percentile(&agents, 0.99),
            "max": percentile(&agents, 1.0),
        },
        "steps_per_second": round(steps / elapsed),
        "cpu_us_per_step": round((after - before) * 1e6 / steps),
        "peak_rss_mib": round(peak),
    });
    println!("{line}");
    Ok(())
}
