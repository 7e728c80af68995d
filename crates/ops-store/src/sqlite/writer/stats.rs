//! The writer's counters.

use std::{sync::Mutex, time::Duration};

use ops_core::stats::{self, Metric, Times, Value, Work};

use crate::sqlite::writer::inbox::lock;

/// Counters of a store on SQLite since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Transactions that wrote a row.
    pub transactions: u64,
    /// Transactions that were rolled back because storage failed.
    pub rollbacks: u64,
    /// Jobs that the writer did, refused ones included.
    pub items: u64,
    /// Events written.
    pub events: u64,
    /// Times that a file was synced to disk: one a commit, two a checkpoint; 0 when durability is
    /// off.
    pub fsyncs: u64,
    /// Checkpoints of the log.
    pub checkpoints: u64,
    /// The most jobs in one group.
    pub largest_batch: u64,
    /// Time in commits, injected delays included.
    pub commits: Times,
    /// Time spent waiting for company before a commit.
    pub commit_delay_micros: u64,
    /// Work that was committed for tasks.
    pub work: Work,
}

impl From<Stats> for stats::Stats {
    fn from(stats: Stats) -> Self {
        let counter = |name, help, count| Metric {
            name,
            help,
            value: Value::Counter(count),
        };
        let metrics = vec![
            counter(
                "opspawn_store_transactions",
                "Transactions of the store that wrote something",
                stats.transactions,
            ),
            counter(
                "opspawn_store_rollbacks",
                "Transactions that were rolled back because storage failed",
                stats.rollbacks,
            ),
            counter(
                "opspawn_store_requests",
                "Requests to the writer",
                stats.items,
            ),
            counter("opspawn_store_events", "Events written", stats.events),
            counter("opspawn_store_fsyncs", "Files synced to disk", stats.fsyncs),
            counter(
                "opspawn_store_checkpoints",
                "Checkpoints of the log",
                stats.checkpoints,
            ),
            Metric {
                name: "opspawn_store_commit_seconds",
                help: "Time in commits",
                value: Value::Times(stats.commits),
            },
        ];
        Self {
            work: stats.work,
            metrics,
        }
    }
}

/// The live counters. The writer alone adds to them, a few times for each group.
#[derive(Debug, Default)]
pub(crate) struct WriterMetrics(Mutex<Stats>);

impl WriterMetrics {
    pub(crate) fn read(&self) -> Stats {
        *lock(&self.0)
    }

    pub(crate) fn note(&self, note: impl FnOnce(&mut Stats)) {
        note(&mut lock(&self.0));
    }
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
