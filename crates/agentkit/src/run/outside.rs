//! What comes to a run from outside: approvals, signals, ends of child tasks, and what a fork adds.
//!
//! Whoever keeps the log puts these events into it when they come, and a driver that is at work does
//! not see them. So none of them settles a call that waits, a denial excepted: the driver does, with
//! an outcome of its own, once it sees that there is an answer or that the time is over.

use serde_json::{Value, json};

use super::{CallState, Child, FoldError, Progress, Run, Turn};
use crate::{
    event::{
        CallWait, ChildEnded, ChildResult, ChildStarted, Failure, SignalReceived, StepId,
        ToolApproved, ToolDenied, ToolReset, Verdict, Wait,
    },
    model::Message,
    time,
    tool::Resources,
};

/// How much of changed arguments the model is told, in bytes.
const MAX_EDITED: usize = 2 * 1024;

impl Run {
    pub(super) fn approved(
        &mut self,
        kind: &'static str,
        approved: &ToolApproved,
    ) -> Result<(), FoldError> {
        if let Some(state) = self.asked(kind, approved.step)? {
            if let Some(input) = &approved.input
                && state.call.input != *input
            {
                state.edited = true;
                state.call.input = input.clone();
                // Nobody but the tool knows what the new arguments touch, and the fold asks no tool.
                if state.call.resources.is_some() {
                    state.call.resources = Some(Resources::everything());
                }
            }
            state.progress = Progress::Approved;
        }
        Ok(())
    }

    pub(super) fn denied(
        &mut self,
        kind: &'static str,
        denied: &ToolDenied,
    ) -> Result<(), FoldError> {
        if self.asked(kind, denied.step)?.is_some() {
            let content = format!("a person denied this call: {}", denied.reason);
            self.settle(kind, denied.step, content, true)?;
        }
        Ok(())
    }

    /// The call, if it still waits for approval. The word on one that does not any more comes late,
    /// and the first one counts.
    fn asked(
        &mut self,
        kind: &'static str,
        step: StepId,
    ) -> Result<Option<&mut CallState>, FoldError> {
        let known = step.0 <= self.last_step;
        match self.calls.iter_mut().find(|state| state.call.step == step) {
            Some(state) if matches!(state.progress, Progress::Asked { .. }) => Ok(Some(state)),
            Some(state) if matches!(state.call.verdict, Verdict::Ask { .. }) => Ok(None),
            None if known => Ok(None),
            Some(_) | None => Err(FoldError::new(kind, step)),
        }
    }

    /// Whether an outcome is of a call that a person has decided already: its time passed before the
    /// driver saw that. The first word counts here as well.
    pub(super) fn is_late(&self, step: StepId) -> bool {
        match self.call(step) {
            Some(CallState { call, progress, .. }) => {
                matches!(call.verdict, Verdict::Ask { .. })
                    && matches!(progress, Progress::Settled { .. })
            }
            None => step.0 <= self.last_step,
        }
    }

    /// Whether a call whose time is over may have an answer that a driver does not know, because the
    /// log was read at `read_micros`, when there was time left.
    pub(crate) fn may_be_answered(&self, step: StepId, read_micros: i64) -> bool {
        let left = |until: Option<i64>| until.is_some_and(|until| until > read_micros);
        match self.call(step).map(|state| &state.progress) {
            Some(Progress::Asked { until_micros }) => left(*until_micros),
            Some(Progress::Waiting { wait }) => match wait {
                CallWait::Time { .. } => false,
                CallWait::Signal { until_micros, .. } | CallWait::Children { until_micros, .. } => {
                    left(*until_micros) && self.reply(wait).is_none()
                }
            },
            Some(
                Progress::Queued
                | Progress::Reset
                | Progress::Approved
                | Progress::Started { .. }
                | Progress::Settled { .. },
            )
            | None => false,
        }
    }

    pub(super) fn reset(&mut self, kind: &'static str, reset: &ToolReset) -> Result<(), FoldError> {
        self.reopen(reset.step);
        let state = self
            .calls
            .iter_mut()
            .find(|state| state.call.step == reset.step)
            .ok_or_else(|| FoldError::new(kind, reset.step))?;
        if let Some(input) = &reset.input {
            state.edited |= state.call.input != *input;
            state.call.input = input.clone();
        }
        state.progress = Progress::Reset;
        state.tries = 0;
        self.new_results.retain(|(step, _)| *step != reset.step);
        Ok(())
    }

