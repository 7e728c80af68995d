//! The loops. No loop writes, or even queries, while no date is due: an idle server is idle.

use std::{collections::BTreeSet, time::Duration};

use ops_core::ports::StoreError;

use crate::{Engine, clock_watch::Look};

/// Tasks that are moved on in one transaction.
const BATCH: u32 = 256;
/// Tasks that are corrected in one transaction, once the clock was set back.
const CORRECTED: u32 = 4_096;
/// The longest that timers sleep: dates are far away, and a timer of the runtime has its limits.
const MAX_SLEEP: Duration = Duration::from_secs(3_600);
/// How often leases are looked at: a lost worker is noticed that much later at the most.
const LEASE_INTERVAL: Duration = Duration::from_secs(1);
/// How often queues with ready tasks are rung again, in case a wake-up was lost.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// How long a loop rests after the store failed.
const RETRY_DELAY: Duration = Duration::from_secs(1);

impl Engine {
    /// Moves on tasks whose delay or timer is over, at their time.
    pub(crate) async fn timers(&self) {
        // What the clock was before the start is not known.
        let mut checked: Option<Look> = None;
        loop {
            let look = Look::at(&*self.clock);
            if checked.is_none_or(|before| before.was_set_back(look))
                && let Err(error) = self.correct_clocks().await
            {
                back_off("timers", &error).await;
                continue;
            }
            checked = Some(look);
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
                    back_off("timers", &error).await;
                    continue;
                }
            }
            self.until_due().await;
        }
    }

    /// Corrects the dates of tasks that were written under a clock that was ahead.
    async fn correct_clocks(&self) -> Result<(), StoreError> {
        loop {
            if units::mutant!("ops-engine.clocks_are_not_corrected") {
                return Ok(());
            }
            let corrected = self.upkeep.correct_clocks(CORRECTED).await?;
            if corrected > 0 {
                tracing::warn!(
                    tasks = corrected,
                    "tasks were written to while the clock was ahead; their waits and deadlines \
                     count from now"
                );
            }
            if corrected < CORRECTED {
                return Ok(());
            }
        }
    }

    /// Waits until a date is due, or the clock is set.
    async fn until_due(&self) {
        loop {
            let Some(due) = self.hub.next_due() else {
                tokio::select! {
                    () = self.hub.sooner() => continue,
                    () = self.hub.when_clock_set() => return,
                }
            };
            let left = due.0.saturating_sub(self.clock.now().0);
            let Ok(left) = u64::try_from(left) else {
                return;
            };
            if left == 0 {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_micros(left).min(MAX_SLEEP)) => {}
                () = self.hub.sooner() => {}
                () = self.hub.when_clock_set() => return,
            }
        }
    }

    /// Takes back the leases of dead workers. Since the loop runs once a second, the loop also notices when
    /// the clock was set, and then has every loop with dates look again.
    pub(crate) async fn leases(&self) {
        let mut last = Look::at(&*self.clock);
        loop {
            tokio::time::sleep(LEASE_INTERVAL).await;
            let look = Look::at(&*self.clock);
            if last.was_set(look) {
                self.hub.clock_set();
                self.schedules_changed.notify_one();
            }
            last = look;
            match self.upkeep.expire_sessions().await {
                Ok(0) => {}
                Ok(sessions) => {
                    tracing::warn!(sessions, "worker sessions expired; leases taken back")
                }
                Err(error) => back_off("leases", &error).await,
            }
        }
    }

    /// Rings queues that have ready tasks again.
    pub(crate) async fn sweeper(&self) {
        let mut warned = BTreeSet::new();
        loop {
            self.look_for_workers().await;
            match self.upkeep.ready_queues().await {
                Ok(queues) => {
                    for queue in queues {
                        if !units::mutant!("ops-engine.the_sweeper_never_rings") {
                            self.queue.wake(&queue);
                        }
                        if !self.serves(&queue) && warned.insert(queue.clone()) {
                            tracing::warn!(
                                queue,
                                "tasks wait in a queue that no worker serves; configure it, or \
                                 cancel them"
                            );
                        }
                    }
                }
                Err(error) => back_off("sweeper", &error).await,
            }
            tokio::time::sleep(SWEEP_INTERVAL).await;
        }
    }
}

async fn back_off(name: &'static str, error: &StoreError) {
    tracing::error!(loop_name = name, %error, "the store failed; trying again in a second");
    tokio::time::sleep(RETRY_DELAY).await;
}
