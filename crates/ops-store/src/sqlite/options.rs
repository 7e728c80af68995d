//! How a store is opened.

use std::{path::PathBuf, sync::Arc, time::Duration};

use ops_core::ports::{Clock, Notice, Observer};

/// How a [`SqliteStore`](crate::SqliteStore) is opened.
#[derive(Clone)]
pub struct Options {
    /// The data folder; it is created if it is missing. One process owns it.
    pub dir: PathBuf,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Is told of each group of commits, from the writer's thread: it must not block.
    pub observer: Arc<dyn Observer>,
    /// How long a session lives without a heartbeat. Default 10 s.
    pub session_ttl: Duration,
    /// The largest value (input, result, event body, blob, snapshot) in bytes. Default 64 MiB.
    pub max_value_bytes: u64,
    /// How many tasks a task, its children and theirs may be together. Default 1,000.
    pub max_tree_tasks: u64,
    /// The most bytes of disk that are set aside for deletions, so that a full disk can be made less full.
    /// Default 64 MiB, and never more than a 32nd of the free space; 0 for none.
    pub reserve_bytes: u64,
    /// Sleeps so long in each commit, to measure what a slow disk costs. Default none.
    pub commit_delay: Option<Duration>,
    /// The most pages of 4 KiB that the database may have, to test a full disk. Default none.
    pub max_pages: Option<u32>,
}

/// What an acknowledgement promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It is on disk: `synchronous=FULL`.
    Full,
    /// It is with the operating system, and lost with it: `synchronous=OFF`. For data that is
    /// thrown away anyway.
    Off,
}

impl Options {
    /// The defaults for a folder: durable, and nobody is told of commits.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        Self {
            dir: dir.into(),
            durability: Durability::Full,
            clock,
            observer: Arc::new(Nobody),
            session_ttl: Duration::from_secs(10),
            max_value_bytes: 64 << 20,
            max_tree_tasks: 1_000,
            reserve_bytes: 64 << 20,
            commit_delay: None,
            max_pages: None,
        }
    }
}

/// Observes nothing.
struct Nobody;

impl Observer for Nobody {
    fn committed(&self, _: &[Notice]) {}
}
