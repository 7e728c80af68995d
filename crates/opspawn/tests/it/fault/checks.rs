//! Holds what the product says happened against what its witnesses saw.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
};

use ops_testkit::{Effect, ModelRequest};
use serde_json::Value;

use super::{
    history::{History, Step},
    plan::Job,
    world::World,
};

/// Event times are cut to milliseconds.
const MILLISECOND: i64 = 1_000;

/// When a step's outcome was first seen through the API, by task and step, in microseconds of
/// `CLOCK_MONOTONIC`.
pub(super) type Seen = HashMap<(String, u32), i64>;

/// A call that a frozen process had begun, after its check of the lease, arrives within this time after the process
/// goes on: the window that no lease closes.
const THAW_US: i64 = 1_000_000;

/// What the witnesses wrote down.
pub(super) struct Witnesses {
    requests: Vec<ModelRequest>,
    effects: Vec<Effect>,
    /// When frozen processes went on, in microseconds of `CLOCK_MONOTONIC`.
    pub(super) thaws: Vec<i64>,
    /// Calls after the outcome of their step that arrived right after a thaw: how many milliseconds after it.
    pub(super) late: RefCell<Vec<i64>>,
}

impl Witnesses {
    /// Everything so far.
    pub(super) fn of(world: &World) -> anyhow::Result<Self> {
        Ok(Self {
            requests: world.stub.requests()?,
            effects: world.ledger.effects()?,
            thaws: Vec::new(),
            late: RefCell::default(),
        })
    }

    /// How many effects there were.
    pub(super) fn effects(&self) -> usize {
        self.effects.len()
    }

    /// Effects of write calls beyond the first of each key.
    pub(super) fn writes_again(&self) -> usize {
        let again = self.effects.iter().filter(|effect| effect.n > 1);
        again.filter(|effect| effect.tool == "ledger_write").count()
    }

    /// Calls of a job at stub or ledger after this time, in microseconds since 1970.
    pub(super) fn calls_after(&self, job: &Job, wall_us: i64) -> usize {
        let asked = self
            .requests
            .iter()
            .filter(|request| request.conversation == job.name);
        let done = self
            .effects
            .iter()
            .filter(|effect| job.find(&effect.key).is_some());
        let times = asked
            .map(|request| request.wall_us)
            .chain(done.map(|effect| effect.wall_us));
        times.filter(|at| *at > wall_us).count()
    }

    /// What is wrong with a job that ended; empty if nothing is. `id` is its task, `task` what the
    /// API says of it.
    pub(super) fn findings(
        &self,
        (job, id): (&Job, &str),
        task: &Value,
        history: &History,
        seen: &Seen,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        self.model_calls((job, id), history, seen, &mut wrong);
        self.tool_calls((job, id), history, seen, &mut wrong);
        repeats(job, history, &mut wrong);
        let expected = history.end().and_then(|end| end.strip_prefix("task."));
        if task["state"].as_str() != expected {
            wrong.push(format!(
                "the task is {}, its log says {expected:?}",
                task["state"]
            ));
        }
        if task["state"] == "completed" {
            if task["result"]["answer"] != job.answer() {
                wrong.push(format!("the answer is {}", task["result"]));
            }
            if history.model_steps().len() != job.turns.len() + 1 {
                wrong.push(format!("{} model calls", history.model_steps().len()));
            }
        }
        let used = history
            .steps
            .values()
            .fold((0, 0), |sum: (u64, u64), step| {
                (sum.0 + step.usage.0, sum.1 + step.usage.1)
            });
        let tokens = |key: &str| task["usage"][key].as_u64().unwrap_or(u64::MAX);
        if used != (tokens("input_tokens"), tokens("output_tokens")) {
            wrong.push(format!("usage {} is not the sum {used:?}", task["usage"]));
        }
        wrong
            .into_iter()
            .map(|finding| format!("{} ({id}): {finding}", job.name))
            .collect()
    }

    fn model_calls(
        &self,
        at: (&Job, &str),
        history: &History,
        seen: &Seen,
        wrong: &mut Vec<String>,
    ) {
        let ours: Vec<&ModelRequest> = self
            .requests
            .iter()
            .filter(|request| request.conversation == at.0.name)
            .collect();
        for (turn, (number, step)) in history.model_steps().into_iter().enumerate() {
            let asked: Vec<&&ModelRequest> =
                ours.iter().filter(|request| request.turn == turn).collect();
            let calls: Vec<(i64, i64)> = asked
                .iter()
                .map(|request| (request.mono_us, request.wall_us))
                .collect();
            self.check_times(
                &calls,
                number,
                step,
                seen.get(&(at.1.to_owned(), number)),
                wrong,
            );
            if calls.is_empty() && step.ended_us.is_some() {
                wrong.push(format!(
                    "model step {number} has an answer, but nobody was asked"
                ));
            }
            // The stub counts four characters a token.
            if let (Some(last), Some(_)) = (asked.last(), step.ended_us)
                && step.usage.0 != (last.request["messages"].to_string().len() / 4) as u64
            {
                wrong.push(format!(
                    "model step {number} has the wrong usage {:?}",
                    step.usage
                ));
            }
        }
        if let Some(beyond) = ours
            .iter()
            .find(|request| request.turn >= history.model_steps().len())
        {
            wrong.push(format!("an unrecorded model call: {beyond:?}"));
        }
    }

