//! One line on standard error for each task that starts, waits or ends, while a server runs.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::{Timestamp, tz::TimeZone};
use ops_core::{
    Micros, State, TaskId, TenantId, Wait,
    ports::{HintUpdate, Hints, TaskRecord},
    task::StateName,
};
use ops_engine::Engine;
use tokio::time::Instant;

use crate::output::{self, status};

/// Lines at once after a quiet time, and lines a second from then on. A person reads no more.
const BURST: f64 = 40.0;
const RATE: f64 = 10.0;
/// An input beyond this size is not looked through for a goal.
const MAX_INPUT: usize = 64 << 10;

/// Whether a state is worth a line after the one that was told last.
fn changed(known: &mut HashMap<TaskId, StateName>, task: TaskId, state: StateName) -> bool {
    match state {
        StateName::Completed | StateName::Failed | StateName::Cancelled => {
            known.remove(&task);
            true
        }
        StateName::Running | StateName::Waiting | StateName::Paused => {
            known.insert(task, state) != Some(state)
        }
        // Between two attempts.
        StateName::Scheduled => {
            known.contains_key(&task) && known.insert(task, state) != Some(state)
        }
        StateName::Pending | StateName::Cancelling => false,
    }
}

/// Tells what the hints say, for as long as it is polled.
pub(crate) async fn tell(engine: Arc<Engine>, mut hints: Box<dyn Hints>) {
    // The state that was told last, of tasks that have begun and not ended.
    let mut known = HashMap::new();
    let (mut left, mut last) = (BURST, Instant::now());
    let mut skipped = 0;
    loop {
        let hint = match tokio::time::timeout(Duration::from_secs(1), hints.next()).await {
            Ok(HintUpdate::Hint(hint)) if changed(&mut known, hint.task, hint.state) => Some(hint),
            Ok(HintUpdate::Hint(_)) => continue,
            Ok(HintUpdate::Missed(missed)) => {
                skipped += missed;
                forget_ended(&engine, &mut known).await;
                None
            }
            Err(_) => None,
        };
        let now = Instant::now();
        left = (left + now.duration_since(last).as_secs_f64() * RATE).min(BURST);
        last = now;
        if left < 1.0 {
            skipped += u64::from(hint.is_some());
            continue;
        }
        if skipped > 0 {
            status!("... {skipped} more changes of tasks; see `opspawn task ls`");
            skipped = 0;
        }
        let Some(hint) = hint else { continue };
        let Ok(record) = engine.task(hint.tenant, hint.task).await else {
            continue;
        };
        left -= 1.0;
        let at = record.life.updated_at;
        status!("{} {} {}", clock(at), hint.task, line(&record, hint.state));
    }
}

/// Forgets the tasks whose end was missed.
async fn forget_ended(engine: &Engine, known: &mut HashMap<TaskId, StateName>) {
    let tasks: Vec<_> = known.keys().copied().collect();
    for task in tasks {
        let life = engine.life(TenantId::DEFAULT, task).await;
        if life.is_ok_and(|life| life.state.name().is_terminal()) {
            known.remove(&task);
        }
    }
}

/// What became of a task. The record may be further than the state.
fn line(record: &TaskRecord, state: StateName) -> String {
    let life = &record.life;
    match (state, &life.state) {
        (StateName::Running, _) if life.epoch > 1 => "goes on".to_owned(),
        (StateName::Running, _) => format!("starts{}", what(record)),
        (StateName::Waiting, State::Waiting(wait)) => waits(record.task.id, wait),
        (StateName::Waiting, _) => "waits".to_owned(),
        (StateName::Paused, _) => format!(
            "is paused; `opspawn task resume {}` lets it go on",
            record.task.id
        ),
        (StateName::Scheduled, State::Scheduled { until, .. }) => {
            let why = failure(record);
            format!(
                "failed for now{why}; the next attempt is at {}",
                clock(*until)
            )
        }
        (StateName::Scheduled, _) => "failed for now; another attempt follows".to_owned(),
        (StateName::Completed, _) => format!("completed{}", cost(record)),
        (StateName::Failed, _) => {
            format!("failed{}{}", cost(record), failure(record))
        }
        (StateName::Cancelled, _) => "is cancelled".to_owned(),
        (StateName::Pending | StateName::Cancelling, _) => state.as_str().to_owned(),
    }
}

/// The last failure, behind a colon.
fn failure(record: &TaskRecord) -> String {
    let failure = record.life.failure.as_ref();
    failure.map_or_else(String::new, |failure| {
        format!(": {}", output::cut(&failure.message, 200))
    })
}

