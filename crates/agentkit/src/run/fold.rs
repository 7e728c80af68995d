//! The fold: one event more.

use std::sync::Arc;

use serde_json::Value;

use super::{
    CallState, ClosedTurn, FailedCall, Limits, Outcome, Progress, Refused, Run, Turn, outside,
};
use crate::{
    event::{
        Event, FinishReason, ModelCompleted, ModelFailed, Purpose, Resolution, RunStarted, StepId,
        ToolCalled, Verdict,
    },
    memory::ShortTermMemory as _,
    model::{Message, MessageCall, ModelErrorKind},
    planner,
};

/// Of an answer that cannot be used, the model is shown so many bytes.
const KEPT: usize = 8 * 1024;

/// An event that cannot follow the ones before it: the log was written by a defect, or damaged.
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
    /// The run after one more event.
    ///
    /// # Errors
    /// [`FoldError`] if the event speaks of a step or a child that the run does not know, or of one
    /// that is settled. What comes from outside may come late: then it changes nothing.
    pub fn apply(&mut self, event: &Event) -> Result<(), FoldError> {
        match event {
            Event::RunStarted(started) => self.start(started),
            Event::ModelStarted(started) => {
                self.closed = None;
                if let Some(unknown) = self.model.take() {
                    self.charge(unknown.reserved_tokens, unknown.reserved_cost_micros);
                }
                self.failed_model = None;
                self.last_step = self.last_step.max(started.step.0);
                self.model = Some(started.clone());
            }
            Event::ModelCompleted(completed) => self.answer(completed),
            Event::ModelFailed(failed) => {
                let purpose = self.model.take().map(|started| started.purpose);
                let purpose = purpose.unwrap_or_default();
                if !purpose.is_summary()
                    && failed.error.code == ModelErrorKind::ContextOverflow.code()
                {
                    self.overflowed();
                }
                self.failed_model = Some(FailedCall {
                    step: failed.step,
                    attempt: failed.attempt,
                    purpose,
                    // The next model of a chain is another matter.
                    retry_at_micros: failed.retry_at_micros.filter(|_| failed.fallback.is_none()),
                });
                if failed.error.code != ModelFailed::NOT_CALLED {
                    self.model_failures += 1;
                }
                self.charge(failed.charged_tokens, failed.charged_cost_micros);
                if failed.fallback.is_some() {
                    self.fallback.clone_from(&failed.fallback);
                    self.model_failures = 0;
                    self.change_model();
                }
            }
            Event::PlanUpdated(updated) => {
                self.closed = None;
                self.turn = Turn::Open;
                let content = planner::plan_message(&updated.plan, &self.goal);
                self.memory.add_message(Message::user(content));
                self.plan = Some(updated.plan.clone());
            }
            Event::ToolCalled(called) => self.called(event.kind(), called)?,
            Event::ToolStarted(started) => {
                let progress = Progress::Started {
                    attempt: started.attempt,
                };
                self.progress(event.kind(), started.step, progress)?;
                if let Some(key) = &started.key
                    && let Some(state) = self
                        .calls
                        .iter_mut()
                        .find(|it| it.call.step == started.step)
                {
                    state.call.key = Some(key.clone());
                }
            }
            Event::ToolCompleted(completed) => {
                self.take_signal(completed.step);
                if let Some(handle) = &completed.handle {
                    self.new_results.push((completed.step, handle.clone()));
                }
                for file in &completed.files {
                    self.files.insert(file.path.clone(), file.digest.clone());
                }
                if let Some(child) = &completed.child {
                    self.child_started(completed.step, child);
                }
                self.settle(event.kind(), completed.step, text(&completed.output), false)?;
            }
            Event::ToolFailed(failed) if self.is_late(failed.step) => {}
            Event::ToolFailed(failed) => {
                self.settle(
                    event.kind(),
                    failed.step,
                    failed.error.message.clone(),
                    true,
                )?;
            }
            Event::ToolResolved(resolved) => match &resolved.resolution {
                Resolution::Done { output } => {
                    self.settle(event.kind(), resolved.step, text(output), false)?;
                }
                Resolution::Failed { message } => {
                    self.settle(event.kind(), resolved.step, message.clone(), true)?;
                }
                Resolution::Retry => {
                    // What a person approved is looked at once more before it runs.
                    let asked = self.call(resolved.step).is_some_and(CallState::was_asked);
                    let progress = match asked {
                        true => Progress::Approved,
                        false => Progress::Queued,
                    };
                    self.progress(event.kind(), resolved.step, progress)?;
                }
            },
            Event::ToolWaiting(waiting) => {
                let wait = waiting.wait.clone();
                self.progress(event.kind(), waiting.step, Progress::Waiting { wait })?;
            }
            Event::ToolApproved(approved) => self.approved(event.kind(), approved)?,
            Event::ToolDenied(denied) => self.denied(event.kind(), denied)?,
            Event::ToolReset(reset) => self.reset(event.kind(), reset)?,
            Event::SignalReceived(signal) => self.signalled(signal),
            Event::ChildEnded(ended) => self.child_ended(event.kind(), ended)?,
            Event::MessageAdded(added) => self.add(&added.content),
            Event::LimitsChanged(changed) => self.limit(&changed.limits),
            Event::SegmentOpened(opened) => {
                self.closed = None;
                self.open_segment(opened)?;
            }
            Event::WaitStarted(_) => {}
            Event::RunCompleted(completed) => {
                self.outcome = Some(Outcome::Completed(completed.output.clone()));
            }
            Event::RunFailed(failed) => self.outcome = Some(Outcome::Failed(failed.error.clone())),
        }
        Ok(())
    }

    /// What counts for a call whose usage is not known.
    fn charge(&mut self, tokens: u64, cost_micros: u64) {
        self.charged_tokens = self.charged_tokens.saturating_add(tokens);
        self.charged_cost_micros = self.charged_cost_micros.saturating_add(cost_micros);
    }

    fn start(&mut self, started: &RunStarted) {
        self.goal.clone_from(&started.goal);
        if !started.config.instructions.is_empty() {
            let content = started.config.instructions.clone();
            self.memory.add_message(Message::System { content });
        }
        self.memory.add_message(Message::User {
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

    fn answer(&mut self, completed: &ModelCompleted) {
        self.model = None;
        self.failed_model = None;
        self.model_failures = 0;
        self.last_step = self.last_step.max(completed.step.0);
        self.usage += completed.usage;
        if let Purpose::Summary { keep_from } = completed.purpose {
            // Words of a refusal sum up nothing.
            let text = match completed.finish {
                FinishReason::ContentFilter => "",
                FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Length => {
                    &*completed.output
                }
            };
            self.keep_summary(keep_from, text);
            return;
        }
        self.measure(completed);
        self.memory.reach(completed.step);
        self.calls.clear();
        self.expected_calls = completed.calls as usize;
        self.answers += 1;
        if let Some(error) = &completed.refused {
            self.turn = Turn::Open;
            self.refused = Some(Refused {
                text: completed.output[..completed.output.floor_char_boundary(KEPT)].to_owned(),
                error: error.clone(),
                count: self.refused.as_ref().map_or(0, |last| last.count) + 1,
            });
            return;
        }
        self.refused = None;
        let whole = matches!(
            completed.finish,
            FinishReason::Stop | FinishReason::ToolCalls
        );
        let empty = whole && completed.calls == 0 && completed.output.trim().is_empty();
        if !empty {
            self.memory.add_message(Message::Assistant {
                content: completed.output.clone(),
                calls: Vec::new(),
                parts: completed.parts.clone(),
            });
        }
        if completed.calls > 0 {
            self.turn = Turn::Open;
        } else if empty {
            self.repairs += 1;
            self.turn = Turn::Open;
            self.memory.add_message(Message::user(
                "Your last answer was empty. Call a tool, or give the final answer as text.",
            ));
        } else {
            self.turn = Turn::Answered {
                text: completed.output.clone(),
                finish: completed.finish,
                answer: completed.answer.clone(),
            };
        }
    }

    fn called(&mut self, kind: &'static str, called: &ToolCalled) -> Result<(), FoldError> {
        let (progress, tries) = match &called.verdict {
            Verdict::Start => (Progress::Started { attempt: 1 }, 1),
            Verdict::Queue => (Progress::Queued, 0),
            Verdict::Ask { until_micros, .. } => {
                let until_micros = *until_micros;
                (Progress::Asked { until_micros }, 0)
            }
            Verdict::Refuse { error } => {
                let content = error.message.clone();
                (
                    Progress::Settled {
                        content,
                        is_error: true,
                    },
                    0,
                )
            }
        };
        let known = self
            .calls
            .iter_mut()
            .find(|state| state.call.step == called.step);
        match known {
            // The gate's new word on a call of a fork; the model has asked for it already.
            Some(state) if state.progress == Progress::Reset => {
                state.call = called.clone();
                state.progress = progress;
                state.tries = tries;
            }
            Some(_) => return Err(FoldError::new(kind, called.step)),
            None => {
                self.last_step = self.last_step.max(called.step.0);
                self.memory.reach(called.step);
                self.memory.extend_calls(MessageCall {
                    step: called.step,
                    provider_id: called.provider_id.clone(),
                    name: called.name.clone(),
                    arguments: called.input.clone(),
                });
                self.calls.push(CallState {
                    call: called.clone(),
                    progress,
                    tries,
                    edited: false,
                });
            }
        }
        self.close_turn();
        Ok(())
    }

    fn progress(
        &mut self,
        kind: &'static str,
        step: StepId,
        progress: Progress,
    ) -> Result<(), FoldError> {
        let state = self
            .calls
            .iter_mut()
            .find(|state| state.call.step == step)
            .filter(|state| !matches!(state.progress, Progress::Settled { .. }))
            .ok_or_else(|| FoldError::new(kind, step))?;
        if let Progress::Started { attempt } = progress {
            state.tries = attempt;
        }
        state.progress = progress;
        Ok(())
    }

    pub(super) fn settle(
        &mut self,
        kind: &'static str,
        step: StepId,
        content: String,
        is_error: bool,
    ) -> Result<(), FoldError> {
        self.progress(kind, step, Progress::Settled { content, is_error })?;
        self.close_turn();
        Ok(())
    }

    /// Whether calls of the last answer are not settled, or not recorded yet.
    pub(super) fn is_turn_open(&self) -> bool {
        !self.calls.is_empty() || self.expected_calls > 0
    }

    /// Takes back that a turn with this call was closed, if nothing has followed it.
    pub(super) fn reopen(&mut self, step: StepId) {
        let has = |turn: &mut ClosedTurn| turn.calls.iter().any(|state| state.call.step == step);
        if let Some(turn) = self.closed.take_if(has) {
            self.memory.take_back(turn.calls.len());
            self.repairs = turn.repairs;
            self.expected_calls = turn.calls.len();
            self.calls = turn.calls;
        }
    }

    /// Once every call of the turn is settled, their results join the conversation in the order of
    /// the calls.
    fn close_turn(&mut self) {
        let settled = |state: &CallState| matches!(state.progress, Progress::Settled { .. });
        if self.calls.len() < self.expected_calls || !self.calls.iter().all(settled) {
            return;
        }
        let refused = |state: &CallState| matches!(state.call.verdict, Verdict::Refuse { .. });
        self.closed = None;
        if self.calls.iter().any(refused) && self.added.is_empty() {
            self.closed = Some(ClosedTurn {
                calls: self.calls.clone(),
                repairs: self.repairs,
            });
        }
        self.repairs = if self.calls.iter().all(refused) {
            self.repairs + 1
        } else {
            0
        };
        for state in std::mem::take(&mut self.calls) {
            let Progress::Settled { content, is_error } = state.progress else {
                continue;
            };
            let content = match state.edited {
                true => outside::edited(&state.call.input, &content),
                false => content,
            };
            self.memory.add_message(Message::Tool {
                step: state.call.step,
                provider_id: state.call.provider_id,
                name: state.call.name,
                content,
                is_error,
            });
        }
        self.expected_calls = 0;
        if !self.new_results.is_empty() {
            Arc::make_mut(&mut self.results).extend(self.new_results.drain(..));
        }
        for content in std::mem::take(&mut self.added) {
            self.memory.add_pinned(Message::user(content));
        }
    }
}

/// What the model is told a result is: a string as it is, anything else as JSON.
fn text(output: &Value) -> String {
    match output {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            output.to_string()
        }
    }
}
