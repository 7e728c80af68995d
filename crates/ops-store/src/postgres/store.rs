//! [`PostgresStore`]: opening, closing, and handing requests to the threads.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use ops_core::{
    Micros,
    ports::{StoreError, StoreHealth},
    stats::{Metric, Stats, Value},
    verbs::{Key, Write},
};
use tokio::sync::oneshot;

use crate::postgres::{
    connection::{Connection, runtime},
    lane::{self, Job, Lanes, Look, Looking, Writing, lock},
    listen,
    options::{Options, Time},
    queries::{Found, reads},
    schema::{self, OpenError},
    shared::Shared,
    url::Address,
    work::Work,
};

/// A store on PostgreSQL. Dropping it closes it.
pub struct PostgresStore {
    pub(crate) shared: Arc<Shared>,
    pub(crate) writers: Arc<Lanes<Box<dyn Job>>>,
    readers: Lanes<Box<dyn Look>>,
    /// Heartbeats have a connection of their own: no request is before them.
    beats: Arc<Lanes<Box<dyn Job>>>,
    next: AtomicU64,
    listener: std::sync::Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl PostgresStore {
    /// Brings the schema of a database up to date, and starts the threads. Blocks until the database has
    /// answered.
    ///
    /// # Errors
    /// Each says what is wrong with the database and how to mend it, without the password.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let address = options.address.clone();
        let opened = {
            // A thread may be inside of another runtime, in which none may be blocked.
            let options = options.clone();
            std::thread::spawn(move || prepare(&options)).join()
        };
        let failed = |why: String| OpenError::Unavailable {
            database: address.to_string(),
            why,
        };
        let warnings = opened.map_err(|_| failed("the thread that opens it panicked".into()))??;
        let (writers, readers) = (options.writers, options.readers);
        let shared = Arc::new(Shared::new(options));
        *lock(&shared.warnings) = warnings;
        let io = |error: std::io::Error| failed(error.to_string());
        let beats = Arc::new(Lanes::start("store-beat", 1, &shared, lane::write).map_err(io)?);
        let listener = match shared.elsewhere.is_on() {
            true => Some(listen::start(&shared, &beats).map_err(io)?),
            false => None,
        };
        Ok(Self {
            listener: std::sync::Mutex::new(listener),
            writers: Arc::new(
                Lanes::start("store-writer", writers, &shared, lane::write).map_err(io)?,
            ),
            readers: Lanes::start("store-reader", readers, &shared, lane::read).map_err(io)?,
            beats,
            shared,
            next: AtomicU64::new(0),
        })
    }

    /// Answers what is queued, and closes the connections. Later calls of any verb fail. Closing twice does
    /// nothing.
    pub fn close(&self) {
        self.writers.close();
        self.readers.close();
        self.beats.close();
        listen::stop(&self.shared);
        if let Some(listener) = lock(&self.listener).take()
            && listener.join().is_err()
        {
            tracing::error!("the thread that listens panicked");
        }
    }

    // What the store has done since it was opened.
    pub(crate) fn counted(&self) -> Stats {
        let shared = &self.shared;
        let counter = |name, help, value: &AtomicU64| Metric {
            name,
            help,
            value: Value::Counter(value.load(Relaxed)),
        };
        Stats {
            work: shared.counted(),
            metrics: vec![
                counter(
                    "opspawn_store_commits",
                    "Groups of writes that were committed",
                    &shared.commits,
                ),
                counter(
                    "opspawn_store_items",
                    "Writes that were committed",
                    &shared.requests,
                ),
                counter(
                    "opspawn_store_connections",
                    "Connections to the database that were made",
                    &shared.connections,
                ),
                counter(
                    "opspawn_store_retries",
                    "Transactions that failed and were tried again",
                    &shared.retries,
                ),
                counter(
                    "opspawn_store_failures",
                    "Requests that failed because the database could not be used",
                    &shared.failures,
                ),
                counter(
                    "opspawn_store_looks",
                    "Looks at the database for what other processes have done",
                    &shared.elsewhere.looks,
                ),
                counter(
                    "opspawn_store_notifications_sent",
                    "Notifications to other processes",
                    &shared.elsewhere.sent,
                ),
                counter(
                    "opspawn_store_notifications_heard",
                    "Notifications of other processes",
                    &shared.elsewhere.heard,
                ),
            ],
        }
    }

    pub(crate) fn condition(&self) -> StoreHealth {
        self.shared.health()
    }

    /// Runs a verb of the engine's in a transaction.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        keys: Vec<Key>,
        mut verb: impl FnMut(&mut Write<'_, Work<'_>>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.work(keys, move |work| work.verb(&mut verb)).await
    }

    /// Works in a transaction.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        keys: Vec<Key>,
        verb: impl FnMut(&mut Work<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        // What is about one task goes one way, so that two threads do not wait for one another.
        let number = match keys.first() {
            Some((_, task)) => u64::from(task.as_bytes()[15]),
            None => self.next.fetch_add(1, Relaxed),
        };
        queued(&self.writers, number, keys, verb).await
    }

