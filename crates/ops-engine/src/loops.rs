//! The loops. None of them writes, or even asks, while nothing is due: an idle server is idle.

use std::{collections::BTreeSet, time::Duration};

use ops_core::ports::StoreError;

use crate::Engine;

/// Tasks that are moved on in one transaction.
const BATCH: u32 = 256;
/// How often leases are looked at: a lost worker is noticed that much later at the most.
const LEASE_INTERVAL: Duration = Duration::from_secs(1);
/// How often queues with ready tasks are rung again, in case a wake-up was lost.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// How long a loop rests after the store failed.
const REST: Duration = Duration::from_secs(1);

impl Engine {
    /// Moves on tasks whose delay or timer is over, at their time.
    pub(crate) async fn timers(&self) {
        loop {
            self.hub.forget_due();
            match self.upkeep.wake_due(BATCH).await {
                Ok(due) if due.woken == BATCH => continue,
                Ok(due) => {
                    if let Some(next) = due.next {
                        self.hub.due(next);
                    }
                }
                // The dates were forgotten: they must be read before anything waits for one.
                Err(error) => {
                    rest("timers", &error).await;
                    continue;
                }
            }
            self.until_due().await;
        }
    }

    async fn until_due(&self) {
        loop {
            let Some(due) = self.hub.next_due() else {
                self.hub.sooner().await;
                continue;
            };
            let left = due.0.saturating_sub(self.clock.now().0);
            let Ok(left) = u64::try_from(left) else {
                return;
            };
            if left == 0 {
                return;
            }
            // The clock may be set meanwhile: never sleep past the next look at it.
            let nap = Duration::from_micros(left).min(Duration::from_secs(60));
            tokio::select! {
                () = tokio::time::sleep(nap) => {}
                () = self.hub.sooner() => {}
            }
        }
    }

    /// Takes back the leases of workers that are gone.
    pub(crate) async fn leases(&self) {
        loop {
            tokio::time::sleep(LEASE_INTERVAL).await;
            match self.upkeep.expire_sessions().await {
                Ok(0) => {}
                Ok(sessions) => {
                    tracing::warn!(sessions, "worker sessions expired; leases taken back")
                }
                Err(error) => rest("leases", &error).await,
            }
        }
    }

    /// Rings queues that have ready tasks again.
    pub(crate) async fn sweeper(&self) {
        let mut warned = BTreeSet::new();
        loop {
            match self.upkeep.ready_queues().await {
                Ok(queues) => {
                    for queue in queues {
                        self.queue.wake(&queue);
                        if !self.serves(&queue) && warned.insert(queue.clone()) {
                            tracing::warn!(
                                queue,
                                "tasks wait in a queue that no worker serves; configure it, or \
                                 cancel them"
                            );
                        }
                    }
                }
                Err(error) => rest("sweeper", &error).await,
            }
            tokio::time::sleep(SWEEP_INTERVAL).await;
        }
    }
}

async fn rest(name: &'static str, error: &StoreError) {
    tracing::error!(loop_name = name, %error, "the store failed; trying again in a second");
    tokio::time::sleep(REST).await;
}
