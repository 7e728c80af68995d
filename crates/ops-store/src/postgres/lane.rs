// Lanes: a thread with a connection and the requests for it.
//
// A lane that writes takes whatever queued while its last transaction ran, and commits it as one. Each request
// has a verdict of its own: one that a rule refuses has written nothing. If the database fails the transaction
// (a deadlock, a lost connection), each request is tried again alone, so that one that the database cannot
// take fails no other.
//
// If the connection is lost while a commit is under way, nobody knows whether it took place. The database does: each
// transaction that writes numbers itself in the row of its lane, and the row is read again. PostgreSQL's own number of
// a transaction does not do: a server that crashed gives the number of a transaction that it has lost to another one,
// and `pg_xact_status` calls the lost one committed then.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ops_core::ports::StoreError;
use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot},
};
use tokio_postgres::types::Type;

use crate::postgres::{
    connection::{Connection, runtime},
    error::{Failure, Remedy},
    shared::Shared,
    work::Work,
};

/// The most requests in one transaction.
const BATCH: usize = 128;
// The first delay before what failed is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(20);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(1);

/// A request that writes.
pub(crate) trait Job: Send {
    // The tasks that it is about: they are loaded, and locked, before it runs, those of a whole batch
    // in one order.
    fn keys(&self) -> &[ops_core::verbs::Key];
    // Runs the verb and keeps its verdict. It may run again, on the rows of another transaction.
    fn run(&mut self, work: &mut Work<'_>);
    /// Gives the verdict to the caller, as its transaction is committed.
    fn answer(self: Box<Self>);
    /// Tells the caller that storage failed.
    fn fail(self: Box<Self>, error: StoreError);
}

/// A request that reads.
pub(crate) trait Look: Send {
    fn run(&mut self, conn: &Connection) -> Result<(), Failure>;
    fn answer(self: Box<Self>);
    fn fail(self: Box<Self>, error: StoreError);
}

/// Requests of a kind, for a number of threads.
pub(crate) struct Lanes<T> {
    senders: Mutex<Vec<mpsc::UnboundedSender<T>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl<T: Send + 'static> Lanes<T> {
    /// Starts the threads. Each connects with its first request.
    pub(crate) fn start(
        name: &str,
        lanes: usize,
        shared: &Arc<Shared>,
        serve: fn(&mut Lane, T, &mut mpsc::UnboundedReceiver<T>),
    ) -> std::io::Result<Self> {
        let (mut senders, mut threads) = (Vec::new(), Vec::new());
        for number in 0..lanes.max(1) {
            let (sender, mut requests) = mpsc::unbounded_channel();
            let mut lane = Lane {
                runtime: runtime()?,
                conn: None,
                shared: Arc::clone(shared),
                mark: Mark::new(),
            };
            let thread = thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || {
                    while let Some(request) = lane.next(&mut requests) {
                        serve(&mut lane, request, &mut requests);
                    }
                })?;
            senders.push(sender);
            threads.push(thread);
        }
        Ok(Self {
            senders: Mutex::new(senders),
            threads: Mutex::new(threads),
        })
    }

    // Queues a request; those with one number go to one thread, in their order. It comes back if the store
    // is closed.
    pub(crate) fn push(&self, number: u64, request: T) -> Result<(), T> {
        let senders = lock(&self.senders);
        let lane = usize::try_from(number % senders.len().max(1) as u64).unwrap_or(0);
        match senders.get(lane) {
            Some(sender) => sender.send(request).map_err(|unsent| unsent.0),
            None => Err(request),
        }
    }

