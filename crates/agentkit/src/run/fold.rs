//! The fold: one event more.

use serde_json::Value;

use super::{
    CallState, EffectOutcome, Limits, Outcome, Progress, Run,
    phase::{ClosedTurn, FailedCall, ModelCall, OpenTurn, Phase},
};
use crate::{
    event::{
        ContentPart, Event, FinishReason, Initiator, ModelCompleted, ModelFailed, ModelStarted,
        Purpose, Resolution, RunStarted, StepId, ToolCalled,
    },
    memory::ShortTermMemory as _,
    model::{Message, ModelErrorKind},
};

/// An event that cannot follow the events before: a defect wrote the log, or the log is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{kind}` of {subject} cannot follow the events before it")]
pub struct FoldError {
    kind: &'static str,
    subject: String,
}

impl FoldError {
    pub(super) fn new(kind: &'static str, subject: impl std::fmt::Display) -> Self {
        let subject = subject.to_string();
        Self { kind, subject }
    }
}

impl Run {
    /// The run after another event.
    ///
    /// # Errors
    /// [`FoldError`] if the event names a step or a child that the run does not know, or a settled step.
    /// External events may come late: then they change nothing.
    pub fn apply(&mut self, event: &Event) -> Result<(), FoldError> {
        match event {
            Event::RunStarted(started) if self.outcome().is_some() => self.begin_again(started),
            Event::RunStarted(started) => self.start(started),
            Event::ModelStarted(started) => self.ask(started),
            Event::ModelCompleted(completed) => self.answer(completed),
            Event::ModelFailed(failed) => self.model_failed(event.kind(), failed)?,
            Event::PlanUpdated(updated) => {
                self.conversation.planned(&updated.plan, &self.goal);
                self.phase.forget_closed();
            }
            Event::ToolCalled(called) => match called.initiator {
                Initiator::Model => self.called(event.kind(), called)?,
                Initiator::Machine => {
                    self.last_step = self.last_step.max(called.step.0);
                    self.ledger.machine_step();
                    if self.machine.called(called) {
                        self.previewed(called);
                        self.recollected(called, None);
                    }
                }
            },
            Event::ToolStarted(started) if self.machine.started(started.step, started.attempt) => {}
            Event::ToolCompleted(completed)
                if self.machine_settled(completed.step, true, Some(&completed.output)) => {}
            Event::ToolFailed(failed)
                if self.machine_settled(
                    failed.step,
                    failed.error.code != ModelFailed::NOT_CALLED,
                    None,
                ) => {}
            Event::ToolProbed(probed) => {
                let attempt = self.call(probed.step).map_or(0, |state| state.tries);
                let progress = Progress::Doubted {
                    attempt,
                    settles_micros: probed.settles_micros,
                };
                self.phase.progress(event.kind(), probed.step, progress)?;
            }
            Event::ToolStarted(started) => {
                let resumed = self.take_answer(started.step);
                let progress = Progress::Started {
                    attempt: started.attempt,
                };
                self.phase.progress(event.kind(), started.step, progress)?;
                if let Some(key) = &started.key
                    && let Some(state) = self.phase.call_mut(started.step)
                {
                    state.call.key = Some(key.clone());
                }
                if let (Some(resumed), Some(state)) = (resumed, self.phase.call_mut(started.step)) {
                    state.resumed = Some(resumed);
                }
            }
            Event::ToolCompleted(completed) => {
                self.take_signal(completed.step);
                if let Some(handle) = &completed.handle {
                    self.results.add(completed.step, handle.clone());
                }
                for file in &completed.files {
                    self.files.insert(file.path.clone(), file.digest.clone());
                }
                if let Some(child) = &completed.child {
                    self.child_started(completed.step, child);
                }
                if let Some(state) = self.phase.open_call(completed.step) {
                    self.effects.completed(state, completed);
                    let tool = state.call.name.clone();
                    self.learnt_from(&tool);
                }
                let images = completed.parts.iter().filter_map(ContentPart::image);
                let settled = Progress::Settled {
                    content: text(&completed.output),
                    is_error: false,
                    images: images.cloned().collect(),
                };
                self.phase.progress(event.kind(), completed.step, settled)?;
                self.close_turn();
            }
            Event::ToolFailed(failed) if self.is_late(failed.step) => {}
            Event::ToolFailed(failed) => {
                if let Some(state) = self.phase.open_call(failed.step) {
                    self.effects.failed(state, &failed.error.code);
                }
                self.settle(
                    event.kind(),
                    failed.step,
                    failed.error.message.clone(),
                    true,
                )?;
            }
            Event::ToolResolved(resolved) => match &resolved.resolution {
                Resolution::Done { output } => {
                    self.resolved(resolved.step, EffectOutcome::Done);
                    self.settle(event.kind(), resolved.step, text(output), false)?;
                }
                Resolution::Failed { message } => {
                    self.resolved(resolved.step, EffectOutcome::NotDone);
                    self.settle(event.kind(), resolved.step, message.clone(), true)?;
                }
                Resolution::Retry => {
                    // What a person approved is looked at once more before it runs.
                    let asked = self
                        .call(resolved.step)
                        .is_some_and(CallState::needed_approval);
                    let progress = match asked {
                        true => Progress::Approved,
                        false => Progress::Queued,
                    };
                    self.phase.progress(event.kind(), resolved.step, progress)?;
                }
            },
            Event::ToolWaiting(waiting) => {
                let wait = waiting.wait.clone();
                self.phase
                    .progress(event.kind(), waiting.step, Progress::Waiting { wait })?;
            }
            Event::ToolApproved(approved) => self.approved(event.kind(), approved)?,
            Event::ToolDenied(denied) => self.denied(event.kind(), denied)?,
            Event::ToolEscalated(escalated) => self.escalated(event.kind(), escalated)?,
            Event::ToolReset(reset) => self.reset(event.kind(), reset)?,
            Event::SignalReceived(signal) => self.signals.receive(signal),
            Event::ChildEnded(ended) => self.child_ended(event.kind(), ended)?,
            Event::MessageAdded(added) => self.add(&added.content),
            Event::LimitsChanged(changed) => self.limit(&changed.limits),
            Event::SegmentOpened(opened) => self.open_segment(opened)?,
            Event::WaitStarted(_) => {}
            Event::RunCompleted(completed) => {
                self.phase = Phase::Ended(Outcome::Completed(completed.output.clone()));
            }
            Event::RunFailed(failed) => {
                self.leave_calls();
                self.phase = Phase::Ended(Outcome::Failed(failed.error.clone()));
            }
        }
        Ok(())
    }

