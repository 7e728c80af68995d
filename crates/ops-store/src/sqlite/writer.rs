//! The writer: one thread, one connection, group commit. It takes whatever was queued while the
//! last commit ran, decides and writes each item, commits once, then answers.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed, mpsc},
    thread,
    time::{Duration, Instant},
};

use ops_core::{
    Lifecycle, SessionId, TaskId, TenantId,
    ports::{ClaimRequest, Clock, Due, Observer, StoreError},
};
use rusqlite::{Connection, hooks::Wal};
use tokio::sync::oneshot;

use super::{
    answer::Answer,
    apply,
    batch::Batch,
    claim::{self, Claimed},
    error::{Fault, store_error},
    inbox::Inbox,
    leases,
    linger::Linger,
    options::Durability,
    prepare::{Prepared, PreparedSnapshot, PreparedTask},
    sessions::Sessions,
    stats::{Meter, add, add_time},
    submit::{self, Found},
};

/// The most items in one group.
const MOST: usize = 512;
/// Pages in the WAL after which it is checkpointed.
const CHECKPOINT_PAGES: i32 = 4_000;
/// Pages in the WAL after which a checkpoint waits for the readers, so that it begins anew.
const ENDLESS_PAGES: i32 = 40_000;

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What is asked of the writer.
#[derive(Debug)]
pub(super) enum Request {
    Submit(Box<PreparedTask>, Reply<Found>),
    Claim(ClaimRequest, Reply<Claimed>),
    /// Without a reply if nobody waits for it.
    Apply(Apply, Option<Reply<Lifecycle>>),
    PutSnapshot(TenantId, TaskId, PreparedSnapshot, Reply<()>),
    EndSession(SessionId, Reply<u32>),
    /// At the start, while nobody is in a runtime yet.
    VoidLeases(mpsc::Sender<Result<u32, StoreError>>),
    WakeDue(u32, Reply<Due>),
}

/// A command for one task.
#[derive(Debug)]
pub(super) struct Apply {
    pub(super) tenant: TenantId,
    pub(super) task: TaskId,
    pub(super) prepared: Prepared,
}

/// What the writer works with.
pub(super) struct Writer {
    pub(super) dir: PathBuf,
    pub(super) durability: Durability,
    pub(super) commit_delay: Option<Duration>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) inbox: Arc<Inbox<Request>>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) meter: Arc<Meter>,
}

thread_local! {
    /// How many pages the WAL has, as the last commit of this thread left it.
    static WAL_PAGES: Cell<i32> = const { Cell::new(0) };
}

/// Closes the inbox when the writer ends, however it ends: nobody waits for a dead writer.
struct Closing<'a>(&'a Inbox<Request>);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Writer {
    /// Serves the inbox until it is closed.
    pub(super) fn run(self, conn: Connection) {
        let closing = Closing(&self.inbox);
        if let Err(error) = self.serve(&conn) {
            tracing::error!(%error, "the writer cannot start");
        }
        drop(closing);
        if let Err((_, error)) = conn.close() {
            tracing::warn!(%error, "the database did not close cleanly; the next start recovers it");
        }
    }

    fn serve(&self, conn: &Connection) -> rusqlite::Result<()> {
        conn.wal_hook(Some(|_: &Wal, pages| {
            WAL_PAGES.set(pages);
            Ok(())
        }));
        let mut batch = Batch::new(conn, &self.sessions)?;
        let mut linger = Linger::default();
        let mut requests = Vec::with_capacity(MOST);
        let mut answers = Vec::with_capacity(MOST);
        let (mut expected, mut moved) = (0, 0);
        while self.inbox.wait() {
            if let Some(window) = linger.window() {
                let waited = Instant::now();
                self.inbox.linger(expected.min(MOST), window);
                add_time(&self.meter.linger_micros, waited.elapsed());
            }
            self.inbox.take(MOST, &mut requests);
            let size = requests.len();
            add(&self.meter.items, size as u64);
            self.meter.largest_batch.fetch_max(size as u64, Relaxed);
            let group = AssertUnwindSafe(|| {
                self.group(&mut batch, &mut linger, &mut requests, &mut answers);
            });
            if catch_unwind(group).is_err() {
                tracing::error!("the writer panicked; the group is rolled back");
                self.roll_back(&batch);
                // Whoever waits for one of these hears that the writer did not answer.
                requests.clear();
                answers.clear();
            }
            expected = size + self.inbox.len();
            batch.changes.clear();
            self.checkpoint(conn, &mut moved);
        }
        Ok(())
    }

    /// One group: everything in it is committed, or nothing.
    fn group(
        &self,
        batch: &mut Batch<'_>,
        linger: &mut Linger,
        requests: &mut Vec<Request>,
        answers: &mut Vec<Answer>,
    ) {
        batch.now = self.clock.now();
        let mut written = batch.sql.begin.execute(()).map(drop);
        for request in requests.drain(..) {
            match &written {
                Ok(()) => match answer(batch, request) {
                    (answer, None) => answers.push(answer),
                    (answer, Some(error)) => {
                        answers.push(answer);
                        written = Err(error);
                    }
                },
                Err(error) => answers.push(Answer::refused(request, store_error(&self.dir, error))),
            }
        }
        match written.and_then(|()| self.commit(batch, linger)) {
            Ok(()) => {
                self.sessions.note(&mut batch.changes.interrupts);
                for answer in answers.drain(..) {
                    answer.send(&self.inbox);
                }
                self.tell(batch);
            }
            Err(error) => {
                self.roll_back(batch);
                let error = store_error(&self.dir, &error);
                tracing::error!(%error, items = answers.len(), "a group of writes failed");
                for answer in answers.drain(..) {
                    answer.fail(error.clone());
                }
            }
        }
    }