    fn tool_calls(
        &self,
        at: (&Job, &str),
        history: &History,
        seen: &Seen,
        wrong: &mut Vec<String>,
    ) {
        for call in at.0.turns.iter().flatten() {
            let calls: Vec<(i64, i64)> = self
                .effects
                .iter()
                .filter(|effect| effect.key == call.key)
                .map(|effect| (effect.mono_us, effect.wall_us))
                .collect();
            let Some((number, step)) = history.tool_step(&call.key) else {
                if !calls.is_empty() || history.end() == Some("task.completed") {
                    wrong.push(format!(
                        "{call:?} is not in the log; {} effects",
                        calls.len()
                    ));
                }
                continue;
            };
            self.check_times(
                &calls,
                number,
                step,
                seen.get(&(at.1.to_owned(), number)),
                wrong,
            );
            let of_call = self.effects.iter().filter(|effect| effect.key == call.key);
            let keys: BTreeSet<String> = of_call.map(|it| it.call_key.to_string()).collect();
            if keys.len() > 1 {
                wrong.push(format!("{call:?} ran under several keys: {keys:?}"));
            }
            if call.tool == "ledger_keyed" && !step.resolutions.is_empty() {
                wrong.push(format!("{call:?} was in doubt"));
            }
            let retries = step
                .resolutions
                .iter()
                .filter(|said| *said == "retry")
                .count();
            if call.tool == "ledger_write" && calls.len() > 1 + retries {
                wrong.push(format!(
                    "{call:?} ran {} times with {retries} retries",
                    calls.len()
                ));
            }
            let returned = step.ended_us.is_some()
                && !matches!(
                    step.resolutions.last().map(String::as_str),
                    Some("done" | "failed")
                );
            if returned && calls.is_empty() {
                wrong.push(format!("{call:?} has an outcome, but no effect"));
            }
        }
    }

    /// Each call has an intent of its own, and none begins after the outcome was recorded, or seen.
    fn check_times(
        &self,
        calls: &[(i64, i64)],
        number: u32,
        step: &Step,
        seen: Option<&i64>,
        wrong: &mut Vec<String>,
    ) {
        if calls.len() > step.intents.len() {
            wrong.push(format!(
                "step {number} began {} times: {step:?}",
                calls.len()
            ));
        }
        for (mono_us, wall_us) in calls {
            let is_late = step
                .ended_us
                .is_some_and(|ended| *wall_us > ended + MILLISECOND);
            let is_seen = seen.is_some_and(|seen| mono_us > seen);
            if !is_late && !is_seen {
                continue;
            }
            if let Some(thaw) = self.thaw_before(*mono_us) {
                self.late.borrow_mut().push((mono_us - thaw) / MILLISECOND);
                continue;
            }
            wrong.push(format!(
                "step {number} began at {wall_us}, after its outcome (visible: {is_seen}): {step:?}"
            ));
        }
    }

    fn thaw_before(&self, mono_us: i64) -> Option<i64> {
        let mut thaws = self.thaws.iter().copied();
        thaws.find(|thaw| (*thaw..*thaw + THAW_US).contains(&mono_us))
    }
}

/// A lost lease repeats what was in flight: one call, or the calls of one turn.
fn repeats(job: &Job, history: &History, wrong: &mut Vec<String>) {
    for (epoch, steps) in &history.repeats {
        let keys: Vec<&str> = steps
            .iter()
            .filter_map(|number| history.steps[number].key.as_deref())
            .collect();
        let width = keys
            .first()
            .and_then(|key| job.find(key))
            .map_or(1, |(_, width)| width);
        let one_turn = |key: &&str| key.rsplit_once('/').map(|(turn, _)| turn.to_owned());
        let same = keys
            .windows(2)
            .all(|pair| one_turn(&pair[0]) == one_turn(&pair[1]));
        if steps.len() > width || !same || (keys.len() < steps.len() && steps.len() > 1) {
            wrong.push(format!("lease {epoch} repeated {steps:?}"));
        }
    }
    if history.repeats.len() > history.losses {
        wrong.push(format!(
            "{} leases lost, repeats {:?}",
            history.losses, history.repeats
        ));
    }
}