    /// The index of the model that goes on. Where the log holds its name alone, it is the next entry of
    /// that name; a chain of an earlier release that named one model twice came back to the entry in use.
    fn fallback_index(&self, name: &str, recorded: Option<u32>) -> Option<usize> {
        let chain = &self.config.as_ref()?.models;
        let is_named = |index: &usize| chain.get(*index).is_some_and(|model| model.name == name);
        match recorded {
            Some(index) => usize::try_from(index).ok().filter(is_named),
            None => (self.chain.index + 1..chain.len())
                .chain((0..=self.chain.index).rev())
                .find(is_named),
        }
    }

    /// Enters a phase, unless the run has ended.
    fn enter(&mut self, phase: Phase) {
        if !matches!(self.phase, Phase::Ended(_)) {
            self.phase = phase;
        }
    }

    fn start(&mut self, started: &RunStarted) {
        self.goal.clone_from(&started.goal);
        if !started.config.instructions.is_empty() {
            let content = started.config.instructions.clone();
            self.conversation
                .memory
                .add_message(Message::System { content });
        }
        self.conversation.memory.add_message(Message::User {
            content: started.goal.clone(),
            images: started.images.clone(),
        });
        let mut config = started.config.clone();
        if let Some(limits) = self.early_limits.take() {
            config.limits = limits;
        }
        self.config = Some(config);
    }

    /// Other limits, also for a run that has yet to begin.
    pub(crate) fn limit(&mut self, limits: &Limits) {
        match &mut self.config {
            Some(config) => config.limits = limits.clone(),
            None => self.early_limits = Some(limits.clone()),
        }
    }

    fn ask(&mut self, started: &ModelStarted) {
        self.last_step = self.last_step.max(started.step.0);
        self.ledger.reserve(started);
        self.enter(Phase::Asking(ModelCall {
            step: started.step,
            attempt: started.attempt,
            purpose: started.purpose.clone(),
        }));
    }

