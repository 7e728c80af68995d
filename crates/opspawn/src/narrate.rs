//! One line on standard error for each task that starts, waits or ends, while a server runs.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::{Timestamp, tz::TimeZone};
use ops_core::{
    Micros, State, TaskId, Wait,
    ports::{Hint, Notice, Observer, TaskRecord},
    task::StateName,
};
use ops_engine::{Engine, Hub};
use tokio::{sync::mpsc, time::Instant};

use crate::output::{self, say};

/// Changes that wait to be told.
const BACKLOG: usize = 256;
/// Lines at once after a quiet time, and lines a second from then on. A person reads no more.
const BURST: f64 = 40.0;
const RATE: f64 = 10.0;
/// An input beyond this size is not looked through for a goal.
const MAX_INPUT: usize = 64 << 10;

/// Sees the commits of the store before the hub does, and picks those that change a task's state.
///
/// It runs on the thread that writes, with every commit: a busy server appends tens of thousands of
/// steps a second, each with a notice. So a notice that changes no state costs one look into a map, and
/// the rest is read and written elsewhere.
pub(crate) struct Narrator {
    hub: Arc<Hub>,
    /// The state that was told last, of tasks that have begun and not ended.
    known: Mutex<HashMap<TaskId, StateName>>,
    changes: mpsc::Sender<Hint>,
    untold: Arc<AtomicU64>,
}

/// What the narrator saw.
pub(crate) struct Changes {
    changes: mpsc::Receiver<Hint>,
    untold: Arc<AtomicU64>,
}

impl Narrator {
    /// A narrator in front of a hub.
    pub(crate) fn new(hub: Arc<Hub>) -> (Arc<Self>, Changes) {
        let (sender, changes) = mpsc::channel(BACKLOG);
        let untold = Arc::<AtomicU64>::default();
        let narrator = Self {
            hub,
            known: Mutex::default(),
            changes: sender,
            untold: Arc::clone(&untold),
        };
        (Arc::new(narrator), Changes { changes, untold })
    }
}

impl Observer for Narrator {
    fn committed(&self, notices: &[Notice]) {
        self.hub.committed(notices);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for Notice { hint, .. } in notices {
            if changed(&mut known, hint.task, hint.state) && self.changes.try_send(*hint).is_err() {
                self.untold.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

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

impl Changes {
    /// Tells what was seen until the store is closed.
    pub(crate) async fn tell(mut self, engine: Arc<Engine>) {
        let (mut left, mut last) = (BURST, Instant::now());
        let mut skipped = 0;
        loop {
            let hint = match tokio::time::timeout(Duration::from_secs(1), self.changes.recv()).await
            {
                Ok(None) => return,
                Ok(Some(hint)) => Some(hint),
                Err(_) => None,
            };
            let now = Instant::now();
            left = (left + now.duration_since(last).as_secs_f64() * RATE).min(BURST);
            last = now;
            if left < 1.0 {
                skipped += u64::from(hint.is_some());
                continue;
            }
            skipped += self.untold.swap(0, Ordering::Relaxed);
            if skipped > 0 {
                say!("... {skipped} more changes of tasks; see `opspawn task ls`");
                skipped = 0;
            }
            let Some(hint) = hint else { continue };
            let Ok(record) = engine.task(hint.tenant, hint.task).await else {
                continue;
            };
            left -= 1.0;
            let at = record.life.updated_at;
            say!("{} {} {}", clock(at), hint.task, line(&record, hint.state));
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
            format!("failed for now; the next attempt is at {}", clock(*until))
        }
        (StateName::Scheduled, _) => "failed for now; another attempt follows".to_owned(),
        (StateName::Completed, _) => format!("completed{}", cost(record)),
        (StateName::Failed, _) => {
            let message = record.error.as_ref().map(|error| error.message.as_str());
            let message = output::cut(message.unwrap_or_default(), 200);
            format!("failed{}: {message}", cost(record))
        }
        (StateName::Cancelled, _) => "is cancelled".to_owned(),
        (StateName::Pending | StateName::Cancelling, _) => state.as_str().to_owned(),
    }
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
        Wait::Timer { until, .. } => format!("waits until {}", clock(*until)),
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
            "waits: {}; `opspawn task limit {id}`",
            output::cut(message, 120)
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
