//! Short-term memory: the conversation of a run, and the part of it that a model is sent.

mod context;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use self::context::Context;
use crate::model::{Message, MessageCall};

/// What an agent remembers within a run.
pub trait ShortTermMemory {
    /// Adds the newest message.
    fn add_message(&mut self, message: Message);
    /// The part of the conversation that fits into so many tokens, oldest first. The instructions
    /// and the goal always stay, calls and their results are never parted, and the newest exchange
    /// stays even if it alone is too large.
    fn get_context(&self, max_tokens: u64) -> Vec<Arc<Message>>;
    /// Forgets everything.
    fn clear(&mut self);
}

/// The whole conversation, of which the newest part is shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    messages: Vec<Arc<Message>>,
    /// The tokens of each message and all before it: what is shown is found without adding up a
    /// long run again at each of its steps.
    sums: Vec<u64>,
}

impl Window {
    /// Every message, oldest first.
    #[must_use]
    pub fn messages(&self) -> &[Arc<Message>] {
        &self.messages
    }

    /// Adds a call to the newest message, which must be the model's.
    pub(crate) fn extend_calls(&mut self, call: MessageCall) {
        if let (Some(message), Some(sum)) = (self.messages.last_mut(), self.sums.last_mut())
            && let Message::Assistant { calls, .. } = Arc::make_mut(message)
        {
            *sum += (call.name.len() + json_len(&call.arguments)) as u64 / 4;
            calls.push(call);
        }
    }

    /// How many of the first messages are always shown: instructions and goal.
    fn pinned(&self) -> usize {
        self.messages
            .iter()
            .take(2)
            .take_while(|message| {
                matches!(***message, Message::System { .. } | Message::User { .. })
            })
            .count()
    }

    /// The tokens of the first `count` messages.
    fn sum(&self, count: usize) -> u64 {
        count.checked_sub(1).map_or(0, |last| self.sums[last])
    }

    /// Where the shown tail begins.
    fn tail(&self, max_tokens: u64) -> usize {
        let (pinned, end) = (self.pinned(), self.messages.len());
        let left = max_tokens.saturating_sub(self.sum(pinned));
        // Everything from here on fits.
        let hidden = self.sum(end).saturating_sub(left);
        let start = match self.sum(pinned) >= hidden {
            true => pinned,
            false => pinned + 1 + self.sums[pinned..].partition_point(|sum| *sum < hidden),
        };
        // A result is not shown without its call, and the newest exchange is in any case.
        let begins = |index: &usize| !matches!(*self.messages[*index], Message::Tool { .. });
        (start..end)
            .find(begins)
            .or_else(|| (pinned..end).rev().find(begins))
            .unwrap_or(end)
    }

    /// The estimated tokens of what [`ShortTermMemory::get_context`] gives.
    #[must_use]
    pub fn context_tokens(&self, max_tokens: u64) -> u64 {
        let hidden = self.sum(self.tail(max_tokens)) - self.sum(self.pinned());
        self.sum(self.messages.len()) - hidden
    }
}

impl ShortTermMemory for Window {
    fn add_message(&mut self, message: Message) {
        let before = self.sum(self.messages.len());
        self.sums.push(before + estimate_tokens(&message));
        self.messages.push(Arc::new(message));
    }

    fn get_context(&self, max_tokens: u64) -> Vec<Arc<Message>> {
        let (pinned, tail) = (self.pinned(), self.tail(max_tokens));
        self.messages[..pinned]
            .iter()
            .chain(&self.messages[tail..])
            .cloned()
            .collect()
    }

    fn clear(&mut self) {
        self.messages.clear();
        self.sums.clear();
    }
}

/// What an image counts, about.
const IMAGE_TOKENS: usize = 1_500;

/// A message's tokens: four bytes each and four for its frame, which is near enough to check a
/// budget before a call; the provider's own count is what is charged after it.
fn estimate_tokens(message: &Message) -> u64 {
    let bytes = match message {
        Message::System { content } => content.len(),
        // What an image counts depends on its size and on the model; this is a common figure.
        Message::User { content, images } => content.len() + images.len() * 4 * IMAGE_TOKENS,
        Message::Tool { content, name, .. } => content.len() + name.len(),
        Message::Assistant {
            content,
            calls,
            parts,
        } => {
            let calls: usize = calls
                .iter()
                .map(|call| call.name.len() + json_len(&call.arguments))
                .sum();
            content.len() + calls + parts.as_ref().map_or(0, json_len)
        }
    };
    bytes as u64 / 4 + 4
}

