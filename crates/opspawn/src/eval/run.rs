//! The runs of a case on a version of an agent.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use agentkit::{
    Agent, Definition, Event, Goal, StepId,
    agent::RunError,
    drive::{DriveEnvironment, MemoryRecorder, RunClock as _, SystemClock},
    run::Run,
};
use anyhow::{Context as _, Result};
use ops_agents::{AgentRequest, Factory, Made, RequestedBy};
use ops_core::{Json, Micros, TenantId, task::TaskLimits};
use serde_json::{Map, Value};
use tempfile::TempDir;

use super::{
    checks::Seen,
    file::Case,
    judge::{JudgeAgent, Judgement},
    live::{self, Granted},
    recording::{Divergence, Recording, Replay},
    transcript::{self, Step},
};

/// Outcome of a case on a version of the agent.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The runs, in their order; never empty.
    pub(crate) runs: Vec<CaseRun>,
    /// Share of the runs that must hold.
    pub(crate) pass_rate: f64,
}

/// Outcome of a run of a case.
#[derive(Debug, Default)]
pub(crate) struct CaseRun {
    /// Failed checks; empty if all hold.
    pub(crate) failures: Vec<String>,
    /// The answer, or null.
    pub(crate) answer: Value,
    /// Usage of the run.
    pub(crate) counted: Counted,
    /// Calls without a recording: the calls were not made.
    pub(crate) divergences: Vec<Divergence>,
    /// The judge's decisions.
    pub(crate) judgements: Vec<Judgement>,
    /// Usage of the judge.
    pub(crate) judging: Counted,
    /// The steps.
    pub(crate) transcript: Vec<Step>,
}

impl CaseRun {
    /// Whether all checks hold.
    pub(crate) fn holds(&self) -> bool {
        self.failures.is_empty()
    }
}

impl Outcome {
    /// Whether enough of the runs hold.
    pub(crate) fn passed(&self) -> bool {
        self.held() >= needed(self.runs.len(), self.pass_rate)
    }

    /// The number of runs that hold.
    pub(crate) fn held(&self) -> usize {
        self.runs.iter().filter(|run| run.holds()).count()
    }

    /// The run to show: the first that does not hold, else the first.
    pub(crate) fn shown(&self) -> &CaseRun {
        let failed = self.runs.iter().find(|run| !run.holds());
        failed.unwrap_or(&self.runs[0])
    }

    /// Usage of all runs together.
    pub(crate) fn counted(&self) -> Counted {
        let mut all = Counted::default();
        self.runs.iter().for_each(|run| all.add(&run.counted));
        all
    }

    /// Usage of the judge for all runs together.
    pub(crate) fn judging(&self) -> Counted {
        let mut all = Counted::default();
        self.runs.iter().for_each(|run| all.add(&run.judging));
        all
    }
}

/// The number of runs that must hold. A decimal rate may be slightly above the intended fraction: 0.7 of 10 runs are 7.
fn needed(runs: usize, rate: f64) -> usize {
    let needed = (rate * runs as f64 - 1e-9).ceil() as usize;
    needed.max(1)
}

/// Runs a case as often as the case says. With a recording no tool does anything; without one they work in a folder that
/// goes with the run.
pub(crate) async fn run(
    (factory, judge): (&Factory, &JudgeAgent),
    definition: &Definition,
    case: &Case,
    recording: Option<&Arc<Recording>>,
) -> Result<Outcome> {
    let mut runs = Vec::new();
    for _ in 0..case.repeat {
        let mut run = once(factory, definition, case, recording.cloned()).await?;
        let statements = &case.checks.judge;
        // A run without an answer holds in no case: there is nothing to judge.
        if !statements.is_empty() && !run.answer.is_null() {
            let goal = goal_of(case, recording.map(Arc::as_ref));
            let judged = (&goal, &run.answer);
            run.judgements = judge
                .decide(factory, judged, statements, &mut run.judging)
                .await?;
            let failures = run.judgements.iter().filter_map(Judgement::failure);
            run.failures.extend(failures);
        }
        runs.push(run);
    }
    Ok(Outcome {
        runs,
        pass_rate: case.pass_rate,
    })
}

/// The goal of a case, else of its recording.
fn goal_of(case: &Case, recording: Option<&Recording>) -> Value {
    match (&case.goal, recording) {
        (Some(goal), _) => goal.as_str().into(),
        (None, Some(old)) => match &old.input["prompt"] {
            Value::Null => old.input["goal"].clone(),
            prompt => prompt.clone(),
        },
        (None, None) => Value::Null,
    }
}

