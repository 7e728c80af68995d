//! Counters of the writer, for benchmarks and metrics.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// What the writer has done since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Transactions that wrote something.
    pub transactions: u64,
    /// Transactions that were rolled back because storage failed.
    pub rollbacks: u64,
    /// Requests that the writer answered, refused ones included.
    pub items: u64,
    /// Events written.
    pub events: u64,
    /// Times that a file was synced to disk: one a commit, two a checkpoint; 0 when durability is
    /// off.
    pub fsyncs: u64,
    /// Checkpoints of the WAL.
    pub checkpoints: u64,
    /// The most requests in one group.
    pub largest_batch: u64,
    /// Time in COMMIT, injected delays included.
    pub commit_micros: u64,
    /// Time spent waiting for company before a commit.
    pub linger_micros: u64,
}

/// The live counters; the writer alone adds to them.
#[derive(Debug, Default)]
pub(super) struct Meter {
    pub(super) transactions: AtomicU64,
    pub(super) rollbacks: AtomicU64,
    pub(super) items: AtomicU64,
    pub(super) events: AtomicU64,
    pub(super) fsyncs: AtomicU64,
    pub(super) checkpoints: AtomicU64,
    pub(super) largest_batch: AtomicU64,
    pub(super) commit_micros: AtomicU64,
    pub(super) linger_micros: AtomicU64,
}

impl Meter {
    pub(super) fn read(&self) -> Stats {
        Stats {
            transactions: self.transactions.load(Relaxed),
            rollbacks: self.rollbacks.load(Relaxed),
            items: self.items.load(Relaxed),
            events: self.events.load(Relaxed),
            fsyncs: self.fsyncs.load(Relaxed),
            checkpoints: self.checkpoints.load(Relaxed),
            largest_batch: self.largest_batch.load(Relaxed),
            commit_micros: self.commit_micros.load(Relaxed),
            linger_micros: self.linger_micros.load(Relaxed),
        }
    }
}

pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}

pub(super) fn add_time(counter: &AtomicU64, time: Duration) {
    add(counter, u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
}
