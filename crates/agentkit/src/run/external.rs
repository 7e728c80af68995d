//! External events of a run: approvals, signals, ends of child tasks, and the messages of a fork.
//!
//! The log's keeper appends these events when they come, and a driver at work does not see them. So none of
//! them settles a call that waits, a denial excepted: the driver does, with an outcome of its own, once the
//! driver sees the answer or the end of the time.

use serde_json::{Value, json};

use super::{
    CallState, FoldError, Progress, Run,
    ledger::Amount,
    phase::{ClosedTurn, OpenTurn, Phase},
};
use crate::{
    event::{
        CallPurpose, CallWait, ChildEnded, ChildStarted, Failure, GateDecision, StepId,
        ToolApproved, ToolCalled, ToolDenied, ToolEscalated, ToolReset, Wait,
    },
    time,
    tool::{Resources, Resumed},
};

impl Run {
    pub(super) fn approved(
        &mut self,
        kind: &'static str,
        approved: &ToolApproved,
    ) -> Result<(), FoldError> {
        if let Some(state) = self.awaiting_approval(kind, approved.step)? {
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
        if self.awaiting_approval(kind, denied.step)?.is_some() {
            let content = format!("a person denied this call: {}", denied.reason);
            self.settle(kind, denied.step, content, true)?;
        }
        Ok(())
    }

    /// The call, if the call still waits for approval. A decision about another call comes late, and the
    /// first decision counts.
    fn awaiting_approval(
        &mut self,
        kind: &'static str,
        step: StepId,
    ) -> Result<Option<&mut CallState>, FoldError> {
        let known = step.0 <= self.last_step;
        match self.phase.call_mut(step) {
            Some(state) if matches!(state.progress, Progress::AwaitingApproval { .. }) => {
                Ok(Some(state))
            }
            Some(state) if matches!(state.call.decision, GateDecision::Ask { .. }) => Ok(None),
            None if known => Ok(None),
            Some(_) | None => Err(FoldError::new(kind, step)),
        }
    }

    /// Another group is asked. A call that was decided meanwhile stays decided.
    pub(super) fn escalated(
        &mut self,
        kind: &'static str,
        escalated: &ToolEscalated,
    ) -> Result<(), FoldError> {
        if let Some(state) = self.awaiting_approval(kind, escalated.step)?
            && let Progress::AwaitingApproval {
                escalates_micros, ..
            } = &mut state.progress
        {
            *escalates_micros = None;
        }
        Ok(())
    }

    /// The first call that waits for approval and whose reviewer lacks the preview.
    pub(super) fn preview_due(&self) -> Option<StepId> {
        let lacks = |state: &&CallState| state.preview().is_some();
        Some(self.calls().iter().find(lacks)?.call.step)
    }

    /// The first call that its reviewers have left unanswered until now.
    pub(super) fn escalation_due(&self, now_micros: i64) -> Option<ToolEscalated> {
        self.calls().iter().find_map(|state| {
            let GateDecision::Ask {
                escalation: Some(escalation),
                ..
            } = &state.call.decision
            else {
                return None;
            };
            let Progress::AwaitingApproval {
                escalates_micros: Some(at),
                ..
            } = state.progress
            else {
                return None;
            };
            (at <= now_micros).then(|| ToolEscalated {
                step: state.call.step,
                to: escalation.to.clone(),
            })
        })
    }

    /// A call of the machine's own has its outcome; returns whether the call is such a call. A call that was
    /// not made shows nothing: the machine makes it again.
    pub(super) fn machine_settled(
        &mut self,
        step: StepId,
        was_made: bool,
        output: Option<&Value>,
    ) -> bool {
        let Some(call) = self.machine.settled(step) else {
            return false;
        };
        if was_made {
            self.previewed(&call);
            self.recollected(&call, output);
        }
        true
    }

    /// Notes that the reviewer of a call has its preview, if this call of the machine's own was one.
    pub(super) fn previewed(&mut self, call: &ToolCalled) {
        if let Some(CallPurpose::Preview { of }) = call.purpose
            && let Some(state) = self.phase.call_mut(of)
        {
            state.previewed = true;
        }
    }

    /// Whether an outcome is of a call that a person has decided already: its time passed before the
    /// driver saw that. The first word counts here as well.
    pub(super) fn is_late(&self, step: StepId) -> bool {
        match self.call(step) {
            Some(CallState { call, progress, .. }) => {
                matches!(call.decision, GateDecision::Ask { .. })
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
            Some(Progress::AwaitingApproval { until_micros, .. }) => left(*until_micros),
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
        self.effects.forget(reset.step);
        Ok(())
    }

    /// Reopens the turn of this call, if no event has followed the turn.
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

    /// A call that waited for a signal has its result: the call took the oldest signal of the name.
    pub(super) fn take_signal(&mut self, step: StepId) {
        if let Some(Progress::Waiting {
            wait: CallWait::Signal { name, .. },
        }) = self.phase.call_mut(step).map(|state| &state.progress)
        {
            self.signals.take(name);
        }
    }

    /// A call that waited for a signal to be called again is: it took the oldest one of the name.
    pub(super) fn take_answer(&mut self, step: StepId) -> Option<Resumed> {
        let state = self.phase.call_mut(step)?;
        let Progress::Waiting {
            wait: CallWait::Signal { name, resume, .. },
        } = &state.progress
        else {
            return None;
        };
        let (name, state) = (name.clone(), resume.clone()?);
        let answer = self.signals.oldest(&name).cloned()?;
        self.signals.take(&name);
        Some(Resumed { state, answer })
    }

    /// The first call that is to be called again, as the signal has come that it waited for.
    pub(crate) fn resumable(&self) -> Option<StepId> {
        let resumes = |state: &&CallState| match &state.progress {
            Progress::Waiting {
                wait: CallWait::Signal { name, resume, .. },
            } => resume.is_some() && self.signals.oldest(name).is_some(),
            _ => false,
        };
        Some(self.calls().iter().find(resumes)?.call.step)
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

    /// The first call that has its answer, or whose time is over, and its result.
    pub(super) fn due(&self, now_micros: i64) -> Option<(StepId, Result<Value, Failure>)> {
        let over = |until: Option<i64>| until.is_some_and(|until| until <= now_micros);
        self.calls().iter().find_map(|state| {
            let result = match &state.progress {
                Progress::AwaitingApproval { until_micros, .. } => over(*until_micros).then(|| {
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

    /// The wait of the run, if calls wait: for an approval first, then for signals, then for child tasks,
    /// then for the time. The wait ends at the first call's time, or at the run's own deadline.
    pub(crate) fn wait(&self) -> Option<Wait> {
        let limits = self.config.as_ref().map(|config| &config.limits);
        let mut until_micros = limits.and_then(|limits| limits.deadline_micros);
        let mut sooner = |until: Option<i64>| {
            until_micros = until_micros.into_iter().chain(until).min();
        };
        let (mut steps, mut names, mut tasks, mut time) = (vec![], vec![], vec![], false);
        for state in self.calls() {
            match &state.progress {
                Progress::AwaitingApproval {
                    until_micros,
                    escalates_micros,
                } => {
                    sooner(*until_micros);
                    sooner(*escalates_micros);
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