    // Answers what is queued, and ends the threads.
    pub(crate) fn close(&self) {
        lock(&self.senders).clear();
        for thread in lock(&self.threads).drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A thread's connection.
pub(crate) struct Lane {
    runtime: Arc<Runtime>,
    conn: Option<Connection>,
    shared: Arc<Shared>,
    mark: Mark,
}

/// The row of a lane in the table `commits`.
#[derive(Debug)]
pub(crate) struct Mark {
    /// The lane's name: 16 bytes that no other lane has, of no other process either.
    pub(crate) lane: [u8; 16],
    /// The number of the last transaction.
    pub(crate) number: i64,
    /// Whether the row is there.
    is_made: bool,
}

impl Mark {
    fn new() -> Self {
        let mut lane = [0; 16];
        for half in lane.chunks_exact_mut(8) {
            half.copy_from_slice(&RandomState::new().hash_one(0_u8).to_be_bytes());
        }
        Self {
            lane,
            number: 0,
            is_made: false,
        }
    }
}

impl Lane {
    // The next request. While it waits, the runtime sees to the connection.
    fn next<T>(&self, requests: &mut mpsc::UnboundedReceiver<T>) -> Option<T> {
        self.runtime.block_on(requests.recv())
    }

    fn connection(&mut self) -> Result<&Connection, Failure> {
        if self.conn.as_ref().is_some_and(Connection::is_closed) {
            self.conn = None;
        }
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => {
                let options = &self.shared.options;
                let opened =
                    Connection::open(&self.runtime, &options.address, options.statement_timeout)?;
                self.shared.connected();
                opened
            }
        };
        Ok(self.conn.insert(conn))
    }

    // Tries something until it succeeds, cannot succeed, or takes too long.
    fn persist<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        let mut delay = RETRY_DELAY;
        loop {
            let failure = match attempt(self) {
                Ok(done) => {
                    self.shared.succeeded();
                    return Ok(done);
                }
                Err(failure) => failure,
            };
            self.recover(&failure);
            let is_over = began.elapsed() > self.shared.options.patience
                || units::mutant!("ops-store.postgres_gives_up_at_once");
            if failure.remedy == Remedy::Give || is_over {
                self.shared.failed(&failure);
                return Err(failure);
            }
            thread::sleep(delay);
            delay = (delay * 2).min(MAX_RETRY_DELAY);
        }
    }

    /// Leaves no transaction open: a connection that cannot be rolled back is given up.
    fn recover(&mut self, failure: &Failure) {
        self.shared.retried();
        tracing::debug!(error = %failure.message, "a transaction failed");
        let usable = failure.remedy != Remedy::Reconnect
            && self
                .conn
                .as_ref()
                .is_some_and(|conn| !conn.is_closed() && conn.rollback().is_ok());
        if !usable {
            self.conn = None;
        }
    }
}

// Carries out a request that writes, with those that wait behind it.
pub(crate) fn write(
    lane: &mut Lane,
    first: Box<dyn Job>,
    requests: &mut mpsc::UnboundedReceiver<Box<dyn Job>>,
) {
    let mut batch = vec![first];
    while batch.len() < BATCH
        && let Ok(next) = requests.try_recv()
    {
        batch.push(next);
    }
    if batch.len() > 1 {
        match lane.transaction(&mut batch) {
            Ok(()) => {
                lane.shared.succeeded();
                batch.into_iter().for_each(|job| job.answer());
                return;
            }
            Err(failure) => lane.recover(&failure),
        }
    }
    for job in batch {
        let mut alone = vec![job];
        let done = lane.persist(|lane| lane.transaction(&mut alone));
        for job in alone {
            match &done {
                Ok(()) => job.answer(),
                Err(failure) => job.fail(failure.clone().into_store_error()),
            }
        }
    }
}

/// Carries out a request that reads.
pub(crate) fn read(
    lane: &mut Lane,
    mut look: Box<dyn Look>,
    _: &mut mpsc::UnboundedReceiver<Box<dyn Look>>,
) {
    let done = lane.persist(|lane| {
        let conn = lane.connection()?;
        conn.begin_reading()?;
        look.run(conn)?;
        conn.commit()
    });
    match done {
        Ok(()) => look.answer(),
        Err(failure) => look.fail(failure.into_store_error()),
    }
}

impl Lane {
    /// Carries out requests in one transaction.
    fn transaction(&mut self, batch: &mut [Box<dyn Job>]) -> Result<(), Failure> {
        let shared = Arc::clone(&self.shared);
        let mut keys: Vec<_> = batch.iter().flat_map(|job| job.keys().to_vec()).collect();
        keys.sort_unstable();
        keys.dedup();
        self.make_mark()?;
        self.mark.number += 1;
        let (lane, number) = (self.mark.lane, self.mark.number);
        let conn = self.connection()?;
        let mut work = Work::begin(conn, &shared, &keys)?;
        for job in batch.iter_mut() {
            job.run(&mut work);
            work.check()?;
        }
        crash_point!("postgres.before_flush");
        let (wrote, done) = work.finish(&lane, number)?;
        if let Some(failure) = answered(conn.commit()).err() {
            self.settle(failure, wrote)?;
        }
        crash_point!("postgres.after_commit");
        shared.committed(done, batch.len());
        Ok(())
    }

