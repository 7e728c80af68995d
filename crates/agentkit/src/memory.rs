//! Memory: the conversation of a run, as its model is sent it (short-term), and facts that outlive runs
//! ([`long_term`]).

mod compact;
mod context;
mod estimate;
pub mod long_term;
mod transcript;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use self::{
    compact::{Bounds, Plan},
    context::Context,
    estimate::{IMAGE_TOKENS, estimate_tokens, json_tokens, specs_tokens},
    transcript::transcript,
};
use crate::{
    event::StepId,
    model::{Message, MessageCall},
};

/// Memory of an agent within a run.
pub trait ShortTermMemory {
    /// Adds the newest message.
    fn add_message(&mut self, message: Message);
    /// The part of the conversation that fits into so many tokens, oldest first. Pinned messages,
    /// such as the instructions and the goal, always stay, calls and their results are never parted,
    /// and the newest exchange stays even if it alone is too large.
    fn get_context(&self, max_tokens: u64) -> Vec<Arc<Message>>;
    /// Forgets all messages.
    fn clear(&mut self);
}

/// The conversation of a run. The conversation grows until compaction: the log alone keeps all messages.
///
/// A *segment* is the part of a run in which messages are only ever added. Compacting the conversation, or
/// going on with another model, begins the next segment; opaque parts of a provider, which are bound to
/// earlier messages, end with their segment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    messages: Vec<Arc<Message>>,
    marks: Vec<Mark>,
    /// The tokens of all messages.
    tokens: u64,
    /// The last step that the run has reached.
    step: StepId,
    segment: u32,
    /// The index of the pinned record of effects. All messages before the record are pinned as well, so that
    /// the index stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record: Option<usize>,
}

/// Properties of a message beside its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// The last step when it came; a tool's result is of its own step.
    step: StepId,
    /// The message is never compacted.
    pinned: bool,
    /// About how many tokens it has.
    tokens: u64,
}

impl Window {
    /// The messages, oldest first.
    #[must_use]
    pub fn messages(&self) -> &[Arc<Message>] {
        &self.messages
    }

    /// About how many tokens the messages have.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// The number of the segment, from 0.
    #[must_use]
    pub fn segment(&self) -> u32 {
        self.segment
    }

    /// Adds a message that is never compacted.
    pub fn add_pinned(&mut self, message: Message) {
        self.push(message, self.step, true);
    }

    /// Replaces the instructions at the beginning; an empty text removes the instructions.
    pub(crate) fn instruct(&mut self, content: &str) {
        let first = self.messages.first().map(|message| &**message);
        if matches!(first, Some(Message::System { .. })) {
            self.messages.remove(0);
            self.marks.remove(0);
            self.record = self.record.map(|index| index - 1);
        }
        if !content.is_empty() {
            let message = Message::System {
                content: content.to_owned(),
            };
            let mark = Mark {
                step: StepId(0),
                pinned: true,
                tokens: estimate_tokens(&message),
            };
            self.messages.insert(0, Arc::new(message));
            self.marks.insert(0, mark);
            self.record = self.record.map(|index| index + 1);
        }
        self.tokens = self.marks.iter().map(|mark| mark.tokens).sum();
    }

    /// Pins the record of effects behind the instructions and the goal, in the place of the one before.
    pub(crate) fn pin_record(&mut self, text: String) {
        if let Some(index) = self.record.take() {
            self.messages.remove(index);
            self.marks.remove(index);
        }
        let index = self.marks.iter().take_while(|mark| mark.pinned).count();
        let message = Message::user(text);
        let mark = Mark {
            step: self.marks[..index]
                .last()
                .map_or(self.step, |mark| mark.step),
            pinned: true,
            tokens: estimate_tokens(&message),
        };
        self.messages.insert(index, Arc::new(message));
        self.marks.insert(index, mark);
        self.record = Some(index);
        self.tokens = self.marks.iter().map(|mark| mark.tokens).sum();
    }