/// About how many bytes a value takes as JSON text.
fn json_len(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| json_len(item) + 1).sum::<usize>(),
        Value::Object(map) => {
            2 + map
                .iter()
                .map(|(key, value)| key.len() + 4 + json_len(value))
                .sum::<usize>()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::StepId, model::MessageCall};

    fn exchange(window: &mut Window, step: u32, size: usize) {
        window.add_message(Message::Assistant {
            content: String::new(),
            calls: vec![MessageCall {
                step: StepId(step),
                provider_id: format!("p{step}"),
                name: "read".into(),
                arguments: serde_json::json!({}),
            }],
            parts: None,
        });
        window.add_message(Message::Tool {
            step: StepId(step),
            provider_id: format!("p{step}"),
            name: "read".into(),
            content: "x".repeat(size),
            is_error: false,
        });
    }

    fn filled() -> Window {
        let mut window = Window::default();
        window.add_message(Message::System {
            content: "be exact".into(),
        });
        window.add_message(Message::user("goal"));
        for step in 1..=10 {
            exchange(&mut window, step, 400);
        }
        window
    }

    #[test]
    fn everything_is_shown_while_it_fits() {
        let window = filled();
        assert_eq!(window.get_context(100_000), window.messages());
    }

    #[test]
    fn the_oldest_exchanges_go_first_and_pairs_stay_together() {
        let window = filled();
        let shown = window.get_context(400);
        assert!(matches!(*shown[0], Message::System { .. }));
        assert!(matches!(&*shown[1], Message::User { content, .. } if content == "goal"));
        assert!(matches!(*shown[2], Message::Assistant { .. }));
        assert_eq!(shown.len() % 2, 0);
        assert_eq!(shown.last(), window.messages().last());
        assert!(shown.len() < window.messages().len());
        assert!(window.context_tokens(400) <= 400);
    }

    #[test]
    fn the_newest_exchange_stays_even_if_it_is_too_large() {
        let mut window = filled();
        exchange(&mut window, 11, 40_000);
        assert_eq!(window.get_context(400).len(), 4);
        window.clear();
        assert!(window.get_context(400).is_empty());
    }

    /// What is shown, added up from the end, message by message.
    fn shown(window: &Window, max_tokens: u64) -> Vec<Arc<Message>> {
        let tokens = |message: &Arc<Message>| estimate_tokens(message);
        let (pinned, rest) = window.messages.split_at(window.pinned());
        let mut left = max_tokens.saturating_sub(pinned.iter().map(tokens).sum());
        let (mut start, mut group) = (rest.len(), 0);
        for (index, message) in rest.iter().enumerate().rev() {
            group += tokens(message);
            if matches!(**message, Message::Tool { .. }) {
                continue;
            }
            if group > left && start < rest.len() {
                break;
            }
            left = left.saturating_sub(group);
            start = index;
            group = 0;
        }
        [pinned, &rest[start..]].concat()
    }

    proptest::proptest! {
        #[test]
        fn sums_find_the_same_messages_as_adding_up(
            pinned in 0_usize..=2,
            sizes in proptest::collection::vec(proptest::collection::vec(0_usize..120, 0..4), 0..12),
            max_tokens in 0_u64..400,
        ) {
            let mut window = Window::default();
            for _ in 0..pinned {
                window.add_message(Message::user("x".repeat(30)));
            }
            for (step, results) in (1..).zip(&sizes) {
                window.add_message(Message::Assistant {
                    content: "w".repeat(results.len()),
                    calls: Vec::new(),
                    parts: None,
                });
                for size in results {
                    window.add_message(Message::Tool {
                        step: StepId(step),
                        provider_id: String::new(),
                        name: "read".into(),
                        content: "x".repeat(*size),
                        is_error: false,
                    });
                }
            }
            let context = window.get_context(max_tokens);
            proptest::prop_assert_eq!(&context, &shown(&window, max_tokens));
            let tokens: u64 = context.iter().map(|message| estimate_tokens(message)).sum();
            proptest::prop_assert_eq!(window.context_tokens(max_tokens), tokens);
        }
    }
}
