//! Compaction: how a conversation that grew too large is made smaller.
//!
//! Old results of tools go first, since most of them can be read again. Where that is not enough, the
//! older part is summed up by the model, or left out. The newest exchanges stay whole, as long as
//! they fit.

use std::{collections::BTreeMap, sync::Arc};

use super::{Mark, Window, estimate, estimate_tokens};
use crate::{
    event::{Handle, Media, SegmentChange, SegmentOpened, StepId},
    model::Message,
};

/// Most tokens of a note in place of messages.
const NOTE_TOKENS: u64 = 48;
/// A result of which less than this would be shown is not worth a call.
const MIN_PREVIEW: u64 = 256;

/// Bounds of a conversation, in estimated tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Tokens beside the conversation: the tools' definitions.
    pub(crate) beside: u64,
    /// The aim of compaction.
    pub(crate) target: u64,
    /// The bound that must not be exceeded.
    pub(crate) most: u64,
    /// The newest exchanges that stay whole.
    pub(crate) keep: usize,
    /// Tokens of a summary; `None` if the older part is left out without a summary.
    pub(crate) summary: Option<u64>,
}

/// Decision about a conversation that is too large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Begin a segment.
    Open(SegmentOpened),
    /// Have the model sum up the messages before this step.
    Summarise { keep_from: StepId },
    /// No change: the conversation fits, and cannot be made smaller.
    Send,
    /// No change helps, and the conversation does not fit.
    TooLarge,
}

impl Window {
    /// Decides how to make the conversation fit well.
    pub(crate) fn plan(&self, bounds: &Bounds) -> Plan {
        let total = self.tokens.saturating_add(bounds.beside);
        if total <= bounds.target {
            return Plan::Send;
        }
        let starts: Vec<usize> = self.exchanges().collect();
        let keep = bounds.keep.clamp(1, starts.len().max(1));
        if let Some(start) = starts.get(keep - 1) {
            let cleared = self.clearable(*start);
            if cleared > 0 && total - cleared <= bounds.target {
                return self.open(*start, SegmentChange::Cleared);
            }
        }
        let room = bounds.summary.unwrap_or(NOTE_TOKENS);
        let worth = |start: usize| self.older(start) > 2 * room;
        let fits = |start: usize| total - self.older(start) + room <= bounds.target;
        let newest = starts.iter().take(keep).rev();
        let mut cuts = newest.copied().filter(|start| worth(*start));
        let cut = cuts
            .clone()
            .find(|start| fits(*start))
            .or_else(|| cuts.next_back());
        if let Some(start) = cut {
            return match bounds.summary {
                Some(_) => Plan::Summarise {
                    keep_from: self.marks[start].step,
                },
                None => self.open(start, SegmentChange::Dropped),
            };
        }
        if total <= bounds.most {
            return Plan::Send;
        }
        let Some(newest) = starts.first().copied() else {
            return Plan::TooLarge;
        };
        if self.older(newest) > NOTE_TOKENS {
            return self.open(newest, SegmentChange::Dropped);
        }
        match self.cap(newest, total, bounds.target) {
            Some(max_bytes) => self.open(newest, SegmentChange::Truncated { max_bytes }),
            None => Plan::TooLarge,
        }
    }

    fn open(&self, start: usize, change: SegmentChange) -> Plan {
        let keep_from = self.marks[start].step;
        Plan::Open(SegmentOpened::new(keep_from, change))
    }

    /// The tokens before an exchange that are not pinned.
    fn older(&self, start: usize) -> u64 {
        let older = self.marks[..start].iter().filter(|mark| !mark.pinned);
        older.map(|mark| mark.tokens).sum()
    }

    /// The tokens that go if the results before an exchange are cleared.
    fn clearable(&self, start: usize) -> u64 {
        let entries = self.messages[..start].iter().zip(&self.marks);
        entries
            .filter(|(message, mark)| is_clearable(message, mark))
            .map(|(_, mark)| mark.tokens - NOTE_TOKENS)
            .sum()
    }

    /// The most bytes that each result of the newest exchange may have so that the exchange fits, if its
    /// results make the exchange too large.
    fn cap(&self, start: usize, total: u64, target: u64) -> Option<u64> {
        let entries = self.messages[start..].iter().zip(&self.marks[start..]);
        let results = entries.filter(|(message, _)| matches!(***message, Message::Tool { .. }));
        let mut sizes: Vec<u64> = results.map(|(_, mark)| mark.tokens).collect();
        sizes.sort_unstable();
        let others = total - sizes.iter().sum::<u64>();
        let mut left = target.checked_sub(others)?;
        let mut count = sizes.len() as u64;
        for size in sizes {
            let share = left / count;
            if size > share {
                let shown = share.saturating_sub(NOTE_TOKENS) * 4;
                return (shown >= MIN_PREVIEW).then_some(shown);
            }
            left -= size;
            count -= 1;
        }
        None
    }

