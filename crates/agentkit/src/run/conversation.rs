//! The conversation of a run, and how the model's answers in it were read.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    phase::{CallState, Progress},
    segment::Size,
};
use crate::{
    event::{Failure, FinishReason, ModelCompleted, Plan, ToolCalled},
    memory::{ShortTermMemory as _, Window},
    model::{Image, Message, MessageCall},
};

/// Of an answer that cannot be used, the model is shown so many bytes.
const QUOTE_LIMIT: usize = 8 * 1024;
/// How much of changed arguments the model is told, in bytes.
const MAX_EDITED: usize = 2 * 1024;

/// Where the conversation stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// The model has the next turn.
    #[default]
    Open,
    /// The model answered without asking for a call.
    Answered {
        /// Its words.
        text: String,
        /// Why the model stopped.
        finish: FinishReason,
        /// The run's answer as it was read, where it is not the words themselves.
        #[serde(default)]
        answer: Option<Value>,
    },
}

/// An unusable answer. The model sees the last unusable answer and no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Its words, or the beginning of them.
    pub text: String,
    /// The mistake in the answer.
    pub error: Failure,
    /// How many such answers came in a row.
    pub count: u32,
}

/// The conversation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Conversation {
    pub(super) memory: Window,
    pub(super) size: Size,
    pub(super) turn: Turn,
    /// The last unusable answer, until a usable answer comes.
    pub(super) refused: Option<Refused>,
    /// How often the model has answered.
    pub(super) answers: u32,
    /// Turns in a row whose calls were all invalid, or that were empty.
    pub(super) repairs: u32,
    /// Whether the last answer was cut at its output limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) cut: bool,
    pub(super) plan: Option<Plan>,
    /// Messages of a person while calls were open; the model reads them after the calls' results.
    added: Vec<String>,
}

impl Conversation {
    /// Takes an answer in.
    pub(super) fn answered(&mut self, completed: &ModelCompleted) {
        self.memory.reach(completed.step);
        self.answers += 1;
        self.cut = completed.finish == FinishReason::Length;
        self.turn = Turn::Open;
        if let Some(error) = &completed.refused {
            self.refused = Some(Refused {
                text: completed.output[..completed.output.floor_char_boundary(QUOTE_LIMIT)]
                    .to_owned(),
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
        if empty {
            self.repairs += 1;
            self.memory.add_message(Message::user(
                "Your last answer was empty. Call a tool, or give the final answer as text.",
            ));
            return;
        }
        self.memory.add_message(Message::Assistant {
            content: completed.output.clone(),
            calls: Vec::new(),
            parts: completed.parts.clone(),
        });
        if completed.calls == 0 {
            self.turn = Turn::Answered {
                text: completed.output.clone(),
                finish: completed.finish,
                answer: completed.answer.clone(),
            };
        }
    }

    /// The answer asks for a call.
    pub(super) fn called(&mut self, called: &ToolCalled) {
        self.memory.reach(called.step);
        self.memory.extend_calls(MessageCall {
            step: called.step,
            provider_id: called.provider_id.clone(),
            name: called.name.clone(),
            arguments: called.input.clone(),
        });
    }

    /// A plan was made, for the model to read.
    pub(super) fn planned(&mut self, plan: &Plan, goal: &str) {
        self.turn = Turn::Open;
        let content = crate::planner::plan_message(plan, goal);
        self.memory.add_message(Message::user(content));
        self.plan = Some(plan.clone());
    }

    /// Another message of the person, which the model reads now or after the results of open calls.
    pub(super) fn add(&mut self, content: &str, calls_are_open: bool) {
        self.repairs = 0;
        if calls_are_open {
            self.added.push(content.to_owned());
            return;
        }
        self.turn = Turn::Open;
        self.memory.add_pinned(Message::user(content));
    }

    /// The next question begins, with these instructions.
    pub(super) fn ask(&mut self, instructions: &str, question: &str, images: &[Image]) {
        for content in std::mem::take(&mut self.added) {
            self.memory.add_message(Message::user(content));
        }
        self.memory.instruct(instructions);
        self.memory.add_message(Message::User {
            content: question.to_owned(),
            images: images.to_vec(),
        });
        self.turn = Turn::Open;
        self.refused = None;
        self.repairs = 0;
        self.cut = false;
        self.plan = None;
    }

    /// Whether a message was added that the model has not read.
    pub(super) fn has_added(&self) -> bool {
        !self.added.is_empty()
    }

    /// The results of a turn join the conversation, in the order of the calls.
    pub(super) fn close(&mut self, calls: Vec<CallState>) {
        self.repairs = match calls.iter().all(CallState::is_refused) {
            true => self.repairs + 1,
            false => 0,
        };
        for state in calls {
            let Progress::Settled {
                content,
                is_error,
                images,
            } = state.progress
            else {
                continue;
            };
            let content = match state.edited {
                true => edited(&state.call.input, &content),
                false => content,
            };
            self.memory.add_message(Message::Tool {
                step: state.call.step,
                provider_id: state.call.provider_id,
                name: state.call.name,
                content,
                is_error,
                images,
            });
        }
        for content in std::mem::take(&mut self.added) {
            self.memory.add_pinned(Message::user(content));
        }
    }

    /// Takes the results of the last turn back.
    pub(super) fn reopen(&mut self, calls: usize, repairs: u32) {
        self.memory.take_back(calls);
        self.repairs = repairs;
    }
}

/// The result of a call that did not run with the model's arguments, as the model is told it.
fn edited(input: &Value, content: &str) -> String {
    let input = input.to_string();
    let shown = &input[..input.floor_char_boundary(MAX_EDITED)];
    let dots = if shown.len() < input.len() { "..." } else { "" };
    format!("a person changed the arguments of this call to {shown}{dots}\n{content}")
}
