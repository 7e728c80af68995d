//! The writer: one thread, one connection, group commit. The writer takes all jobs that were queued while
//! the last commit ran, decides and writes each, commits once, then answers.
//!
//! No caller is answered before the commit: an answer sent after the statement, but before the sync, would
//! acknowledge a task that a power failure then takes away. Jobs of strangers share the transaction, and
//! there are no savepoints. So a refused job must not have written a row: the row would be committed with
//! its neighbours' rows.

pub(crate) mod batch;
pub(crate) mod changes;
pub(crate) mod checkpoint;
pub(crate) mod commit_delay;
pub(crate) mod condition;
pub(crate) mod inbox;
pub(crate) mod job;
pub(crate) mod reserve;
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
        commit_delay::CommitDelay,
        condition::Condition,
        inbox::{Inbox, Waited},
        job::Job,
        reserve::Reserve,
        stats::{WriterMetrics, micros},
    },
};

/// The most jobs in one group.
const MAX_GROUP: usize = 512;
/// How often the writer probes whether writes succeed again while no caller writes.
const PROBE: Duration = Duration::from_secs(1);

/// State of the writer.
pub(crate) struct Writer {
    pub(crate) dir: PathBuf,
    pub(crate) durability: Durability,
    pub(crate) commit_delay: Option<Duration>,
    pub(crate) max_tree_tasks: u64,
    pub(crate) reserve: Reserve,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) inbox: Arc<Inbox<Job>>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) metrics: Arc<WriterMetrics>,
    pub(crate) condition: Arc<Condition>,
}

/// Closes the inbox when the writer ends, however the thread ends: no caller waits for a dead writer.
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
        wal.keep_within(self.reserve.held() / 2);
        let mut batch = Batch::new(conn, &self.sessions, self.max_tree_tasks)?;
        let mut commit_delay = CommitDelay::default();
        let mut jobs = Vec::with_capacity(MAX_GROUP);
        let mut done = Vec::with_capacity(MAX_GROUP);
        let mut expected = 0;
        loop {
            match self.inbox.wait(self.idle_timeout(&wal)) {
                Waited::Items => {}
                Waited::Closed => break,
                Waited::Idle => {
                    self.idle(&batch, &mut wal);
                    continue;
                }
            }
            if let Some(window) = commit_delay.window() {
                let waited = Instant::now();
                self.inbox.commit_delay(expected.min(MAX_GROUP), window);
                let waited = micros(waited.elapsed());
                self.metrics
                    .note(|stats| stats.commit_delay_micros += waited);
            }
            self.inbox.take(MAX_GROUP, &mut jobs);
            let size = jobs.len();
            self.metrics.note(|stats| {
                stats.items += size as u64;
                stats.largest_batch = stats.largest_batch.max(size as u64);
            });
            // Those who are answered now will probably be back; those who queued are there.
            expected = size;
            let mut run = |jobs: &mut Vec<Job>, batch: &mut Batch<'_>| {
                expected += self.run_group(batch, &mut commit_delay, jobs, &mut done);
            };
            let mut deletions = self.deletions_without_space(&mut jobs);
            if !deletions.is_empty() {
                let held = self.reserve.release();
                self.empty(&mut wal);
                run(&mut deletions, &mut batch);
                // The space of the emptied WAL is for the tasks that come next.
                self.empty(&mut wal);
                self.reserve.restore(held);
                wal.keep_within(self.reserve.held() / 2);
            }
            let failed = self.condition.is_failing();
            if !jobs.is_empty() {
                run(&mut jobs, &mut batch);
            }
            if !failed && self.condition.is_failing() {
                // The database may have free pages, and only the WAL no space to grow.
                self.empty(&mut wal);
            } else if wal.checkpoint_if_long() {
                self.checkpointed();
            }
        }
        Ok(())
    }

    /// The deletions among the jobs, if they need the reserve: they become a group of their own.
    fn deletions_without_space(&self, jobs: &mut Vec<Job>) -> Vec<Job> {
        let needed = || self.condition.is_failing() || self.reserve.is_needed();
        if !jobs.iter().any(Job::is_deletion) || !needed() {
            return Vec::new();
        }
        jobs.extract_if(.., |job| job.is_deletion()).collect()
    }

    /// Runs a group. A job that panics fails its group and no other.
    fn run_group(
        &self,
        batch: &mut Batch<'_>,
        commit_delay: &mut CommitDelay,
        jobs: &mut Vec<Job>,
        done: &mut Vec<Job>,
    ) -> usize {
        let group = AssertUnwindSafe(|| self.group(batch, commit_delay, jobs, done));
        let queued = catch_unwind(group).unwrap_or_else(|_| {
            tracing::error!("the writer panicked; the group is rolled back");
            self.roll_back(batch);
            // Whoever waits for one of these hears that the writer did not answer.
            jobs.clear();
            done.clear();
            0
        });
        batch.changes.clear();
        queued
    }

    /// Empties the WAL, if no reader keeps it.
    fn empty(&self, wal: &mut WriteAheadLog<'_>) {
        if wal.empty() {
            self.checkpointed();
        }
    }

    fn checkpointed(&self) {
        self.metrics.note(|stats| stats.checkpoints += 1);
        self.synced(2);
    }

    /// How long the writer sleeps before its own upkeep of the database; for ever without upkeep to do.
    fn idle_timeout(&self, wal: &WriteAheadLog<'_>) -> Option<Duration> {
        match (self.condition.is_failing(), wal.is_dirty()) {
            (true, _) => Some(PROBE),
            (false, true) => Some(IDLE),
            (false, false) => None,
        }
    }

    /// Upkeep without callers: probe whether writes succeed again, and empty the WAL.
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
        } else {
            self.empty(wal);
            self.reserve.keep();
            wal.keep_within(self.reserve.held() / 2);
        }
    }

    fn succeeded(&self) {
        if self.condition.recover() {
            tracing::info!("writes succeed again");
        }
    }

    /// One group: all of its jobs are committed, or none. Gives the number of jobs that were queued when
    /// the commit was done and no caller was answered yet.
    fn group(
        &self,
        batch: &mut Batch<'_>,
        commit_delay: &mut CommitDelay,
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
        let written = written.and_then(|()| self.commit(batch, commit_delay));
        let queued = self.inbox.len();
        match written {
            Ok(()) => {
                self.sessions.note(&mut batch.changes.interrupts);
                done.drain(..).for_each(Job::answer);
                self.tell(batch);
            }
            Err(error) => {
                if !units::mutant!("ops-store.a_failed_group_stays_open") {
                    self.roll_back(batch);
                }
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

    fn commit(
        &self,
        batch: &mut Batch<'_>,
        commit_delay: &mut CommitDelay,
    ) -> rusqlite::Result<()> {
        if !batch.changes.written {
            let stale = batch.changes.work.stale_writes;
            if stale > 0 {
                self.metrics.note(|stats| stats.work.stale_writes += stale);
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
        commit_delay.committed(took);
        self.metrics.note(|stats| {
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
        self.metrics.note(|stats| stats.rollbacks += 1);
        // Some failures have rolled back already.
        if !batch.conn.is_autocommit()
            && let Err(error) = batch.conn.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
    }

    fn synced(&self, files: u64) {
        match self.durability {
            Durability::Full => self.metrics.note(|stats| stats.fsyncs += files),
            Durability::Off => {}
        }
    }
}
