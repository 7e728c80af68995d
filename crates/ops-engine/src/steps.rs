//! The steps of a task: its log as a list of model calls, tool calls and waits.

use ops_core::{
    Lifecycle, Micros, State, StoredEvent, Wait,
    event::{EffectClass, Resolution, StepKind, StepStatus, TaskEvent, Usage},
};
use serde_json::Value;

use crate::StepPage;

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The number of its first event.
    pub seq: u64,
    /// Number within the run; `None` for a wait.
    pub number: Option<u32>,
    /// `model`, `tool` or `wait`.
    pub kind: &'static str,
    /// The model, the tool, or the condition of a wait.
    pub name: String,
    /// Present state.
    pub status: StepState,
    /// Number of attempts that began.
    pub attempt: u32,
    /// Effect of a repetition.
    pub effect: Option<EffectClass>,
    /// Initiator of a tool call.
    pub initiator: Option<Initiator>,
    /// Input.
    pub input: Option<Value>,
    /// When the clock ends it, if it is a wait that the clock ends.
    pub until: Option<Micros>,
    /// Output.
    pub output: Option<Value>,
    /// The parts of a tool's result, if it has parts.
    pub parts: Option<Value>,
    /// Failure.
    pub error: Option<Value>,
    /// Usage.
    pub usage: Usage,
    /// Its first intent.
    pub started_at: Micros,
    /// Its outcome.
    pub ended_at: Option<Micros>,
}

/// Who asked for a tool call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Initiator {
    /// The model.
    Model,
    /// The machine itself.
    Machine,
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepState {
    /// Known, but not begun.
    Queued,
    /// Begun.
    Started,
    /// Its result, or the leave to run it, comes from outside.
    Waiting,
    /// The call returned.
    Completed,
    /// The call failed.
    Failed,
    /// The call had begun when its worker was lost, and has no decision yet.
    InDoubt,
}

impl StepState {
    /// The name as it is shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Started => "started",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::InDoubt => "in_doubt",
        }
    }
}

impl Step {
    /// Whether the step is in doubt.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        self.status == StepState::InDoubt
    }
}

/// Folds a log into a page of steps; bodies are read for the steps of the page alone. The fold begins with
/// the turn that the page begins in (see [`ops_core::event::StepMark`]), so that the fold knows which steps
/// began before the page.
pub(crate) struct Fold {
    after: u64,
    limit: usize,
    /// Most bytes of the page's events.
    bytes: usize,
    steps: Vec<Step>,
    /// Steps before the page, by number: their later events are passed over.
    earlier: Vec<u32>,
    more: bool,
    /// No later event can change the page any more.
    whole: bool,
}

impl Fold {
    /// A page of steps whose first events have numbers above `after`.
    pub(crate) fn new(after: u64, limit: u32, bytes: usize) -> Self {
        let limit = usize::try_from(limit.max(1)).unwrap_or(usize::MAX);
        Self {
            after,
            limit,
            bytes,
            steps: Vec::new(),
            earlier: Vec::new(),
            more: false,
            whole: false,
        }
    }

    /// Whether the page needs no further event.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// How many events are worth reading at once: a step has two, as a rule.
    pub(crate) fn wanted(&self) -> u32 {
        let steps = self.limit.saturating_sub(self.steps.len());
        u32::try_from(steps.saturating_mul(2).saturating_add(16)).unwrap_or(u32::MAX)
    }

    pub(crate) fn add(&mut self, event: &StoredEvent) {
        if self.whole {
            return;
        }
        match event.event.step {
            Some(mark) if event.event.kind == "step.resolved" => {
                if let Some(step) = self.known(mark.number) {
                    step.resolve(event);
                }
            }
            Some(mark) => {
                if let Some(step) = self.known(mark.number) {
                    step.advance(mark.status, event);
                    step.deny(event);
                    self.bytes = self.bytes.saturating_sub(event.event.body.len());
                } else if event.seq <= self.after {
                    self.earlier.push(mark.number);
                } else if !self.earlier.contains(&mark.number) {
                    let (kind, initiator) = match mark.kind {
                        StepKind::Model => ("model", None),
                        StepKind::Tool => ("tool", Some(Initiator::Model)),
                    };
                    if self.is_full() {
                        // All the steps before a model step are over.
                        self.whole = mark.kind == StepKind::Model;
                    }
                    let mut step = Step::new(event, Some(mark.number), kind);
                    step.effect = Some(mark.effect);
                    step.initiator = initiator;
                    step.advance(mark.status, event);
                    self.open(step, event);
                }
            }
            None => self.engine_event(event),
        }
    }

    fn engine_event(&mut self, event: &StoredEvent) {
        let open_wait = self
            .steps
            .last_mut()
            .filter(|step| step.kind == "wait" && step.ended_at.is_none());
        match event.event.kind.as_str() {
            "task.waiting" if open_wait.is_none() && event.seq > self.after => {
                let Ok(TaskEvent::Waiting { wait }) = TaskEvent::decode(&event.event.body) else {
                    return;
                };
                let mut step = Step::wait(event, wait.name());
                step.until = wait.until();
                step.input = serde_json::to_value(&wait).ok().map(without_until);
                self.open(step, event);
            }
            "task.retry_scheduled" if open_wait.is_none() && event.seq > self.after => {
                let Ok(TaskEvent::RetryScheduled {
                    attempt,
                    until,
                    error,
                }) = TaskEvent::decode(&event.event.body)
                else {
                    return;
                };
                let mut step = Step::wait(event, RETRY);
                step.until = Some(until);
                step.input = Some(serde_json::json!({"on": RETRY, "attempt": attempt}));
                step.error = Some(failure(&error.code, &error.message, Retryable::Yes));
                self.open(step, event);
            }
            "task.woken" | "task.cancelled" | "task.failed" => {
                if let Some(step) = open_wait {
                    step.status = StepState::Completed;
                    step.ended_at = Some(event.at);
                }
            }
            _ => {}
        }
    }