    /// Makes the lane's row, before the first transaction that numbers itself there: a transaction under way can be waited
    /// for by its lock of the row. Rows of lanes that are gone are deleted.
    fn make_mark(&mut self) -> Result<(), Failure> {
        if self.mark.is_made {
            return Ok(());
        }
        let lane = self.mark.lane;
        let conn = self.connection()?;
        conn.execute_all(
            "DELETE FROM opspawn.commits WHERE at < clock_timestamp() - interval '30 days'",
        )?;
        let sql =
            "INSERT INTO opspawn.commits (lane, number) VALUES ($1, 0) ON CONFLICT DO NOTHING";
        conn.execute(sql, &[(&&lane[..], Type::BYTEA)])?;
        self.mark.is_made = true;
        Ok(())
    }

    // Finds out what became of a transaction whose commit was not answered.
    fn settle(&mut self, failure: Failure, wrote: bool) -> Result<(), Failure> {
        let asks = failure.remedy == Remedy::Reconnect
            && !units::mutant!("ops-store.postgres_commit_is_not_settled");
        if !wrote || !asks {
            // It wrote nothing, or the database refused the commit and said so.
            return Err(failure);
        }
        self.conn = None;
        let (lane, number) = (self.mark.lane, self.mark.number);
        let began = Instant::now();
        loop {
            // The lock waits for the transaction, where the database is still at it.
            let asked = self.connection().and_then(|conn| {
                let sql = "SELECT number FROM opspawn.commits WHERE lane = $1 FOR UPDATE";
                conn.query(sql, &[(&&lane[..], Type::BYTEA)])
            });
            match asked {
                Ok(rows) => {
                    let found = rows.first().and_then(|row| row.try_get::<_, i64>(0).ok());
                    if found != Some(number) {
                        return Err(failure);
                    }
                    tracing::info!(number, "a commit that was not answered took place");
                    return Ok(());
                }
                Err(_) if began.elapsed() < self.shared.options.patience * 2 => {}
                Err(_) => {
                    return Err(Failure::give(format!(
                        "{}; whether the request was written is unknown",
                        failure.message
                    )));
                }
            }
            self.conn = None;
            thread::sleep(RETRY_DELAY * 5);
        }
    }
}

// What is heard of a commit. A test may take the answer away.
fn answered(commit: Result<(), Failure>) -> Result<(), Failure> {
    #[cfg(feature = "failpoints")]
    fail::fail_point!("postgres.lost_commit", |_| Err(Failure::late(
        Duration::ZERO
    )));
    commit
}

/// A request with a typed answer.
pub(crate) struct Writing<T, W> {
    pub(crate) keys: Vec<ops_core::verbs::Key>,
    pub(crate) verb: W,
    pub(crate) verdict: Option<Result<T, StoreError>>,
    pub(crate) reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, W> Job for Writing<T, W>
where
    T: Send,
    W: FnMut(&mut Work<'_>) -> Result<T, StoreError> + Send,
{
    fn keys(&self) -> &[ops_core::verbs::Key] {
        &self.keys
    }

    fn run(&mut self, work: &mut Work<'_>) {
        self.verdict = Some((self.verb)(work));
    }

    fn answer(self: Box<Self>) {
        if let Some(verdict) = self.verdict {
            // A caller who went away needs no answer.
            drop(self.reply.send(verdict));
        }
    }

    fn fail(self: Box<Self>, error: StoreError) {
        drop(self.reply.send(Err(error)));
    }
}

/// A request that reads, with a typed answer.
pub(crate) struct Looking<T, L> {
    pub(crate) look: L,
    pub(crate) found: Option<Result<T, StoreError>>,
    pub(crate) reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, L> Look for Looking<T, L>
where
    T: Send,
    L: FnMut(&Connection) -> Result<Result<T, StoreError>, Failure> + Send,
{
    fn run(&mut self, conn: &Connection) -> Result<(), Failure> {
        self.found = Some((self.look)(conn)?);
        Ok(())
    }

    fn answer(self: Box<Self>) {
        if let Some(found) = self.found {
            drop(self.reply.send(found));
        }
    }

    fn fail(self: Box<Self>, error: StoreError) {
        drop(self.reply.send(Err(error)));
    }
}
