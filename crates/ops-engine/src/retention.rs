//! Retention: tasks that ended long enough ago are deleted with everything that is theirs alone, in
//! small pieces beside the work that goes on.

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
const MOST: u64 = 1_000;
/// The rest between two transactions: the others come first.
const BREATH: Duration = Duration::from_millis(2);
/// How often it is looked for tasks that have been kept long enough, at the most and at the least.
const INTERVAL: std::ops::RangeInclusive<i64> = SECOND..=3_600 * SECOND;
/// How long the loop rests after the store failed.
const REST: Duration = Duration::from_secs(10);

/// What a request to delete has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// What was deleted.
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

    /// What would be deleted now.
    ///
    /// # Errors
    /// `retention_unset` if everything is kept for ever, or a code of the storage.
    pub async fn expired(&self, keep: Retention) -> Result<Expired, Error> {
        some(keep)?;
        Ok(self.store.expired(keep).await?)
    }

    /// Deletes tasks that have been kept long enough, a thousand at the most.
    ///
    /// # Errors
    /// `retention_unset` if everything is kept for ever, or a code of the storage.
    pub async fn delete_expired(&self, keep: Retention) -> Result<Deleted, Error> {
        some(keep)?;
        Ok(self.delete(keep, MOST).await?)
    }

    /// Deletes what has been kept long enough, again and again. First it ends what a process before
    /// this one has begun.
    pub(crate) async fn retention_loop(&self) {
        let keep = self.settings.retention;
        let kept = [keep.completed, keep.failed, keep.cancelled];
        let shortest = kept.into_iter().flatten().min().unwrap_or(i64::MAX);
        let pause = (shortest / 10).clamp(*INTERVAL.start(), *INTERVAL.end());
        let pause = Duration::from_micros(u64::try_from(pause).unwrap_or(0));
        loop {
            match self.delete(keep, MOST).await {
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
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    async fn delete(&self, keep: Retention, most: u64) -> Result<Deleted, StoreError> {
        let mut deleted = Expired::default();
        let mut count = 0;
        self.purge_doomed().await?;
        let more = loop {
            if count >= most {
                break true;
            }
            let doomed = self.store.doom(keep, BATCH).await?;
            if doomed.tasks.is_empty() {
                break false;
            }
            deleted.events += doomed.events;
            for (state, tasks) in doomed.tasks {
                *deleted.tasks.entry(state).or_default() += tasks;
                count += tasks;
            }
            self.purge_doomed().await?;
        };
        Ok(Deleted {
            expired: deleted,
            more,
        })
    }

    /// Deletes what is left of tasks that were taken away. Their folders go first: as long as one is
    /// there, the task is in the list.
    async fn purge_doomed(&self) -> Result<(), StoreError> {
        loop {
            let tasks = self.store.doomed(BATCH).await?;
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
