//! Notices right after a commit: to workers, to readers, and to timers about new dates.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use ops_core::{
    Micros,
    ports::{FoundBy, Hint, Live, Notice, Observer, Queue},
};
use tokio::sync::Notify;

/// Observes the store's commits.
pub struct Hub {
    queue: Arc<dyn Queue>,
    live: Arc<dyn Live>,
    /// The next date that the timers know; `i64::MAX` for no date.
    next_due: AtomicI64,
    sooner: Notify,
    clock_set: Notify,
}

impl Hub {
    /// A hub that wakes these.
    #[must_use]
    pub fn new(queue: Arc<dyn Queue>, live: Arc<dyn Live>) -> Arc<Self> {
        Arc::new(Self {
            queue,
            live,
            next_due: AtomicI64::new(i64::MAX),
            sooner: Notify::new(),
            clock_set: Notify::new(),
        })
    }

    /// The next known date, if the timers know a date.
    pub(crate) fn next_due(&self) -> Option<Micros> {
        match self.next_due.load(Ordering::SeqCst) {
            i64::MAX => None,
            micros => Some(Micros(micros)),
        }
    }

    /// Forgets the dates, before they are read again from the store.
    pub(crate) fn forget_due(&self) {
        self.next_due.store(i64::MAX, Ordering::SeqCst);
    }

    /// Learns of a date.
    pub(crate) fn due(&self, at: Micros) {
        if self.next_due.fetch_min(at.0, Ordering::SeqCst) > at.0 {
            self.sooner.notify_one();
        }
    }

    /// The clock was set: the timers compare their dates with the clock anew.
    pub(crate) fn clock_set(&self) {
        self.clock_set.notify_one();
    }

    /// Waits until the clock is set.
    pub(crate) async fn when_clock_set(&self) {
        self.clock_set.notified().await;
    }

    /// Waits until an earlier date is known.
    pub(crate) async fn sooner(&self) {
        self.sooner.notified().await;
    }
}

impl Observer for Hub {
    fn committed(&self, notices: &[Notice]) {
        for notice in notices {
            if let Some(queue) = &notice.ready {
                self.queue.wake(queue);
            }
            if let Some(due) = notice.due {
                self.due(due);
            }
            self.live.hint(notice.hint);
        }
    }

    fn ready(&self, queue: &str, by: FoundBy) {
        self.queue.found(queue, by);
    }

    fn rings(&self, queue: &str) -> bool {
        self.queue.rings(queue)
    }

    fn changed(&self, hint: Hint) {
        self.live.hint(hint);
    }

    fn overdue(&self) {
        // A date long past is due now.
        self.due(Micros(0));
    }
}
