//! Counts of tokens and money that providers claim and that no call can have used.

use std::sync::atomic::{AtomicU64, Ordering};

use agentkit::Event;

static REFUSED: AtomicU64 = AtomicU64::new(0);

/// Takes note of events that were recorded.
pub(crate) fn note(events: &[Event]) {
    let refused = events.iter().filter(|event| {
        matches!(event, Event::ModelCompleted(completed) if completed.claimed_usage.is_some())
    });
    REFUSED.fetch_add(refused.count() as u64, Ordering::Relaxed);
}

/// How many model calls since the start of the process were charged their worst case, because the provider claims a
/// usage that the call cannot have had.
#[must_use]
pub fn refused_usages() -> u64 {
    REFUSED.load(Ordering::Relaxed)
}
