//! The part of a conversation that a model is sent, kept from one call to the next.

use std::sync::Arc;

use super::Window;
use crate::model::Message;

/// What [`super::ShortTermMemory::get_context`] gives, brought up to date in place: a long run's
/// window holds thousands of messages, of which one call adds a few and hides a few.
#[derive(Debug, Default)]
pub(crate) struct Context {
    messages: Vec<Arc<Message>>,
    /// Which messages of the window are in it: the first `pinned` ones, and `start..end`.
    pinned: usize,
    start: usize,
    end: usize,
}

impl Context {
    /// Takes the messages out, brought up to date, for one call.
    pub(crate) fn take(&mut self, window: &Window, max_tokens: u64) -> Vec<Arc<Message>> {
        let (pinned, start) = (window.pinned(), window.tail(max_tokens));
        let mut messages = std::mem::take(&mut self.messages);
        let kept = messages.len() == self.pinned + (self.end - self.start);
        if kept && self.pinned == pinned && self.start <= start && self.end >= start {
            messages.drain(pinned..pinned + (start - self.start));
            messages.extend_from_slice(&window.messages[self.end..]);
        } else {
            messages.clear();
            messages.extend_from_slice(&window.messages[..pinned]);
            messages.extend_from_slice(&window.messages[start..]);
        }
        (self.pinned, self.start, self.end) = (pinned, start, window.messages.len());
        messages
    }

    /// Puts them back after the call, unchanged. If nobody does, they are put together anew.
    pub(crate) fn put_back(&mut self, messages: Vec<Arc<Message>>) {
        self.messages = messages;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::StepId, memory::ShortTermMemory as _};

    proptest::proptest! {
        #[test]
        fn it_is_what_the_window_shows(
            turns in proptest::collection::vec(
                (0_usize..200, proptest::collection::vec(0_usize..200, 0..3), 0_u64..400, proptest::bool::ANY),
                1..30,
            ),
        ) {
            let mut window = Window::default();
            let mut context = Context::default();
            for (said, results, max_tokens, back) in turns {
                window.add_message(Message::Assistant {
                    content: "w".repeat(said),
                    calls: Vec::new(),
                    parts: None,
                });
                for size in results {
                    window.add_message(Message::Tool {
                        step: StepId(1),
                        provider_id: String::new(),
                        name: "read".into(),
                        content: "x".repeat(size),
                        is_error: false,
                    });
                }
                let messages = context.take(&window, max_tokens);
                proptest::prop_assert_eq!(&messages, &window.get_context(max_tokens));
                if back {
                    context.put_back(messages);
                }
            }
        }
    }

    #[test]
    fn what_stays_in_the_window_is_not_taken_again() {
        let mut window = Window::default();
        let mut context = Context::default();
        for turn in 0..1_000 {
            window.add_message(Message::Assistant {
                content: "w".repeat(40),
                calls: Vec::new(),
                parts: None,
            });
            let messages = context.take(&window, 1_000);
            let place = messages.as_ptr();
            assert!(messages.len() <= 72);
            context.put_back(messages);
            if turn > 200 {
                assert_eq!(context.messages.as_ptr(), place);
                assert_eq!(Arc::strong_count(&context.messages[0]), 2);
            }
        }
    }
}
