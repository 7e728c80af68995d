//! Retention: deletes tasks that ended long enough ago, with all records that are theirs alone, in small
//! pieces beside other work.

use std::time::Duration;

use ops_core::{
    Code,
    ports::{Expired, Progress, Retention, StoreError},
    time::SECOND,
};

use crate::{Engine, Error};

/// Tasks that are taken away in one transaction.
const BATCH: u32 = 64;
/// The most tasks that one request deletes.
const MAX_DELETED: u64 = 1_000;
/// The rest between two transactions: the others come first.
const BREATH: Duration = Duration::from_millis(2);
/// The shortest and the longest pause between two looks for expired tasks.
const INTERVAL: std::ops::RangeInclusive<i64> = SECOND..=3_600 * SECOND;
/// How long the loop rests after the store failed.
const RETRY_DELAY: Duration = Duration::from_secs(10);

/// Outcome of a request to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// Counts of deleted tasks and events.
    pub expired: Expired,
    /// Whether there is more.
    pub more: bool,
}

impl Engine {
    /// How long tasks are kept.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.settings.retention
    }

    /// Counts the tasks that a request would delete now.
    ///
    /// # Errors
    /// `retention_unset` if all tasks are kept for ever, or a code of the storage.
    pub async fn expired(&self, keep: Retention) -> Result<Expired, Error> {
        some(keep)?;
        Ok(self.store.expired(keep).await?)
    }

    /// Deletes tasks that have been kept long enough, a thousand at the most.
    ///
    /// # Errors
    /// `retention_unset` if all tasks are kept for ever, or a code of the storage.
    pub async fn delete_expired(&self, keep: Retention) -> Result<Deleted, Error> {
        some(keep)?;
        Ok(self.delete(keep, MAX_DELETED).await?)
    }

    /// Deletes expired tasks, again and again. First the loop completes the deletions that an earlier
    /// process began.
    pub(crate) async fn retention_loop(&self) {
        let keep = self.settings.retention;
        let kept = [keep.completed, keep.failed, keep.cancelled];
        let shortest = kept.into_iter().flatten().min().unwrap_or(i64::MAX);
        let pause = (shortest / 10).clamp(*INTERVAL.start(), *INTERVAL.end());
        let pause = Duration::from_micros(u64::try_from(pause).unwrap_or(0));
        loop {
            match self.delete(keep, MAX_DELETED).await {
                Ok(deleted) => {
                    let tasks: u64 = deleted.expired.tasks.values().sum();
                    if tasks > 0 {
                        let events = deleted.expired.events;
                        tracing::info!(tasks, events, "deleted tasks that were kept long enough");
                    }
                    if deleted.more {
                        continue;
                    }
                    // Without a policy there is nothing more to come.
                    if keep.keeps_all() {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                }
                Err(error) => {
                    tracing::error!(%error, "retention failed; trying again in ten seconds");
                    tokio::time::sleep(RETRY_DELAY).await;
                }
            }
        }
    }

    async fn delete(&self, keep: Retention, most: u64) -> Result<Deleted, StoreError> {
        let mut deleted = Expired::default();
        let (mut count, mut batch) = (0, BATCH);
        self.purge_tombstones().await?;
        let more = loop {
            if count >= most {
                break true;
            }
            let tombstones = match self.store.mark_deleted(keep, batch).await {
                // The space that is left may do for fewer tasks.
                Err(StoreError::Full(_)) if batch > 1 => {
                    batch /= 4;
                    continue;
                }
                marked => marked?,
            };
            if tombstones.tasks.is_empty() {
                break false;
            }
            deleted.events += tombstones.events;
            for (state, tasks) in tombstones.tasks {
                *deleted.tasks.entry(state).or_default() += tasks;
                count += tasks;
            }
            self.purge_tombstones().await?;
        };
        Ok(Deleted {
            expired: deleted,
            more,
        })
    }

    /// Deletes the remaining rows of tombstones. Their folders go first: the tombstone stays until its
    /// folder is gone, so that a crash in between leaves no folder that no record names.
    async fn purge_tombstones(&self) -> Result<(), StoreError> {
        loop {
            let tasks = self.store.tombstones(BATCH).await?;
            if tasks.is_empty() {
                break;
            }
            for (_, task) in &tasks {
                self.workspaces.remove(*task).await;
            }
            while self.store.purge(tasks.clone()).await? == Progress::More {
                tokio::time::sleep(BREATH).await;
            }
            tokio::time::sleep(BREATH).await;
        }
        while self.store.sweep_blobs().await? == Progress::More {
            tokio::time::sleep(BREATH).await;
        }
        Ok(())
    }
}

fn some(keep: Retention) -> Result<(), Error> {
    if keep.keeps_all() {
        let message = "every task is kept for ever, so there is nothing to delete";
        return Err(Error::new(Code::RetentionUnset, message));
    }
    Ok(())
}