/// The task in a few words: its agent, and its name or its goal.
fn what(record: &TaskRecord) -> String {
    let task = &record.task;
    let agent = task
        .agent_id
        .as_ref()
        .map(|agent| format!(" agent {agent}"));
    let words = task.name.clone().or_else(|| {
        if task.input.as_str().len() > MAX_INPUT {
            return None;
        }
        let input = task.input.fields(&["prompt", "goal"]).ok()?;
        let goal = input.get("prompt").or(input.get("goal"))?;
        goal.as_str().map(str::to_owned)
    });
    let words = words.map(|words| format!(" \"{}\"", output::cut(&words, 60)));
    format!("{}{}", agent.unwrap_or_default(), words.unwrap_or_default())
}

fn cost(record: &TaskRecord) -> String {
    let life = &record.life;
    let took = match (life.started_at, life.completed_at) {
        (Some(start), Some(end)) => {
            let seconds = end.0.saturating_sub(start.0) as f64 / 1e6;
            format!(" in {seconds:.1} s")
        }
        _ => String::new(),
    };
    let tokens = match life.usage.input_tokens + life.usage.output_tokens {
        0 => String::new(),
        tokens => format!(", {tokens} tokens"),
    };
    let usd = match life.usage.cost_micros {
        0 => String::new(),
        micros => format!(", ${}", units::money::usd(micros)),
    };
    format!("{took}{tokens}{usd}")
}

fn waits(id: TaskId, wait: &Wait) -> String {
    let one = |steps: &[u32]| steps.first().copied().unwrap_or_default();
    match wait {
        Wait::Timer { until, error, .. } => {
            let why = error.as_ref().map(|error| output::cut(&error.message, 200));
            let why = why.map_or_else(String::new, |why| format!(" to try again: {why}"));
            format!("waits until {}{why}", clock(*until))
        }
        Wait::InDoubt { steps, .. } => format!(
            "waits: the outcome of step {} is unknown; `opspawn reconcile ls`",
            one(steps)
        ),
        Wait::Approval { steps, .. } => format!(
            "waits for approval of step {step}; `opspawn approval get {id} {step}`",
            step = one(steps)
        ),
        Wait::Signal { names, .. } => format!(
            "waits for {}; `opspawn task signal {id} ANSWER`",
            output::cut(&names.join(", "), 60)
        ),
        Wait::Child { tasks, .. } if tasks.len() == 1 => "waits for its child task".to_owned(),
        Wait::Child { tasks, .. } => format!("waits for {} child tasks", tasks.len()),
        Wait::Budget { message, .. } => format!(
            "waits: {}; {}",
            output::cut(message, 120),
            crate::commands::raised_by(&id.to_string(), message)
        ),
        Wait::Concurrency { key, .. } => format!(
            "waits for the task before it of the key `{}`",
            output::cut(key, 40)
        ),
    }
}

/// The time of day where the server is.
fn clock(at: Micros) -> String {
    let at = Timestamp::from_microsecond(at.0).unwrap_or_default();
    at.to_zoned(TimeZone::system())
        .strftime("%H:%M:%S")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_a_state_is_told() {
        let mut known = HashMap::new();
        let task = TaskId::new(Micros(1), [1; 10]);
        let mut told = Vec::new();
        for state in [
            StateName::Pending,
            StateName::Scheduled,
            StateName::Running,
            StateName::Running,
            StateName::Waiting,
            StateName::Waiting,
            StateName::Pending,
            StateName::Running,
            StateName::Scheduled,
            StateName::Running,
            StateName::Cancelling,
            StateName::Completed,
        ] {
            if changed(&mut known, task, state) {
                told.push(state.as_str());
            }
        }
        assert_eq!(
            told,
            [
                "running",
                "waiting",
                "running",
                "scheduled",
                "running",
                "completed"
            ]
        );
        assert!(known.is_empty());
    }

    #[test]
    fn a_wait_says_what_ends_it() {
        let id = TaskId::new(Micros(1), [1; 10]);
        let wait = |wait| serde_json::from_value::<Wait>(wait).unwrap();
        let approval = wait(serde_json::json!({"on": "approval", "steps": [4]}));
        assert_eq!(
            waits(id, &approval),
            format!("waits for approval of step 4; `opspawn approval get {id} 4`")
        );
        let signal = wait(serde_json::json!({"on": "signal", "names": ["a\u{1b}[2J"]}));
        assert!(waits(id, &signal).contains("a\\u{1b}[2J"));
    }
}