    /// Applies a change. `summary` belongs to [`SegmentChange::Summarised`]; the notes name the results
    /// that are stored as a whole, and whether the model can read them.
    pub(crate) fn compact(
        &mut self,
        opened: &SegmentOpened,
        summary: Option<&str>,
        kept: &BTreeMap<StepId, Handle>,
    ) {
        let from = opened.keep_from;
        self.next_segment();
        match &opened.change {
            SegmentChange::Cleared => {
                self.rewrite(|message, mark| {
                    if mark.step < from && is_clearable(message, mark) {
                        cleared(message, kept);
                    }
                });
            }
            SegmentChange::Truncated { max_bytes } => {
                let max = usize::try_from(*max_bytes).unwrap_or(usize::MAX);
                self.rewrite(|message, mark| {
                    if mark.step >= from {
                        truncated(message, max, kept);
                    }
                });
            }
            SegmentChange::Summarised | SegmentChange::Dropped => self.replace(from, summary),
        }
        self.tokens = self.marks.iter().map(|mark| mark.tokens).sum();
    }

    pub(super) fn rewrite(&mut self, change: impl Fn(&mut Arc<Message>, &Mark)) {
        for (message, mark) in self.messages.iter_mut().zip(&mut self.marks) {
            if mark.pinned {
                continue;
            }
            change(message, mark);
            mark.tokens = estimate_tokens(message);
        }
    }

    /// One message in place of all that came before a step and is not pinned.
    fn replace(&mut self, from: StepId, summary: Option<&str>) {
        let (messages, marks) = (
            std::mem::take(&mut self.messages),
            std::mem::take(&mut self.marks),
        );
        let gone = |mark: &Mark| !mark.pinned && mark.step < from;
        let count = marks.iter().filter(|mark| gone(mark)).count();
        let content = match summary {
            Some(summary) => format!(
                "[The conversation up to here no longer fitted your context. This is a summary of \
                 it.]\n{summary}"
            ),
            None => format!(
                "[The conversation up to here no longer fitted your context. {count} messages of it \
                 are left out.]"
            ),
        };
        let mut note = Some(Message::user(content));
        for (message, mark) in messages.into_iter().zip(marks) {
            if gone(&mark) {
                continue;
            }
            if mark.step >= from
                && let Some(note) = note.take()
            {
                self.push(note, StepId(from.0.saturating_sub(1)), false);
            }
            self.messages.push(message);
            self.marks.push(mark);
        }
        if let Some(note) = note {
            self.push(note, StepId(from.0.saturating_sub(1)), false);
        }
    }
}

fn is_clearable(message: &Message, mark: &Mark) -> bool {
    !mark.pinned && mark.tokens > 2 * NOTE_TOKENS && matches!(message, Message::Tool { .. })
}

/// How a result can be read again, if it can.
fn again(step: StepId, kept: &BTreeMap<StepId, Handle>) -> String {
    match kept.get(&step) {
        Some(_) => format!("; read_result with handle \"{step}\" reads it again"),
        None => String::new(),
    }
}

fn cleared(message: &mut Arc<Message>, kept: &BTreeMap<StepId, Handle>) {
    if let Message::Tool {
        step,
        content,
        images,
        ..
    } = Arc::make_mut(message)
    {
        images.clear();
        let bytes = content.len();
        let again = again(*step, kept);
        *content = format!("[{bytes} bytes, left out to save room{again}]");
    }
}

fn truncated(message: &mut Arc<Message>, max: usize, kept: &BTreeMap<StepId, Handle>) {
    // An image counts as much as a text of its tokens, and cannot be cut.
    let size = |content: &str, images: &[Media]| {
        content.len() + images.len() * estimate::IMAGE_TOKENS as usize * 4
    };
    let is_longer = matches!(
        &**message, Message::Tool { content, images, .. } if size(content, images) > max
    );
    if is_longer
        && let Message::Tool {
            step,
            content,
            images,
            ..
        } = Arc::make_mut(message)
    {
        if !images.is_empty() {
            images.clear();
            content.push_str("\n[its images are left out: they were more than your context holds]");
        }
        if content.len() <= max {
            return;
        }
        let bytes = content.len();
        content.truncate(content.floor_char_boundary(max));
        let again = again(*step, kept);
        content.push_str(&format!(
            "\n[cut here: {bytes} bytes were more than your context holds{again}]"
        ));
    }
}
