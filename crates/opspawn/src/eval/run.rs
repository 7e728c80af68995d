//! One case on one version of an agent.

use std::{collections::BTreeMap, sync::Arc};

use agentkit::{
    Definition, Event, StepId,
    agent::RunError,
    drive::{Clock as _, MemoryRecorder, Session, SystemClock},
    run::Run,
};
use anyhow::{Context as _, Result};
use ops_agents::{Ask, AskedBy, Factory};
use ops_core::{Json, Micros, TenantId, task::TaskLimits};
use serde_json::{Map, Value};

use super::{
    checks::Seen,
    file::Case,
    live::{self, Granted},
    recording::{Divergence, Recording, Replay},
};

/// What came of a case.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What does not hold; empty if all does.
    pub(crate) failures: Vec<String>,
    /// The answer, or null.
    pub(crate) answer: Value,
    /// Model and tool calls.
    pub(crate) steps: u32,
    /// Input and output tokens.
    pub(crate) tokens: u64,
    /// Micro-USD.
    pub(crate) cost_micros: u64,
    /// Calls that the recording does not have. They were not made.
    pub(crate) divergences: Vec<Divergence>,
}

impl Outcome {
    /// Whether all checks hold.
    pub(crate) fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// Runs a case. With a recording no tool does anything; without one they work in a folder that goes
/// with the run.
pub(crate) async fn run(
    factory: &Factory,
    definition: &Definition,
    case: &Case,
    recording: Option<Arc<Recording>>,
) -> Result<Outcome> {
    let mut input: Map<String, Value> = match recording.as_ref().map(|old| &old.input) {
        Some(Value::Object(input)) => input.clone(),
        _ => Map::new(),
    };
    // A version is judged by itself, not with what one task changed about another version.
    input.remove("agent_config");
    input.extend(case.input.clone());
    if let Some(goal) = &case.goal {
        input.insert("prompt".to_owned(), goal.as_str().into());
    }
    let input = Json::from(&Value::Object(input));
    let made = factory
        .make(&Ask {
            definition: Some(definition),
            digest: None,
            input: &input,
            by: AskedBy {
                tenant: TenantId::DEFAULT,
                id: "evaluation".to_owned(),
                name: "",
                labels: &BTreeMap::new(),
                started: Micros(SystemClock.now_micros()),
                limits: &TaskLimits::default(),
                depth_left: None,
            },
        })
        .await
        .map_err(anyhow::Error::from)?;
    let replay = recording.map(Replay::new);
    let (tools, policy) = match &replay {
        Some(replay) => (replay.tools(&made.tools)?, Granted::all(made.policy)),
        None => (
            live::tools(&made.tools, &case.answers)?,
            Granted::some(made.policy, &case.approve),
        ),
    };
    let agent = made.agent.with_tools(tools, policy);
    let mut files = made.files;
    files.extend(case.files.clone());
    let workspace = tempfile::tempdir().context("cannot make a folder for the run")?;
    if replay.is_none() {
        for (path, text) in &files {
            let path = ops_worker::checked_path(workspace.path(), path)?;
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(&path, text)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    let recorder = Arc::new(MemoryRecorder::default());
    let session = Session::new(
        Arc::clone(&recorder) as _,
        Arc::new(SystemClock),
        workspace.path().to_path_buf(),
        Arc::clone(&recorder) as _,
    );
    let mut run = Run::default();
    let ended = agent.run_in(made.goal, &mut run, &session).await;
    let (answer, error) = match ended {
        Ok(answer) => (answer, None),
        Err(RunError::Waiting(wait)) => (Value::Null, Some(live::stands(&wait))),
        Err(error) => (Value::Null, Some(error.to_string())),
    };
    let divergences = replay.map_or_else(Vec::new, |replay| replay.divergences());
    let mut outcome = seen(&recorder.events());
    let checks = case.checks.failures(&Seen {
        answer: &answer,
        calls: &outcome.calls,
        steps: outcome.steps,
        tokens: outcome.tokens,
        cost_micros: outcome.cost_micros,
        divergences: divergences.len(),
    });
    let failures = error.into_iter().chain(checks).collect();
    Ok(Outcome {
        failures,
        answer,
        steps: std::mem::take(&mut outcome.steps),
        tokens: outcome.tokens,
        cost_micros: outcome.cost_micros,
        divergences,
    })
}

#[derive(Default)]
struct Counted {
    calls: Vec<String>,
    steps: u32,
    tokens: u64,
    cost_micros: u64,
}

fn seen(events: &[Event]) -> Counted {
    let mut counted = Counted::default();
    let mut last = StepId(0);
    for event in events {
        match event {
            Event::ModelStarted(started) => last = last.max(started.step),
            Event::ModelCompleted(completed) => {
                counted.tokens += completed.usage.total_tokens();
                counted.cost_micros += completed.usage.cost_micros;
            }
            Event::ToolCalled(called) => {
                last = last.max(called.step);
                counted.calls.push(called.name.clone());
            }
            _ => {}
        }
    }
    counted.steps = last.0;
    counted
}