    fn known(&mut self, number: u32) -> Option<&mut Step> {
        self.steps
            .iter_mut()
            .rev()
            .find(|step| step.number == Some(number))
    }

    fn is_full(&self) -> bool {
        self.steps.len() >= self.limit || (self.bytes == 0 && !self.steps.is_empty())
    }

    fn open(&mut self, step: Step, event: &StoredEvent) {
        if self.more || self.is_full() {
            self.more = true;
        } else {
            self.bytes = self.bytes.saturating_sub(event.event.body.len());
            self.steps.push(step);
        }
    }

    pub(crate) fn finish(mut self, life: &Lifecycle) -> StepPage {
        for step in &mut self.steps {
            let lost = match &life.state {
                State::Waiting(Wait::InDoubt { steps, .. }) => {
                    step.number.is_some_and(|number| steps.contains(&number))
                }
                state => {
                    let writes =
                        matches!(step.effect, Some(EffectClass::Keyed | EffectClass::Write));
                    state.name().is_terminal() && writes
                }
            };
            if step.kind == "tool" && step.status == StepState::Started && lost {
                step.status = StepState::InDoubt;
            }
        }
        let next = self.steps.last().filter(|_| self.more).map(|step| step.seq);
        StepPage {
            steps: self.steps,
            next,
        }
    }
}

impl Step {
    fn new(event: &StoredEvent, number: Option<u32>, kind: &'static str) -> Self {
        Self {
            seq: event.seq,
            number,
            kind,
            name: String::new(),
            status: StepState::Queued,
            attempt: 0,
            effect: None,
            initiator: None,
            input: None,
            until: None,
            output: None,
            parts: None,
            error: None,
            usage: Usage::default(),
            started_at: event.at,
            ended_at: None,
        }
    }

    fn wait(event: &StoredEvent, name: &str) -> Self {
        Self {
            status: StepState::Started,
            attempt: 1,
            name: name.to_owned(),
            ..Self::new(event, None, "wait")
        }
    }

    fn advance(&mut self, status: StepStatus, event: &StoredEvent) {
        self.usage += event.event.usage;
        match status {
            StepStatus::Queued => self.status = StepState::Queued,
            StepStatus::Waiting => self.status = StepState::Waiting,
            StepStatus::Started => {
                self.status = StepState::Started;
                self.attempt += 1;
                self.ended_at = None;
            }
            StepStatus::Completed | StepStatus::Resolved => {
                self.status = StepState::Completed;
                self.ended_at = Some(event.at);
            }
            StepStatus::Failed => {
                self.status = StepState::Failed;
                self.ended_at = Some(event.at);
            }
        }
        self.present(event);
    }

    /// Takes the presentation keys of a body.
    fn present(&mut self, event: &StoredEvent) {
        let Ok(Value::Object(mut body)) = serde_json::from_slice(&event.event.body) else {
            return;
        };
        if let Some(Value::String(name)) = body.remove("name") {
            self.name = name;
        }
        if body.get("initiator").is_some_and(|by| by == "machine") {
            self.initiator = Some(Initiator::Machine);
        }
        for (key, slot) in [
            ("input", &mut self.input),
            ("output", &mut self.output),
            ("parts", &mut self.parts),
            ("error", &mut self.error),
        ] {
            if let Some(value) = body.remove(key) {
                *slot = Some(value);
            }
        }
        if self.status == StepState::Completed {
            self.error = None;
        }
    }

    /// The reason of a denial.
    fn deny(&mut self, event: &StoredEvent) {
        if event.event.kind == "step.denied"
            && let Ok(TaskEvent::Denied { reason, .. }) = TaskEvent::decode(&event.event.body)
        {
            self.error = Some(failure("denied", &reason, Retryable::No));
        }
    }

    fn resolve(&mut self, event: &StoredEvent) {
        let Ok(TaskEvent::Resolved { resolution, .. }) = TaskEvent::decode(&event.event.body)
        else {
            return;
        };
        match resolution {
            Resolution::Done { output } => {
                self.status = StepState::Completed;
                self.output = Some(output);
                self.ended_at = Some(event.at);
            }
            Resolution::Failed { message } => {
                self.status = StepState::Failed;
                self.error = Some(failure("resolved_failed", &message, Retryable::No));
                self.ended_at = Some(event.at);
            }
            Resolution::Retry => self.status = StepState::Queued,
        }
    }
}

/// The name of the wait between two attempts.
const RETRY: &str = "retry";

/// A wait without its time, which is a field of the step.
fn without_until(mut wait: Value) -> Value {
    if let Value::Object(fields) = &mut wait {
        fields.remove("until");
    }
    wait
}

/// Whether a failure passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retryable {
    Yes,
    No,
}

/// The failure of a step, in the form of a run's failures.
fn failure(code: &str, message: &str, retryable: Retryable) -> Value {
    let retryable = retryable == Retryable::Yes;
    serde_json::json!({"code": code, "message": message, "retryable": retryable})
}

#[cfg(test)]
mod tests;