    fn model_failed(&mut self, kind: &'static str, failed: &ModelFailed) -> Result<(), FoldError> {
        let purpose = match &self.phase {
            Phase::Asking(call) => call.purpose.clone(),
            Phase::Deciding { .. } | Phase::Retrying(_) | Phase::Calling(_) | Phase::Ended(_) => {
                Purpose::Turn
            }
        };
        let overflowed = failed.error.code == ModelErrorKind::ContextOverflow.code();
        if overflowed && !purpose.is_summary() {
            self.overflowed();
        }
        self.ledger.failed(failed);
        self.enter(Phase::Retrying(FailedCall {
            call: ModelCall {
                step: failed.step,
                attempt: failed.attempt,
                purpose,
            },
            // The next model of a chain is another matter.
            retry_at_micros: failed.retry_at_micros.filter(|_| failed.fallback.is_none()),
            error: Some(failed.error.clone()),
        }));
        if failed.error.code != ModelFailed::NOT_CALLED {
            self.chain.failures += 1;
        }
        if let Some(name) = &failed.fallback {
            self.chain.index = self
                .fallback_index(name, failed.fallback_index)
                .ok_or_else(|| FoldError::new(kind, name))?;
            self.chain.failures = 0;
            self.change_model();
        }
        Ok(())
    }

    fn answer(&mut self, completed: &ModelCompleted) {
        self.chain.failures = 0;
        self.last_step = self.last_step.max(completed.step.0);
        self.ledger.used(completed.usage);
        if let Purpose::Summary { keep_from } = completed.purpose {
            // Words of a refusal sum up nothing.
            let text = match completed.finish {
                FinishReason::ContentFilter => "",
                FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Length => {
                    &*completed.output
                }
            };
            self.keep_summary(keep_from, text);
            self.enter(Phase::DECIDING);
            return;
        }
        self.measure(completed);
        self.conversation.answered(completed);
        self.enter(match completed.calls {
            0 => Phase::DECIDING,
            calls => Phase::Calling(OpenTurn {
                expected: calls as usize,
                calls: Vec::new(),
            }),
        });
    }

    fn called(&mut self, kind: &'static str, called: &ToolCalled) -> Result<(), FoldError> {
        match self.phase.call_mut(called.step) {
            // The gate's new word on a call of a fork; the model has asked for it already.
            Some(state) if state.progress == Progress::Reset => {
                let edited = state.edited;
                *state = CallState::new(called.clone());
                state.edited = edited;
            }
            Some(_) => return Err(FoldError::new(kind, called.step)),
            None => {
                if let Phase::Deciding { .. } = self.phase {
                    // An answer that said nothing of its calls.
                    self.phase = Phase::Calling(OpenTurn::default());
                }
                let Phase::Calling(turn) = &mut self.phase else {
                    return Err(FoldError::new(kind, called.step));
                };
                turn.calls.push(CallState::new(called.clone()));
                self.last_step = self.last_step.max(called.step.0);
                self.conversation.called(called);
            }
        }
        self.close_turn();
        Ok(())
    }

    /// The record is told how a call in doubt was settled.
    fn resolved(&mut self, step: StepId, outcome: EffectOutcome) {
        if let Some(state) = self.phase.open_call(step) {
            self.effects.resolved(state, outcome);
        }
    }

    pub(super) fn settle(
        &mut self,
        kind: &'static str,
        step: StepId,
        content: String,
        is_error: bool,
    ) -> Result<(), FoldError> {
        let images = Vec::new();
        let settled = Progress::Settled {
            content,
            is_error,
            images,
        };
        self.phase.progress(kind, step, settled)?;
        self.close_turn();
        Ok(())
    }

    /// Once every call of the turn is settled, their results join the conversation in the order of
    /// the calls.
    fn close_turn(&mut self) {
        let Phase::Calling(turn) = &mut self.phase else {
            return;
        };
        if !turn.is_settled() {
            return;
        }
        let calls = std::mem::take(&mut turn.calls);
        let may_be_forked =
            calls.iter().any(CallState::is_refused) && !self.conversation.has_added();
        let closed = may_be_forked.then(|| ClosedTurn {
            calls: calls.clone(),
            repairs: self.conversation.repairs,
        });
        self.conversation.close(calls);
        self.results.deliver();
        self.phase = Phase::Deciding { closed };
    }
}

/// A result as text for the model: a string as it is, other values as JSON.
fn text(output: &Value) -> String {
    match output {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            output.to_string()
        }
    }
}
