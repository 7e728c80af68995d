//! The writer: one thread, one connection, group commit. It takes whatever was queued while the
//! last commit ran, decides and writes each item, commits once, then answers.

pub(crate) mod batch;
pub(crate) mod changes;
pub(crate) mod checkpoint;
pub(crate) mod condition;
pub(crate) mod inbox;
pub(crate) mod job;
pub(crate) mod linger;
pub(crate) mod statements;
pub(crate) mod stats;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use ops_core::ports::{Clock, Observer};
use rusqlite::Connection;

use crate::sqlite::{
    error::{free_bytes, store_error},
    options::Durability,
    sessions::Sessions,
    writer::{
        batch::Batch,
        checkpoint::{IDLE, WriteAheadLog},
        condition::Condition,
        inbox::{Inbox, Waited},
        job::Job,
        linger::Linger,
        stats::{Meter, micros},
    },
};

/// The most jobs in one group.
const MOST: usize = 512;
/// How often it is tried whether writes succeed again while nobody writes.
const PROBE: Duration = Duration::from_secs(1);

/// What the writer works with.
pub(crate) struct Writer {
    pub(crate) dir: PathBuf,
    pub(crate) durability: Durability,
    pub(crate) commit_delay: Option<Duration>,
    pub(crate) max_tree_tasks: u64,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) inbox: Arc<Inbox<Job>>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) condition: Arc<Condition>,
}

/// Closes the inbox when the writer ends, however it ends: nobody waits for a dead writer.
struct Closing<'a>(&'a Inbox<Job>);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Writer {
    /// Serves the inbox until it is closed.
    pub(crate) fn run(self, conn: Connection) {
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
        let mut wal = WriteAheadLog::follow(conn);
        let mut batch = Batch::new(conn, &self.sessions, self.max_tree_tasks)?;
        let mut linger = Linger::default();
        let mut jobs = Vec::with_capacity(MOST);
        let mut done = Vec::with_capacity(MOST);
        let mut expected = 0;
        loop {
            match self.inbox.wait(self.patience(&wal)) {
                Waited::Items => {}
                Waited::Closed => break,
                Waited::Idle => {
                    self.idle(&batch, &mut wal);
                    continue;
                }
            }
            if let Some(window) = linger.window() {
                let waited = Instant::now();
                self.inbox.linger(expected.min(MOST), window);
                let waited = micros(waited.elapsed());
                self.meter.note(|stats| stats.linger_micros += waited);
            }
            self.inbox.take(MOST, &mut jobs);
            let size = jobs.len();
            self.meter.note(|stats| {
                stats.items += size as u64;
                stats.largest_batch = stats.largest_batch.max(size as u64);
            });
            let group =
                AssertUnwindSafe(|| self.group(&mut batch, &mut linger, &mut jobs, &mut done));
            // Those who are answered now will probably be back; those who queued are there.
            expected = size;
            if let Ok(queued) = catch_unwind(group) {
                expected += queued;
            } else {
                tracing::error!("the writer panicked; the group is rolled back");
                self.roll_back(&batch);
                // Whoever waits for one of these hears that the writer did not answer.
                jobs.clear();
                done.clear();
            }
            batch.changes.clear();
            if wal.checkpoint_if_long() {
                self.meter.note(|stats| stats.checkpoints += 1);
                self.synced(2);
            }
        }
        Ok(())
    }

    /// How long it sleeps before it looks after the database by itself; for ever if there is nothing to do.
    fn patience(&self, wal: &WriteAheadLog<'_>) -> Option<Duration> {
        match (self.condition.is_failing(), wal.is_dirty()) {
            (true, _) => Some(PROBE),
            (false, true) => Some(IDLE),
            (false, false) => None,
        }
    }

    /// What is done while nobody asks for anything: see whether writes succeed again, and empty the WAL.
    fn idle(&self, batch: &Batch<'_>, wal: &mut WriteAheadLog<'_>) {
        if self.condition.is_failing() {
            if !self.condition.may_recover(free_bytes(&self.dir)) {
                return;
            }
            // The same number again, but written: a page goes to the disk.
            let version = crate::sqlite::SCHEMA_VERSION;
            let probe = format!("BEGIN IMMEDIATE; PRAGMA user_version = {version}; COMMIT");
            match batch.conn.execute_batch(&probe) {
                Ok(()) => self.succeeded(),
                Err(error) => {
                    self.roll_back(batch);
                    let error = store_error(&self.dir, &error);
                    self.condition.fail(error, free_bytes(&self.dir));
                }
            }
        } else if wal.empty() {
            self.meter.note(|stats| stats.checkpoints += 1);
            self.synced(2);
        }
    }

    fn succeeded(&self) {
        if self.condition.recover() {
            tracing::info!("writes succeed again");
        }
    }

    /// One group: everything in it is committed, or nothing. Says how many jobs were queued
    /// when the commit was done and nobody was answered yet.
    fn group(
        &self,
        batch: &mut Batch<'_>,
        linger: &mut Linger,
        jobs: &mut Vec<Job>,
        done: &mut Vec<Job>,
    ) -> usize {
        batch.now = self.clock.now();
        let mut written = batch.sql.begin.execute(()).map(drop);
        for mut job in jobs.drain(..) {
            // After a failure of storage the others of the group are not even looked at.
            if written.is_ok()
                && let Some(error) = job.perform(batch)
            {
                written = Err(error);
            }
            done.push(job);
        }
        let written = written.and_then(|()| self.commit(batch, linger));
        let queued = self.inbox.len();
        match written {
            Ok(()) => {
                self.sessions.note(&mut batch.changes.interrupts);
                done.drain(..).for_each(Job::answer);
                self.tell(batch);
            }
            Err(error) => {
                self.roll_back(batch);
                let error = store_error(&self.dir, &error);
                // Once, not for each group until somebody has freed the disk.
                if self.condition.fail(error.clone(), free_bytes(&self.dir)) {
                    tracing::error!(%error, "writes fail");
                }
                done.drain(..).for_each(|job| job.fail(error.clone()));
            }
        }
        queued
    }

    fn commit(&self, batch: &mut Batch<'_>, linger: &mut Linger) -> rusqlite::Result<()> {
        if !batch.changes.written {
            let stale = batch.changes.work.stale_writes;
            if stale > 0 {
                self.meter.note(|stats| stats.work.stale_writes += stale);
            }
            // Ends the transaction without touching the disk.
            return batch.sql.commit.execute(()).map(drop);
        }
        batch.flush_counters()?;
        if batch.changes.submitted {
            crash_point!("submit.before_commit");
        }
        let start = Instant::now();
        if let Some(delay) = self.commit_delay {
            thread::sleep(delay);
        }
        batch.sql.commit.execute(())?;
        let took = start.elapsed();
        self.succeeded();
        if batch.changes.submitted {
            crash_point!("submit.after_commit");
        }
        linger.committed(took);
        self.meter.note(|stats| {
            stats.commits.add(micros(took));
            stats.transactions += 1;
            stats.events += batch.changes.events;
            stats.work.merge(&batch.changes.work);
        });
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
        self.meter.note(|stats| stats.rollbacks += 1);
        // Some failures have rolled back already.
        if !batch.conn.is_autocommit()
            && let Err(error) = batch.conn.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
    }

    fn synced(&self, files: u64) {
        match self.durability {
            Durability::Full => self.meter.note(|stats| stats.fsyncs += files),
            Durability::Off => {}
        }
    }
}