    /// Tokens of the pinned record of effects.
    pub(crate) fn record_tokens(&self) -> u64 {
        let mark = self.record.and_then(|index| self.marks.get(index));
        mark.map_or(0, |mark| mark.tokens)
    }

    /// Messages that come from here on belong to this step, or follow it.
    pub(crate) fn reach(&mut self, step: StepId) {
        self.step = self.step.max(step);
    }

    /// Adds a call to the newest message, which must be the model's.
    pub(crate) fn extend_calls(&mut self, call: MessageCall) {
        if let (Some(message), Some(mark)) = (self.messages.last_mut(), self.marks.last_mut())
            && let Message::Assistant { calls, .. } = Arc::make_mut(message)
        {
            let tokens = estimate::call_bytes(&call) / 4;
            mark.tokens += tokens;
            self.tokens += tokens;
            calls.push(call);
        }
    }

    /// The next segment begins: opaque parts stay behind.
    pub(crate) fn next_segment(&mut self) {
        self.segment += 1;
        for (message, mark) in self.messages.iter_mut().zip(&mut self.marks) {
            if let Message::Assistant { parts: Some(_), .. } = **message {
                if let Message::Assistant { parts, .. } = Arc::make_mut(message) {
                    *parts = None;
                }
                mark.tokens = estimate_tokens(message);
            }
        }
        self.tokens = self.marks.iter().map(|mark| mark.tokens).sum();
    }

    /// Takes the newest messages out again.
    pub(crate) fn take_back(&mut self, count: usize) {
        let keep = self.messages.len().saturating_sub(count);
        self.messages.truncate(keep);
        self.tokens -= self
            .marks
            .drain(keep..)
            .map(|mark| mark.tokens)
            .sum::<u64>();
    }

    fn push(&mut self, message: Message, step: StepId, pinned: bool) {
        let tokens = estimate_tokens(&message);
        self.tokens += tokens;
        self.messages.push(Arc::new(message));
        self.marks.push(Mark {
            step,
            pinned,
            tokens,
        });
    }

    /// Where exchanges begin that may be compacted, newest first: a message of the model, and the messages
    /// up to its next one.
    fn exchanges(&self) -> impl Iterator<Item = usize> {
        let begins = |index: &usize| {
            !self.marks[*index].pinned
                && matches!(*self.messages[*index], Message::Assistant { .. })
        };
        (0..self.messages.len()).rev().filter(begins)
    }
}

impl ShortTermMemory for Window {
    /// Instructions and a goal at the beginning are pinned.
    fn add_message(&mut self, message: Message) {
        let leads = self.messages.len() < 2
            && matches!(message, Message::System { .. } | Message::User { .. })
            && self.marks.iter().all(|mark| mark.pinned);
        let step = match &message {
            Message::Tool { step, .. } => *step,
            Message::System { .. } | Message::User { .. } | Message::Assistant { .. } => self.step,
        };
        self.push(message, step, leads);
    }

    fn get_context(&self, max_tokens: u64) -> Vec<Arc<Message>> {
        let pinned: u64 = self
            .marks
            .iter()
            .filter(|mark| mark.pinned)
            .map(|mark| mark.tokens)
            .sum();
        let mut left = max_tokens.saturating_sub(pinned);
        let (mut start, mut end) = (self.messages.len(), self.messages.len());
        for index in self.exchanges() {
            let exchange = self.marks[index..end].iter().filter(|mark| !mark.pinned);
            let tokens: u64 = exchange.map(|mark| mark.tokens).sum();
            if tokens > left && start < self.messages.len() {
                break;
            }
            left = left.saturating_sub(tokens);
            (start, end) = (index, index);
        }
        let shown = |(index, mark): &(usize, &Mark)| mark.pinned || *index >= start;
        let marks = self.marks.iter().enumerate().filter(shown);
        marks
            .map(|(index, _)| Arc::clone(&self.messages[index]))
            .collect()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests;
