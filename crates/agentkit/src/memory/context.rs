//! The conversation as a model is sent it, kept from one call to the next.

use std::{collections::HashSet, sync::Arc};

use super::Window;
use crate::model::Message;

/// The messages of a window, brought up to date in place: one call adds a few to the many that are
/// there.
#[derive(Debug, Default)]
pub(crate) struct Context {
    messages: Vec<Arc<Message>>,
    segment: u32,
    /// The providers' ids of the calls in the messages: searching a long conversation for each call would
    /// make a late step cost more than an early step.
    ids: HashSet<Box<str>>,
}

impl Context {
    /// Takes the messages out, brought up to date, for one call.
    pub(crate) fn take(&mut self, window: &Window) -> Vec<Arc<Message>> {
        let mut messages = std::mem::take(&mut self.messages);
        if self.segment != window.segment || messages.len() > window.messages.len() {
            messages.clear();
        }
        self.segment = window.segment;
        if messages.is_empty() {
            self.ids.clear();
        }
        let new = &window.messages[messages.len()..];
        for message in new {
            if let Message::Assistant { calls, .. } = &**message {
                let ids = calls.iter().map(|call| call.provider_id.as_str().into());
                self.ids.extend(ids);
            }
        }
        messages.extend_from_slice(new);
        messages
    }

    /// Whether the model made a call with this id of its provider before.
    pub(crate) fn has_call(&self, provider_id: &str) -> bool {
        self.ids.contains(provider_id)
    }

    /// Puts the messages back after the call, unchanged. Without that, the context builds them anew.
    pub(crate) fn put_back(&mut self, messages: Vec<Arc<Message>>) {
        self.messages = messages;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::StepId, memory::ShortTermMemory as _};

    fn said(window: &mut Window) {
        window.add_message(Message::Assistant {
            content: "w".repeat(40),
            calls: Vec::new(),
            parts: None,
        });
    }

    #[test]
    fn what_was_sent_before_is_not_taken_again() {
        let (mut window, mut context) = (Window::default(), Context::default());
        for turn in 1..=1_000 {
            window.reach(StepId(turn));
            said(&mut window);
            let messages = context.take(&window);
            assert_eq!(messages, window.messages());
            assert_eq!(Arc::strong_count(&messages[0]), 2);
            context.put_back(messages);
        }
    }

    #[test]
    fn a_new_segment_is_taken_anew_and_so_is_what_was_not_put_back() {
        let (mut window, mut context) = (Window::default(), Context::default());
        for _ in 0..9 {
            said(&mut window);
        }
        let messages = context.take(&window);
        context.put_back(messages);
        window.next_segment();
        window.messages.truncate(3);
        window.marks.truncate(3);
        said(&mut window);
        assert_eq!(context.take(&window), window.messages());
        assert_eq!(context.take(&window), window.messages());
    }
}
