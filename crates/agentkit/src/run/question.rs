//! The next question of a conversation: `run.started` after the end of the question before.

use super::{Chain, Progress, Run, phase::Phase};
use crate::event::RunStarted;

/// The result, for the model, of a call that was under way when its run ended.
const UNKNOWN: &str =
    "the run ended before the outcome of this call was known: the call may have taken effect";
/// The result, for the model, of a call that had not begun by then.
const NOT_BEGUN: &str = "the run ended before this call began";

impl Run {
    /// Goes on with another question, for the same agent or for another one. The messages before stay, and so does
    /// the usage: the limits of the question are the limits in `run.started`.
    pub(super) fn begin_again(&mut self, started: &RunStarted) {
        let config = &started.config;
        let has_same_models = self
            .config
            .as_ref()
            .is_some_and(|before| before.model == config.model && before.models == config.models);
        if has_same_models {
            self.chain.failures = 0;
        } else {
            self.chain = Chain::default();
            self.change_model();
        }
        self.goal.clone_from(&started.goal);
        self.conversation
            .ask(&config.instructions, &started.goal, &started.images);
        self.config = Some(config.clone());
        self.phase = Phase::DECIDING;
    }

    /// The run fails while calls are open. Providers refuse a conversation with a call that has no result, so each
    /// call gets a result, for the next question.
    pub(super) fn leave_calls(&mut self) {
        let Phase::Calling(turn) = &mut self.phase else {
            return;
        };
        let mut calls = std::mem::take(&mut turn.calls);
        for state in calls.iter_mut().filter(|state| !state.is_settled()) {
            let content = match state.is_under_way() {
                true => UNKNOWN,
                false => NOT_BEGUN,
            };
            state.progress = Progress::Settled {
                content: content.to_owned(),
                is_error: true,
                images: Vec::new(),
            };
        }
        self.conversation.close(calls);
        self.results.deliver();
    }

    /// Tokens and micro-USD that the conversation has used, with the reservation of a call whose outcome is unknown.
    pub(crate) fn used_and_reserved(&self) -> (u64, u64) {
        let used = self.ledger.spent_and_reserved();
        (used.tokens, used.cost_micros)
    }
}