async fn once(
    factory: &Factory,
    definition: &Definition,
    case: &Case,
    recording: Option<Arc<Recording>>,
) -> Result<CaseRun> {
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
    let made = make(factory, definition, input).await?;
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
    let workspace = folder()?;
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
    let Ended {
        answer,
        counted,
        transcript,
    } = perform(&agent, made.goal, workspace.path()).await;
    let (answer, error) = match answer {
        Ok(answer) => (answer, None),
        Err(error) => (Value::Null, Some(error)),
    };
    let divergences = replay.map_or_else(Vec::new, |replay| replay.divergences());
    let checks = case.checks.failures(&Seen {
        answer: &answer,
        calls: &counted.calls,
        steps: counted.steps,
        tokens: counted.tokens,
        cost_micros: counted.cost_micros,
        divergences: divergences.len(),
    });
    Ok(CaseRun {
        failures: error.into_iter().chain(checks).collect(),
        answer,
        counted,
        divergences,
        transcript,
        ..CaseRun::default()
    })
}

/// Makes an agent for an input.
pub(super) async fn make(
    factory: &Factory,
    definition: &Definition,
    input: Map<String, Value>,
) -> Result<Made> {
    let input = Json::from(&Value::Object(input));
    let request = AgentRequest {
        definition: Some(definition),
        digest: None,
        input: &input,
        by: RequestedBy {
            tenant: TenantId::DEFAULT,
            id: "evaluation".to_owned(),
            name: "",
            labels: &BTreeMap::new(),
            started: Micros(SystemClock.now_micros()),
            limits: &TaskLimits::default(),
            depth_left: None,
        },
    };
    factory.make(&request).await.map_err(anyhow::Error::from)
}

/// A folder that goes with a run.
pub(super) fn folder() -> Result<TempDir> {
    tempfile::tempdir().context("cannot make a folder for the run")
}

/// The end of a run.
pub(super) struct Ended {
    /// The answer, or the reason for its absence.
    pub(super) answer: Result<Value, String>,
    pub(super) counted: Counted,
    /// The steps.
    pub(super) transcript: Vec<Step>,
}

/// Runs an agent to its end.
pub(super) async fn perform(agent: &Agent, goal: Goal, workspace: &Path) -> Ended {
    let recorder = Arc::new(MemoryRecorder::default());
    let session = DriveEnvironment::new(
        Arc::clone(&recorder) as _,
        Arc::new(SystemClock),
        workspace.to_path_buf(),
        Arc::clone(&recorder) as _,
    );
    let mut run = Run::default();
    let answer = match agent.run_in(goal, &mut run, &session).await {
        Ok(answer) => Ok(answer),
        Err(RunError::Waiting(wait)) => Err(live::stands(&wait)),
        Err(error) => Err(error.to_string()),
    };
    let events = recorder.events();
    Ended {
        answer,
        counted: seen(&events),
        transcript: transcript::steps(&events),
    }
}

/// Usage of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Counted {
    /// The called tools, in order.
    pub(crate) calls: Vec<String>,
    /// Model and tool calls.
    pub(crate) steps: u32,
    /// Input and output tokens.
    pub(crate) tokens: u64,
    /// Micro-USD.
    pub(crate) cost_micros: u64,
}

impl Counted {
    /// Adds the numbers of a further run.
    pub(super) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.tokens += other.tokens;
        self.cost_micros += other.cost_micros;
    }

    /// The cost in USD.
    pub(crate) fn usd(&self) -> f64 {
        units::money::usd(self.cost_micros)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(held: &[bool], pass_rate: f64) -> Outcome {
        let runs = held.iter().zip(1..).map(|(holds, tokens)| CaseRun {
            failures: match holds {
                true => Vec::new(),
                false => vec![format!("run {tokens}")],
            },
            counted: Counted {
                tokens,
                ..Counted::default()
            },
            ..CaseRun::default()
        });
        Outcome {
            runs: runs.collect(),
            pass_rate,
        }
    }

    #[test]
    fn as_many_runs_hold_as_the_rate_says() {
        for (runs, rate, least) in [
            (1, 1.0, 1),
            (1, 0.1, 1),
            (10, 0.7, 7),
            (10, 0.71, 8),
            (3, 0.67, 3),
            (3, 0.66, 2),
            (100, 0.29, 29),
        ] {
            assert_eq!(needed(runs, rate), least, "{rate} of {runs}");
        }
        let some = outcome(&[true, false, true], 0.6);
        assert_eq!((some.held(), some.passed()), (2, true));
        assert_eq!(some.shown().failures, ["run 2"]);
        assert_eq!(some.counted().tokens, 6);
        assert!(!outcome(&[true, false, true], 1.0).passed());
        assert!(outcome(&[true], 1.0).shown().holds());
    }
}
