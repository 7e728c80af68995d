//! What comes to a run from outside: approvals, signals, ends of child tasks, and what a fork adds.
//!
//! Whoever keeps the log puts these events into it when they come, and a driver that is at work does
//! not see them. So none of them settles a call that waits, a denial excepted: the driver does, with
//! an outcome of its own, once it sees that there is an answer or that the time is over.

use serde_json::{Value, json};

use super::{
    CallState, FoldError, Progress, Run,
    ledger::Amount,
    phase::{ClosedTurn, OpenTurn, Phase},
};
use crate::{
    event::{
        CallWait, ChildEnded, ChildStarted, Failure, StepId, ToolApproved, ToolDenied, ToolReset,
        Verdict, Wait,
    },
    time,
    tool::Resources,
};

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
        match self.phase.call_mut(step) {
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
                | Progress::Doubted { .. }
                | Progress::Settled { .. },
            )
            | None => false,
        }
    }

    pub(super) fn reset(&mut self, kind: &'static str, reset: &ToolReset) -> Result<(), FoldError> {
        self.reopen(reset.step);
        let state = self
            .phase
            .call_mut(reset.step)
            .ok_or_else(|| FoldError::new(kind, reset.step))?;
        if let Some(input) = &reset.input {
            state.edited |= state.call.input != *input;
            state.call.input = input.clone();
        }
        state.progress = Progress::Reset;
        state.tries = 0;
        self.results.forget_new(reset.step);
        Ok(())
    }

    /// Takes back that a turn with this call was closed, if nothing has followed it.
    fn reopen(&mut self, step: StepId) {
        let has = |turn: &mut ClosedTurn| turn.calls.iter().any(|state| state.call.step == step);
        if let Phase::Deciding { closed } = &mut self.phase
            && let Some(turn) = closed.take_if(has)
        {
            self.conversation.reopen(turn.calls.len(), turn.repairs);
            self.phase = Phase::Calling(OpenTurn {
                expected: turn.calls.len(),
                calls: turn.calls,
            });
        }
    }

    pub(super) fn add(&mut self, content: &str) {
        let calls_are_open = matches!(self.phase, Phase::Calling(_));
        self.conversation.add(content, calls_are_open);
        self.phase.forget_closed();
    }

    /// A call that waited for a signal has its result: it took the oldest one of the name.
    pub(super) fn take_signal(&mut self, step: StepId) {
        if let Some(Progress::Waiting {
            wait: CallWait::Signal { name, .. },
        }) = self.phase.call_mut(step).map(|state| &state.progress)
        {
            self.signals.take(name);
        }
    }

    pub(super) fn child_started(&mut self, step: StepId, started: &ChildStarted) {
        let amount = self.children.begin(step, started);
        self.ledger.recount_children(Amount::default(), amount);
    }

    pub(super) fn child_ended(
        &mut self,
        kind: &'static str,
        ended: &ChildEnded,
    ) -> Result<(), FoldError> {
        let end = self.children.end(ended);
        let end = end.ok_or_else(|| FoldError::new(kind, &ended.task))?;
        self.ledger.recount_children(end.before, end.now);
        if let Some((step, handle)) = end.result {
            self.results.add(step, handle);
        }
        Ok(())
    }

    /// The first call that has its answer, or whose time is over, and what came of it.
    pub(super) fn due(&self, now_micros: i64) -> Option<(StepId, Result<Value, Failure>)> {
        let over = |until: Option<i64>| until.is_some_and(|until| until <= now_micros);
        self.calls().iter().find_map(|state| {
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
                | Progress::Doubted { .. }
                | Progress::Settled { .. } => None,
            };
            result.map(|result| (state.call.step, result))
        })
    }

    fn reply(&self, wait: &CallWait) -> Option<Result<Value, Failure>> {
        match wait {
            CallWait::Time { .. } => None,
            CallWait::Signal { name, .. } => self.signals.oldest(name).cloned().map(Ok),
            CallWait::Children { tasks, .. } => self.children.ends(tasks).map(Ok),
        }
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
                    self.children.not_ended(tasks).join(", ")
                );
                Err(Failure::last("children_timeout", message))
            }
        }
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
        for state in self.calls() {
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
                        CallWait::Children { tasks: all, .. } => {
                            tasks.extend(self.children.not_ended(all))
                        }
                    }
                }
                Progress::Queued
                | Progress::Reset
                | Progress::Approved
                | Progress::Started { .. }
                | Progress::Doubted { .. }
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

#[cfg(test)]
mod tests;