    pub(super) fn add(&mut self, content: &str) {
        self.repairs = 0;
        if self.is_turn_open() {
            self.added.push(content.to_owned());
            return;
        }
        self.turn = Turn::Open;
        self.closed = None;
        self.memory.add_pinned(Message::user(content));
    }

    pub(super) fn signalled(&mut self, signal: &SignalReceived) {
        self.signals
            .entry(signal.name.clone())
            .or_default()
            .push_back(signal.payload.clone());
    }

    /// A call that waited for a signal has its result: it took the oldest one of the name.
    pub(super) fn take_signal(&mut self, step: StepId) {
        let Some(CallState {
            progress:
                Progress::Waiting {
                    wait: CallWait::Signal { name, .. },
                },
            ..
        }) = self.calls.iter().find(|state| state.call.step == step)
        else {
            return;
        };
        if let Some(signals) = self.signals.get_mut(name) {
            signals.pop_front();
            if signals.is_empty() {
                let name = name.clone();
                self.signals.remove(&name);
            }
        }
    }

    pub(super) fn child_started(&mut self, step: StepId, started: &ChildStarted) {
        let tokens = started.reserved_tokens.unwrap_or(0);
        let cost_micros = started.reserved_cost_micros.unwrap_or(0);
        self.children_tokens = self.children_tokens.saturating_add(tokens);
        self.children_cost_micros = self.children_cost_micros.saturating_add(cost_micros);
        let child = Child {
            step,
            tokens,
            cost_micros,
            result: None,
        };
        self.children.insert(started.task.clone(), child);
    }

    /// A child that somebody has run again may end twice: its first result stands, since the model
    /// may have read it, and everything it used counts.
    pub(super) fn child_ended(
        &mut self,
        kind: &'static str,
        ended: &ChildEnded,
    ) -> Result<(), FoldError> {
        let child = self
            .children
            .get_mut(&ended.task)
            .ok_or_else(|| FoldError::new(kind, &ended.task))?;
        let counts = |counted: u64, used: u64| match &child.result {
            None => used,
            Some(_) => counted.max(used),
        };
        let tokens = counts(child.tokens, ended.used_tokens);
        let cost_micros = counts(child.cost_micros, ended.used_cost_micros);
        let again =
            |sum: u64, before: u64, now: u64| sum.saturating_sub(before).saturating_add(now);
        self.children_tokens = again(self.children_tokens, child.tokens, tokens);
        self.children_cost_micros =
            again(self.children_cost_micros, child.cost_micros, cost_micros);
        (child.tokens, child.cost_micros) = (tokens, cost_micros);
        if child.result.is_none() {
            child.result = Some(ended.result.clone());
            if let ChildResult::Completed {
                handle: Some(handle),
                ..
            } = &ended.result
            {
                self.new_results.push((child.step, handle.clone()));
            }
        }
        Ok(())
    }

    /// The first call that has its answer, or whose time is over, and what came of it.
    pub(super) fn due(&self, now_micros: i64) -> Option<(StepId, Result<Value, Failure>)> {
        let over = |until: Option<i64>| until.is_some_and(|until| until <= now_micros);
        self.calls.iter().find_map(|state| {
            let result = match &state.progress {
                Progress::Asked { until_micros } => over(*until_micros).then(|| {
                    let message = "nobody approved this call in time, so it did not run";
                    Err(Failure::last("approval_expired", message))
                }),
                Progress::Waiting { wait } => self.reply(wait).or_else(|| {
                    over(wait.until_micros()).then(|| self.timed_out(wait, now_micros))
                }),
                Progress::Queued
                | Progress::Reset
                | Progress::Approved
                | Progress::Started { .. }
                | Progress::Settled { .. } => None,
            };
            result.map(|result| (state.call.step, result))
        })
    }

    fn reply(&self, wait: &CallWait) -> Option<Result<Value, Failure>> {
        match wait {
            CallWait::Time { .. } => None,
            CallWait::Signal { name, .. } => self.signals.get(name)?.front().cloned().map(Ok),
            CallWait::Children { tasks, .. } => {
                let ends = tasks.iter().map(|task| self.end(task));
                ends.collect::<Option<Vec<_>>>().map(|ends| Ok(ends.into()))
            }
        }
    }