    /// Queues a request with the others that write.
    pub(crate) async fn queued<T>(
        &self,
        job: Box<dyn Job>,
        answer: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if self
            .writers
            .push(self.next.fetch_add(1, Relaxed), job)
            .is_err()
        {
            return Err(closed());
        }
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Works in a transaction that waits behind no other request.
    pub(crate) async fn beat<T: Send + 'static>(
        &self,
        verb: impl FnMut(&mut Work<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        queued(&self.beats, 0, Vec::new(), verb).await
    }

    /// Reads one state of the database.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        look: impl FnMut(&Connection) -> Found<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let look = Box::new(Looking {
            look,
            found: None,
            reply,
        });
        let number = self.next.fetch_add(1, Relaxed);
        if self.readers.push(number, look).is_err() {
            return Err(closed());
        }
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Reads with the time of the store.
    pub(crate) async fn read_at<T: Send + 'static>(
        &self,
        mut look: impl FnMut(&Connection, Micros) -> Found<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let time = self.shared.options.time.clone();
        self.read(move |conn| {
            let now = match &time {
                Time::Given(clock) => clock.now(),
                Time::Database => match reads::now(conn)? {
                    Ok(now) => Micros(now),
                    Err(error) => return Ok(Err(error)),
                },
            };
            look(conn, now)
        })
        .await
    }
}

async fn queued<T: Send + 'static>(
    lanes: &Lanes<Box<dyn Job>>,
    number: u64,
    keys: Vec<Key>,
    verb: impl FnMut(&mut Work<'_>) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let (reply, answer) = oneshot::channel();
    let job = Box::new(Writing {
        keys,
        verb,
        verdict: None,
        reply,
    });
    if lanes.push(number, job).is_err() {
        return Err(closed());
    }
    answer.await.unwrap_or_else(|_| Err(closed()))
}

/// The state of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Name and version of the server, for instance `PostgreSQL 15.18`.
    pub server: String,
    /// The number of the schema; `None` before the first migration.
    pub schema: Option<u32>,
    /// Warnings for the operator, one sentence each.
    pub warnings: Vec<String>,
}

/// Looks at a database, and changes nothing. Blocks.
///
/// # Errors
/// The database cannot be used, and why, without the password.
pub fn inspect(address: &Address) -> Result<Inspection, OpenError> {
    connected(address, |conn| {
        schema::inspect(conn).map_err(|failure| OpenError::failed(address, failure))
    })
}

/// Brings the schema of a database up to date, and says which one it has now. Blocks.
///
/// # Errors
/// The database cannot be used, or is of a newer release.
pub fn migrate(address: &Address) -> Result<u32, OpenError> {
    connected(address, |conn| schema::migrate(conn, address))?;
    Ok(schema::SCHEMA_VERSION)
}

/// How many workers' sessions are alive in a database, whose schema is brought up to date first. The session that brings
/// over tasks of the first Opspawn does not count. Blocks.
///
/// # Errors
/// The database cannot be used, or is of a newer release.
pub fn live_sessions(address: &Address) -> Result<i64, OpenError> {
    let sql = "SELECT count(*) FROM opspawn.sessions WHERE NOT over AND session_id <> 'opspawn-version1'::bytea \
        AND last_heartbeat + ttl_micros > (extract(epoch FROM clock_timestamp()) * 1000000)::int8";
    connected(address, |conn| {
        schema::migrate(conn, address)?;
        let found = conn.query(sql, &[]);
        let found = found.map_err(|failure| OpenError::failed(address, failure))?;
        Ok(found
            .first()
            .and_then(|row| row.try_get(0).ok())
            .unwrap_or(0))
    })
}

/// Works with a connection of its own, on a thread of its own.
fn connected<T: Send>(
    address: &Address,
    work: impl FnOnce(&Connection) -> Result<T, OpenError> + Send,
) -> Result<T, OpenError> {
    let timeout = Options::new(address.clone()).statement_timeout;
    let failed = |why: String| OpenError::Unavailable {
        database: address.to_string(),
        why,
    };
    let opened = || {
        let runtime = runtime().map_err(|error| failed(error.to_string()))?;
        let conn = Connection::open(&runtime, address, timeout);
        work(&conn.map_err(|failure| OpenError::failed(address, failure))?)
    };
    std::thread::scope(|scope| {
        let done = scope.spawn(opened).join();
        done.unwrap_or_else(|_| Err(failed("the thread that asks it panicked".into())))
    })
}

// Migrates, and looks at what the database is like.
fn prepare(options: &Options) -> Result<Vec<String>, OpenError> {
    let address = &options.address;
    let failed = |failure| OpenError::failed(address, failure);
    let runtime = runtime().map_err(|error| OpenError::Unavailable {
        database: address.to_string(),
        why: error.to_string(),
    })?;
    let conn = Connection::open(&runtime, address, options.statement_timeout).map_err(failed)?;
    schema::migrate(&conn, address)?;
    schema::check_timeout(&conn, address)?;
    // Before anything is compared with the clock.
    if let (Some(clock), Ok(now)) = (&options.clock, reads::now(&conn).map_err(failed)?) {
        clock.told(Micros(now));
    }
    schema::warnings(&conn).map_err(failed)
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStore")
            .field("address", &self.shared.options.address)
            .finish_non_exhaustive()
    }
}