    fn commit(&self, batch: &mut Batch<'_>, linger: &mut Linger) -> rusqlite::Result<()> {
        if !batch.changes.written {
            // Ends the transaction without touching the disk.
            return batch.sql.commit.execute(()).map(drop);
        }
        batch.flush_counters()?;
        if batch.changes.submitted {
            fail::fail_point!("submit.before_commit");
        }
        let start = Instant::now();
        if let Some(delay) = self.commit_delay {
            thread::sleep(delay);
        }
        batch.sql.commit.execute(())?;
        let took = start.elapsed();
        if batch.changes.submitted {
            fail::fail_point!("submit.after_commit");
        }
        linger.committed(took);
        add_time(&self.meter.commit_micros, took);
        add(&self.meter.transactions, 1);
        add(&self.meter.events, batch.changes.events);
        self.synced(1);
        Ok(())
    }

    /// An observer that panics has a defect of its own; the commit stands.
    fn tell(&self, batch: &Batch<'_>) {
        if batch.changes.notices.is_empty() {
            return;
        }
        let told = AssertUnwindSafe(|| self.observer.committed(&batch.changes.notices));
        if catch_unwind(told).is_err() {
            tracing::error!("the observer of commits panicked");
        }
    }

    fn roll_back(&self, batch: &Batch<'_>) {
        add(&self.meter.rollbacks, 1);
        // Some failures have rolled back already.
        if !batch.conn.is_autocommit()
            && let Err(error) = batch.conn.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
    }

    /// Moves the WAL into the database once it is long, after everybody has been answered.
    /// `done` is how many of its pages the checkpoint before has moved.
    fn checkpoint(&self, conn: &Connection, done: &mut i32) {
        let pages = WAL_PAGES.get();
        if pages < *done {
            // The WAL began anew.
            *done = 0;
        }
        // A reader may keep the WAL from beginning anew for a while; then each commit would find it
        // long.
        if pages < CHECKPOINT_PAGES || pages - *done < CHECKPOINT_PAGES / 4 {
            return;
        }
        let mode = if pages < ENDLESS_PAGES {
            "PASSIVE"
        } else {
            "RESTART"
        };
        let moved = conn
            .prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))
            .and_then(|mut statement| statement.query_row((), |row| row.get(2)));
        match moved {
            Ok(moved) => {
                *done = moved;
                add(&self.meter.checkpoints, 1);
                self.synced(2);
            }
            Err(error) => {
                *done = pages;
                tracing::warn!(%error, "the WAL could not be checkpointed");
            }
        }
    }

    fn synced(&self, files: u64) {
        match self.durability {
            Durability::Full => add(&self.meter.fsyncs, files),
            Durability::Off => {}
        }
    }
}

/// Does one request; with the error if storage failed, which fails the whole group.
fn answer(batch: &mut Batch<'_>, request: Request) -> (Answer, Option<rusqlite::Error>) {
    fn verdict<T>(done: Result<T, Fault>) -> (Result<T, StoreError>, Option<rusqlite::Error>) {
        match done {
            Ok(value) => (Ok(value), None),
            Err(Fault::Refused(error)) => (Err(error), None),
            Err(Fault::Broken(error)) => {
                (Err(StoreError::Unavailable(error.to_string())), Some(error))
            }
        }
    }
    match request {
        Request::Submit(task, reply) => {
            let (verdict, broken) = verdict(submit::submit(batch, *task));
            (Answer::Submit(reply, verdict.map(Box::new)), broken)
        }
        Request::Claim(request, reply) => {
            let (verdict, broken) = verdict(claim::claim(batch, &request));
            (Answer::Claim(reply, verdict), broken)
        }
        Request::Apply(
            Apply {
                tenant,
                task,
                prepared,
            },
            reply,
        ) => {
            let (verdict, broken) = verdict(apply::apply(batch, tenant, task, prepared));
            (Answer::Apply(reply, verdict), broken)
        }
        Request::PutSnapshot(tenant, task, snapshot, reply) => {
            let (verdict, broken) = verdict(apply::put_snapshot(batch, tenant, task, &snapshot));
            (Answer::Done(reply, verdict), broken)
        }
        Request::EndSession(session, reply) => {
            let (verdict, broken) = verdict(leases::end_session(batch, session));
            (Answer::Count(reply, verdict), broken)
        }
        Request::VoidLeases(reply) => {
            let (verdict, broken) = verdict(leases::void_leases(batch));
            (Answer::Voided(reply, verdict), broken)
        }
        Request::WakeDue(limit, reply) => {
            let (verdict, broken) = verdict(leases::wake_due(batch, limit));
            (Answer::Due(reply, verdict), broken)
        }
    }
}
