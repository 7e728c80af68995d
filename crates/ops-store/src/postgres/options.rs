//! How a store is opened.

use std::{fmt, sync::Arc, time::Duration};

use ops_core::ports::{Clock, Notice, Observer};

use crate::postgres::{clock::DatabaseClock, url::Address};

/// How a [`PostgresStore`](crate::PostgresStore) is opened.
#[derive(Clone)]
pub struct Options {
    /// Where the database is.
    pub address: Address,
    /// Whether other processes use the database as well, so that this process tells them of its work, and hears
    /// of theirs. It needs the time of the database. Default no.
    pub shared: bool,
    /// A direct connection for notifications, where `address` is that of a pooler.
    pub notify: Option<Address>,
    /// Which clock tells the time.
    pub time: Time,
    /// Is told the time of the database with each answer that has it. Default nobody.
    pub clock: Option<Arc<DatabaseClock>>,
    /// Is told of each group of commits, from a thread of the store: it must not block.
    pub observer: Arc<dyn Observer>,
    /// How long a session lives without a heartbeat. Default 10 s.
    pub session_ttl: Duration,
    /// The largest value (input, result, event body, blob, snapshot) in bytes. Default 64 MiB.
    pub max_value_bytes: u64,
    /// How many tasks a task, its children and theirs may be together. Default 1,000.
    pub max_tree_tasks: u64,
    /// How many connections write. Default 2.
    pub writers: usize,
    /// How many connections read. Default 2.
    pub readers: usize,
    /// The longest that a statement may take before the database ends it, and one that a row's lock keeps
    /// waiting. A connection whose answer is this much and two seconds late is given up. Default 5 s.
    pub statement_timeout: Duration,
    /// For how long a request is tried again while the database is away. Default 8 s.
    pub patience: Duration,
}

/// Which clock tells the time.
#[derive(Clone)]
pub enum Time {
    /// That of the database (`clock_timestamp()`): servers on several machines share it.
    Database,
    /// A given clock, for tests.
    Given(Arc<dyn Clock>),
}

impl Options {
    /// The defaults for a database: no observer.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self {
            address,
            shared: false,
            notify: None,
            time: Time::Database,
            clock: None,
            observer: Arc::new(Nobody),
            session_ttl: Duration::from_secs(10),
            max_value_bytes: 64 << 20,
            max_tree_tasks: 1_000,
            writers: 2,
            readers: 2,
            statement_timeout: Duration::from_secs(5),
            patience: Duration::from_secs(8),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

// Observes nothing.
struct Nobody;

impl Observer for Nobody {
    fn committed(&self, _: &[Notice]) {}
}
