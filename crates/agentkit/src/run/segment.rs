//! The conversation and the model's context: the size of a prompt, and when the conversation is made
//! smaller.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{FoldError, Next, Run, phase::Phase};
use crate::{
    event::{ModelCompleted, Purpose, SegmentChange, SegmentOpened, StepId},
    memory::{self, Bounds, Plan},
    model::Message,
};

/// The tokens that an answer is reserved when no limit on it is configured.
pub(super) const DEFAULT_ANSWER_TOKENS: u64 = 4_096;
/// The assumed context of a model whose context is not known.
pub(super) const DEFAULT_CONTEXT_TOKENS: u64 = 100_000;
/// The room for a summary, in tokens.
const SUMMARY_TOKENS: std::ops::RangeInclusive<u64> = 64..=2_048;

/// A provider's count, and the estimate of the same prompt: the count divided by the estimate corrects
/// later estimates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Measure {
    counted: u64,
    estimated: u64,
}

impl Measure {
    /// A provider's count; `None` without a count. A count far from the estimate measures a different text,
    /// and is believed in part.
    fn new(counted: u64, estimated: u64) -> Option<Self> {
        (counted > 0 && estimated > 0).then(|| Self {
            counted: counted.clamp(estimated.div_ceil(2), estimated.saturating_mul(8)),
            estimated,
        })
    }
}

/// A summary that the model gave and that no segment has begun with yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Summary {
    keep_from: StepId,
    text: String,
}

/// Where the size of the conversation stands against the model in use.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Size {
    /// The provider's last count.
    measure: Option<Measure>,
    /// Estimated tokens that the provider has shown to be too many.
    ceiling: Option<u64>,
    /// Refusals of the conversation as too large since the last answer.
    overflows: u32,
    summary: Option<Summary>,
}

impl Run {
    /// Estimated tokens of the request: the conversation and the tools' definitions.
    fn estimated(&self) -> u64 {
        self.conversation
            .memory
            .tokens()
            .saturating_add(self.beside())
    }

    /// Tokens beside the conversation: the tools' definitions, the schema of the answer, and a refused
    /// answer.
    fn beside(&self) -> u64 {
        let Some(config) = &self.config else { return 0 };
        let schema = config
            .output
            .as_ref()
            .map(|output| memory::json_tokens(&output.schema));
        let refused = self.conversation.refused.as_ref().map(|refused| {
            let bytes = refused.text.len() + refused.error.message.len();
            // What is wrong with it is told with the schema.
            bytes as u64 / 4 + schema.unwrap_or(0)
        });
        let sizes = [Some(config.tools_tokens), schema, refused];
        sizes.into_iter().flatten().sum()
    }

    /// Estimated tokens in the provider's measure.
    pub(super) fn counted(&self, estimated: u64) -> u64 {
        match &self.conversation.size.measure {
            Some(measure) => scale(estimated, measure.counted, measure.estimated),
            None => estimated,
        }
    }

    /// Tokens of the next prompt, tools included: the provider's count of the last prompt, and a
    /// proportional estimate for the new messages.
    #[must_use]
    pub fn prompt_tokens(&self) -> u64 {
        self.counted(self.estimated())
    }

    /// Most tokens of a prompt, if the bound is known.
    fn known_bound(&self) -> Option<u64> {
        let limits = &self.config.as_ref()?.limits;
        let model = self.pinned_model();
        let context = model.and_then(|model| model.context_tokens);
        let longest = model.and_then(|model| model.max_output_tokens);
        let answer = limits.max_output_tokens.unwrap_or(DEFAULT_ANSWER_TOKENS);
        let answer = answer.min(longest.unwrap_or(u64::MAX));
        let context = context.map(|context| context.saturating_sub(answer));
        limits.context_tokens.into_iter().chain(context).min()
    }

    /// The bounds of the conversation, and where compaction begins; in estimated tokens.
    fn bounds(&self, ceiling: Option<u64>) -> (Bounds, u64) {
        let memory = self
            .config
            .as_ref()
            .map(|config| config.memory.clone())
            .unwrap_or_default();
        let bound = self.known_bound().unwrap_or(DEFAULT_CONTEXT_TOKENS);
        let bound = match &self.conversation.size.measure {
            Some(measure) => scale(bound, measure.estimated, measure.counted),
            None => bound,
        };
        let most = ceiling.map_or(bound, |ceiling| bound.min(ceiling));
        let begins = scale(most, u64::from(memory.compact_at.min(100)), 100);
        let bounds = Bounds {
            beside: self.beside(),
            target: begins / 4 * 3,
            most,
            keep: usize::try_from(memory.keep_exchanges).unwrap_or(usize::MAX),
            summary: memory.summarise.then(|| summary_room(most)),
        };
        (bounds, begins)
    }

    /// The work before the next model call, if the conversation needs room.
    pub(super) fn make_room(&self) -> Option<Next> {
        let (mut bounds, begins) = self.bounds(self.conversation.size.ceiling);
        if self.estimated() <= begins {
            return None;
        }
        bounds.beside += self.record_growth(bounds.most);
        match self.conversation.memory.plan(&bounds) {
            Plan::Send => None,
            Plan::Open(opened) => Some(Next::OpenSegment(opened)),
            Plan::Summarise { keep_from } => {
                let step = StepId(self.last_step + 1);
                Some(self.call_model(step, 1, Purpose::Summary { keep_from }))
            }
            // Where nothing is known, the provider has the word.
            Plan::TooLarge
                if self.known_bound().is_none() && self.conversation.size.ceiling.is_none() =>
            {
                None
            }
            Plan::TooLarge => {
                let message = format!(
                    "the instructions, the goal, the tools' definitions and the newest messages \
                     have about {} tokens, and model `{}` can be sent {} of them; shorten them, \
                     raise `limits.context_tokens`, or use a model with a larger context",
                    self.prompt_tokens(),
                    self.model(),
                    self.counted(bounds.most),
                );
                Some(super::next::failed("context_too_small", message))
            }
        }
    }