    /// What the model is told of a child's end. A large result is read by the handle of the call
    /// that began the child: that call's own result is small.
    fn end(&self, task: &str) -> Option<Value> {
        let child = self.children.get(task)?;
        Some(match child.result.as_ref()? {
            ChildResult::Completed {
                output,
                handle: None,
            } => json!({"task": task, "status": "completed", "output": output}),
            ChildResult::Completed {
                output,
                handle: Some(handle),
            } => json!({
                "task": task,
                "status": "completed",
                "output": output,
                "handle": child.step.to_string(),
                "bytes": handle.bytes,
                "note": "output is the beginning; use read_result with this handle to read the rest",
            }),
            ChildResult::Failed { error } => json!({
                "task": task,
                "status": "failed",
                "error": {"code": error.code, "message": error.message},
            }),
            ChildResult::Cancelled => json!({"task": task, "status": "cancelled"}),
        })
    }

    fn timed_out(&self, wait: &CallWait, now_micros: i64) -> Result<Value, Failure> {
        match wait {
            CallWait::Time { .. } => Ok(json!({"now": time::rfc3339(now_micros)})),
            CallWait::Signal { name, .. } => {
                let message = format!("nothing came for `{name}` in time");
                Err(Failure::last("signal_timeout", message))
            }
            CallWait::Children { tasks, .. } => {
                let message = format!(
                    "these tasks had not ended in time: {}; await them again, or go on without them",
                    self.not_ended(tasks).join(", ")
                );
                Err(Failure::last("children_timeout", message))
            }
        }
    }

    fn not_ended(&self, tasks: &[String]) -> Vec<String> {
        let ended = |task: &str| {
            let child = self.children.get(task);
            child.is_some_and(|child| child.result.is_some())
        };
        tasks.iter().filter(|task| !ended(task)).cloned().collect()
    }

    /// What the run waits for, if calls wait: somebody's approval first, then signals, then child
    /// tasks, then the time. It is over when the first call's time is, or the run's own.
    pub(crate) fn wait(&self) -> Option<Wait> {
        let limits = self.config.as_ref().map(|config| &config.limits);
        let mut until_micros = limits.and_then(|limits| limits.deadline_micros);
        let mut sooner = |until: Option<i64>| {
            until_micros = until_micros.into_iter().chain(until).min();
        };
        let (mut steps, mut names, mut tasks, mut time) = (vec![], vec![], vec![], false);
        for state in &self.calls {
            match &state.progress {
                Progress::Asked { until_micros } => {
                    sooner(*until_micros);
                    steps.push(state.call.step);
                }
                Progress::Waiting { wait } => {
                    sooner(wait.until_micros());
                    match wait {
                        CallWait::Time { .. } => time = true,
                        CallWait::Signal { name, .. } => names.push(name.clone()),
                        CallWait::Children { tasks: all, .. } => tasks.extend(self.not_ended(all)),
                    }
                }
                Progress::Queued
                | Progress::Reset
                | Progress::Approved
                | Progress::Started { .. }
                | Progress::Settled { .. } => {}
            }
        }
        for list in [&mut names, &mut tasks] {
            list.sort_unstable();
            list.dedup();
        }
        if !steps.is_empty() {
            Some(Wait::Approval {
                steps,
                until_micros,
            })
        } else if !names.is_empty() {
            Some(Wait::Signal {
                names,
                until_micros,
            })
        } else if !tasks.is_empty() {
            Some(Wait::Children {
                tasks,
                until_micros,
            })
        } else if time {
            until_micros.map(|until_micros| Wait::Timer { until_micros })
        } else {
            None
        }
    }
}

/// The result of a call that did not run with the model's arguments, as the model is told it.
pub(super) fn edited(input: &Value, content: &str) -> String {
    let input = input.to_string();
    let shown = &input[..input.floor_char_boundary(MAX_EDITED)];
    let dots = if shown.len() < input.len() { "..." } else { "" };
    format!("a person changed the arguments of this call to {shown}{dots}\n{content}")
}

#[cfg(test)]
mod tests;
