//! Queues that wake workers. The store is the truth: a wake-up that is lost or repeated costs delay or an empty claim.

use super::Fut;

/// Wakes workers. A wake-up carries no task: the worker claims by the store's policy.
pub trait Queue: Send + Sync {
    /// Wakes a worker that listens to the queue, in this process or another. Returns at once. A wake-up may be lost;
    /// the sweeper repeats the wake-up.
    fn wake(&self, queue: &str);
    /// The store says that the queue may have work. Wakes workers of this process alone.
    fn found(&self, queue: &str, by: FoundBy) {
        let _ = by;
        self.wake(queue);
    }
    /// Waits until the queue may have work. The caller holds the wake-up until the transaction of its claim is over.
    fn wait<'a>(&'a self, queue: &'a str) -> Fut<'a, Wakeup>;
    /// Work is ready that the woken worker has no slot for. Wakes a worker of another process.
    fn pass_on(&self, _queue: &str) {}
    /// Whether a wake-up of the queue reaches other processes now.
    fn rings(&self, _queue: &str) -> bool {
        false
    }
    /// Condition of the queue.
    fn health(&self) -> QueueHealth {
        QueueHealth::default()
    }
}

/// How the store learned that a queue may have work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundBy {
    /// A notification of another process, right after its commit. `rung`: that process woke a worker by the queue as well.
    Notification {
        /// Whether a worker was woken by the queue.
        rung: bool,
    },
    /// A look at the database.
    Look,
}

/// A wake-up, which is acknowledged when dropped: once the claim's transaction is over, whatever came of the claim.
#[derive(Default)]
pub struct Wakeup(Option<Box<dyn FnOnce() + Send>>);

impl Wakeup {
    /// A wake-up that is acknowledged by this function, which must not block.
    pub fn new(acknowledge: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(acknowledge)))
    }
}

impl Drop for Wakeup {
    fn drop(&mut self) {
        if let Some(acknowledge) = self.0.take() {
            acknowledge();
        }
    }
}

impl std::fmt::Debug for Wakeup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Wakeup").field(&self.0.is_some()).finish()
    }
}

/// Condition of a queue. A queue that does not work costs delay only: the store wakes workers too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueHealth {
    /// The state in a few words; empty for a queue within the process.
    pub state: String,
    /// Defects, each with its remedy.
    pub warnings: Vec<String>,
}