    /// The record of effects, as a segment that begins now is told it.
    fn record(&self, most: u64) -> Option<String> {
        let bytes = usize::try_from(summary_room(most) * 4).unwrap_or(usize::MAX);
        self.effects.told(self.last_step(), bytes)
    }

    /// The tokens that the record of effects takes more in the next segment.
    fn record_growth(&self, most: u64) -> u64 {
        let record = self.record(most).map(Message::user);
        let tokens = record.as_ref().map_or(0, memory::estimate_tokens);
        tokens.saturating_sub(self.conversation.memory.record_tokens())
    }

    /// Whether the conversation, which the provider has refused as too large, can be made smaller
    /// and is worth another call: once.
    pub(crate) fn shrinks_after_overflow(&self) -> bool {
        let (mut bounds, _) = self.bounds(Some(ceiling(self.estimated())));
        bounds.beside += self.record_growth(bounds.most);
        let plan = self.conversation.memory.plan(&bounds);
        self.conversation.size.overflows == 0
            && matches!(plan, Plan::Open(_) | Plan::Summarise { .. })
    }

    /// The messages of a call that sums up the messages before a step.
    pub(crate) fn summary_request(&self, keep_from: StepId) -> Vec<Arc<Message>> {
        let (bounds, _) = self.bounds(self.conversation.size.ceiling);
        // About a third of a token for each letter of a word: three words take four tokens.
        let words = summary_room(bounds.most) * 3 / 4;
        let room = bounds.most.saturating_sub(bounds.most / 8);
        memory::transcript(&self.conversation.memory, keep_from, room, words)
    }

    /// The segment that begins with the summary that the model gave.
    pub(super) fn summarised(&self) -> Option<SegmentOpened> {
        let summary = self.conversation.size.summary.as_ref()?;
        let change = match summary.text.is_empty() {
            true => SegmentChange::Dropped,
            false => SegmentChange::Summarised,
        };
        Some(SegmentOpened::new(summary.keep_from, change))
    }

    pub(super) fn open_segment(&mut self, opened: &SegmentOpened) -> Result<(), FoldError> {
        let summary = self.conversation.size.summary.take();
        let is_summary = opened.change == SegmentChange::Summarised;
        if is_summary && summary.is_none() {
            return Err(FoldError::new("segment.opened", opened.keep_from));
        }
        let text = summary.filter(|_| is_summary).map(|summary| summary.text);
        let (bounds, _) = self.bounds(self.conversation.size.ceiling);
        let record = self.record(bounds.most).filter(|_| opened.effects);
        let memory = &mut self.conversation.memory;
        memory.compact(opened, text.as_deref(), self.results.known());
        if let Some(record) = record {
            memory.pin_record(record);
        }
        match &mut self.phase {
            Phase::Retrying(failed) if failed.call.purpose.is_summary() => {
                self.phase = Phase::DECIDING;
            }
            Phase::Deciding { closed } => *closed = None,
            Phase::Retrying(_) | Phase::Asking(_) | Phase::Calling(_) | Phase::Ended(_) => {}
        }
        Ok(())
    }

    /// Another model goes on: its counts are not known yet.
    pub(super) fn change_model(&mut self) {
        self.conversation.memory.next_segment();
        self.conversation.size = Size::default();
    }

    /// The provider counted the prompt.
    pub(super) fn measure(&mut self, completed: &ModelCompleted) {
        self.conversation.size.overflows = 0;
        // A count that is not believed measures nothing.
        let counted = match completed.claimed_usage {
            Some(_) => 0,
            None => completed.usage.input_tokens,
        };
        let measure = Measure::new(counted, self.estimated());
        self.conversation.size.measure = measure.or(self.conversation.size.measure);
    }

    /// The provider found that it was sent too much.
    pub(super) fn overflowed(&mut self) {
        self.conversation.size.overflows += 1;
        self.conversation.size.ceiling = Some(ceiling(self.estimated()));
    }

    /// A summary came. An overlong summary is cut.
    pub(super) fn keep_summary(&mut self, keep_from: StepId, text: &str) {
        let (bounds, _) = self.bounds(self.conversation.size.ceiling);
        let max = usize::try_from(summary_room(bounds.most) * 6).unwrap_or(usize::MAX);
        let text = text.trim();
        let shown = &text[..text.floor_char_boundary(max)];
        let dots = if shown.len() < text.len() {
            " [cut here]"
        } else {
            ""
        };
        self.conversation.size.summary = Some(Summary {
            keep_from,
            text: format!("{shown}{dots}"),
        });
    }
}

/// The new bound of a conversation that was too large.
fn ceiling(estimated: u64) -> u64 {
    estimated / 4 * 3
}

fn summary_room(most: u64) -> u64 {
    (most / 8).clamp(*SUMMARY_TOKENS.start(), *SUMMARY_TOKENS.end())
}

fn scale(number: u64, by: u64, of: u64) -> u64 {
    let scaled = u128::from(number) * u128::from(by) / u128::from(of.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}
