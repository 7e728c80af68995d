//! The fold: one event more.

use serde_json::Value;

use super::{CallState, Outcome, Progress, Run, Turn};
use crate::{
    event::{
        Event, FinishReason, ModelCompleted, Resolution, RunStarted, StepId, ToolCalled, Verdict,
    },
    memory::ShortTermMemory as _,
    model::{Message, MessageCall},
};

/// An event that cannot follow the ones before it: the log was written by a defect, or damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{kind}` of {step} cannot follow the events before it")]
pub struct FoldError {
    kind: &'static str,
    step: StepId,
}

impl Run {
    /// The run after one more event.
    ///
    /// # Errors
    /// [`FoldError`] if the event speaks of a step that the run does not know.
    pub fn apply(&mut self, event: &Event) -> Result<(), FoldError> {
        match event {
            Event::RunStarted(started) => self.start(started),
            Event::ModelStarted(started) => {
                if let Some(unknown) = self.model.take() {
                    self.charged_tokens += unknown.reserved_tokens;
                }
                self.failed_model = None;
                self.last_step = self.last_step.max(started.step.0);
                self.model = Some(started.clone());
            }
            Event::ModelCompleted(completed) => self.answer(completed),
            Event::ModelFailed(failed) => {
                self.model = None;
                self.failed_model = Some((failed.step, failed.attempt));
                self.model_failures += 1;
                self.charged_tokens += failed.charged_tokens;
            }
            Event::ToolCalled(called) => self.called(called),
            Event::ToolStarted(started) => {
                let progress = Progress::Started {
                    attempt: started.attempt,
                };
                self.progress(event.kind(), started.step, progress)?;
            }
            Event::ToolCompleted(completed) => {
                if let Some(handle) = &completed.handle {
                    self.results.insert(completed.step, handle.clone());
                }
                for file in &completed.files {
                    self.files.insert(file.path.clone(), file.digest.clone());
                }
                self.settle(event.kind(), completed.step, text(&completed.output), false)?;
            }
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
                    self.progress(event.kind(), resolved.step, Progress::Queued)?
                }
            },
            Event::WaitStarted(_) => {}
            Event::RunCompleted(completed) => {
                self.outcome = Some(Outcome::Completed(completed.output.clone()));
            }
            Event::RunFailed(failed) => self.outcome = Some(Outcome::Failed(failed.error.clone())),
        }
        Ok(())
    }

    fn start(&mut self, started: &RunStarted) {
        self.goal.clone_from(&started.goal);
        if !started.config.instructions.is_empty() {
            let content = started.config.instructions.clone();
            self.memory.add_message(Message::System { content });
        }
        self.memory.add_message(Message::User {
            content: started.goal.clone(),
        });
        self.config = Some(started.config.clone());
    }

    fn answer(&mut self, completed: &ModelCompleted) {
        self.model = None;
        self.failed_model = None;
        self.model_failures = 0;
        self.last_step = self.last_step.max(completed.step.0);
        self.usage += completed.usage;
        self.calls.clear();
        self.expected_calls = completed.calls as usize;
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
            self.memory.add_message(Message::User {
                content:
                    "Your last answer was empty. Call a tool, or give the final answer as text."
                        .to_owned(),
            });
        } else {
            self.turn = Turn::Answered {
                text: completed.output.clone(),
                finish: completed.finish,
            };
        }
    }

    fn called(&mut self, called: &ToolCalled) {
        self.last_step = self.last_step.max(called.step.0);
        self.memory.extend_calls(MessageCall {
            step: called.step,
            provider_id: called.provider_id.clone(),
            name: called.name.clone(),
            arguments: called.input.clone(),
        });
        let (progress, tries) = match &called.verdict {
            Verdict::Start => (Progress::Started { attempt: 1 }, 1),
            Verdict::Queue => (Progress::Queued, 0),
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
        self.calls.push(CallState {
            call: called.clone(),
            progress,
            tries,
        });
        self.close_turn();
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
            .ok_or(FoldError { kind, step })?;
        if let Progress::Started { attempt } = progress {
            state.tries = attempt;
        }
        state.progress = progress;
        Ok(())
    }

    fn settle(
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

    /// Once every call of the turn is settled, their results join the conversation in the order of
    /// the calls.
    fn close_turn(&mut self) {
        let settled = |state: &CallState| matches!(state.progress, Progress::Settled { .. });
        if self.calls.len() < self.expected_calls || !self.calls.iter().all(settled) {
            return;
        }
        let refused = |state: &CallState| matches!(state.call.verdict, Verdict::Refuse { .. });
        self.repairs = if self.calls.iter().all(refused) {
            self.repairs + 1
        } else {
            0
        };
        for state in std::mem::take(&mut self.calls) {
            let Progress::Settled { content, is_error } = state.progress else {
                continue;
            };
            self.memory.add_message(Message::Tool {
                step: state.call.step,
                provider_id: state.call.provider_id,
                name: state.call.name,
                content,
                is_error,
            });
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
