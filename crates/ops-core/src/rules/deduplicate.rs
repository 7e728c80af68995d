//! Repeated appends. A worker whose acknowledgement was lost sends its append again; if the log shows that
//! the same epoch committed the append, the repetition succeeds and writes nothing.

use std::ops::RangeInclusive;

use crate::{
    command::{Append, Next},
    event::{StepMark, TaskEvent},
    task::{Lifecycle, Wait},
};

/// SHA-256 of a value.
type Digest = [u8; 32];

/// Bytes as a store has them: in the row, or elsewhere by their digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// The bytes.
    Inline(&'a [u8]),
    /// SHA-256 of the bytes.
    Stored(Digest),
}

/// A stored event to compare with an event of an append.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recorded<'a> {
    /// The epoch that the event was written under.
    pub epoch: u64,
    /// The body's type.
    pub kind: &'a str,
    /// The step that it belongs to.
    pub step: Option<StepMark>,
    /// The body.
    pub body: Body<'a>,
}

/// The numbers of the events to compare an append with, if it may have been committed before.
#[must_use]
pub fn candidates(life: &Lifecycle, append: &Append) -> Option<RangeInclusive<u64>> {
    if append.expected_seq >= life.seq
        || (append.events.is_empty() && append.next == Next::Continue)
    {
        return None;
    }
    let last = append
        .expected_seq
        .saturating_add(append.events.len() as u64)
        .saturating_add(end(&append.next));
    (last <= life.seq).then(|| append.expected_seq + 1..=last)
}

/// How many events of the engine end an append.
fn end(next: &Next) -> u64 {
    match next {
        Next::Continue => 0,
        Next::Complete { .. } | Next::Fail { .. } | Next::Wait(_) | Next::Cancelled => 1,
    }
}

/// Whether the log has exactly the events that an append would write, where the append would write them:
/// `stored` are the events of [`candidates`] in order, `result` is the task's result, `digest` gives
/// SHA-256 of bytes.
#[must_use]
pub fn is_duplicate(
    (epoch, append): (u64, &Append),
    stored: &[Recorded<'_>],
    result: Option<Body<'_>>,
    digest: impl Fn(&[u8]) -> Digest,
) -> bool {
    let is_same = |stored: Body<'_>, given: &[u8]| match stored {
        Body::Inline(bytes) => bytes == given,
        Body::Stored(known) => known == digest(given),
    };
    let ends = usize::try_from(end(&append.next)).unwrap_or(0);
    if stored.len() != append.events.len() + ends || stored.iter().any(|known| known.epoch != epoch)
    {
        return false;
    }
    let run = stored.iter().zip(&append.events).all(|(known, given)| {
        known.kind == given.kind && known.step == given.step && is_same(known.body, &given.body)
    });
    if !run {
        return false;
    }
    let Some(last) = stored.last() else {
        return true;
    };
    let is = |expected: &TaskEvent| {
        let given = expected.envelope();
        known_same(last, expected) || (last.kind == given.kind && is_same(last.body, &given.body))
    };
    match &append.next {
        Next::Continue => true,
        Next::Complete { result: given } => {
            let same = |known| is_same(known, given.as_str().as_bytes());
            is(&TaskEvent::Completed {}) && result.is_some_and(same)
        }
        Next::Fail { error, retryable } => {
            let failed = TaskEvent::Failed {
                error: error.clone(),
                dead_letter: *retryable,
            };
            let again = |known: &TaskEvent| {
                matches!(known, TaskEvent::RetryScheduled { error: known, .. }
                    if *retryable && known == error)
            };
            is(&failed) || decoded(last).as_ref().is_some_and(again)
        }
        Next::Wait(wait) => is(&TaskEvent::Waiting {
            wait: Wait::from_request(wait.clone()),
        }),
        Next::Cancelled => is(&TaskEvent::Cancelled {}),
    }
}

/// Another release may have written the same event in other bytes.
fn known_same(stored: &Recorded<'_>, expected: &TaskEvent) -> bool {
    decoded(stored).as_ref() == Some(expected)
}

fn decoded(stored: &Recorded<'_>) -> Option<TaskEvent> {
    match stored.body {
        Body::Inline(bytes) => TaskEvent::decode(bytes).ok(),
        Body::Stored(_) => None,
    }
}

#[cfg(test)]
mod tests;
