//! State shared by the two connections and the port.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use ops_core::ports::{FoundBy, QueueHealth, Random};
use tokio::sync::Notify;

use super::{Options, address::Address, served::Served};

/// A connection, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    /// Not needed: this process serves no queue.
    Unused,
    /// The connection is being made.
    Connecting,
    /// The connection works.
    Connected,
    /// The broker takes no messages, for this reason.
    Blocked(String),
    /// No connection, for this reason.
    Away(String),
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Messages confirmed by the broker.
    pub rung: u64,
    /// Messages not confirmed in time, or lost with a connection.
    pub unconfirmed: u64,
    /// Messages returned because their queue was missing.
    pub returned: u64,
    /// Messages received.
    pub received: u64,
    /// Messages received while no worker of this process had a free slot, and passed on.
    pub passed_on: u64,
    /// Connections made.
    pub connections: u64,
    /// Connections of now: at most two, for publishing and for consuming.
    pub connected: u64,
}

/// Counters of [`Counts`].
#[derive(Default)]
pub(super) struct Counters {
    pub(super) rung: AtomicU64,
    pub(super) unconfirmed: AtomicU64,
    pub(super) returned: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) passed_on: AtomicU64,
    pub(super) connections: AtomicU64,
}

/// The queues of this process.
#[derive(Default)]
struct Queues {
    served: BTreeMap<String, Arc<Served>>,
    /// Queues with work for which no worker of this process has waited so far: a worker may be about to wait.
    expecting: BTreeSet<String>,
}

/// Increments a counter.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

pub(super) struct State {
    pub(super) address: Address,
    pub(super) declare_again: Duration,
    /// Seeds for the delays of the two connections.
    pub(super) seeds: [u64; 2],
    pub(super) counters: Counters,
    served: Mutex<Queues>,
    /// Rings when a queue is served for the first time.
    pub(super) more_served: Notify,
    /// Queues with a message to publish.
    pending: Mutex<BTreeSet<String>>,
    /// Rings when there is such a queue.
    pub(super) rung: Notify,
    publishing: Mutex<Link>,
    consuming: Mutex<Link>,
    /// Queues refused by the broker: time and reason.
    refused: Mutex<BTreeMap<String, (Instant, String)>>,
}

impl State {
    pub(super) fn new(options: Options, random: &dyn Random) -> Self {
        let seed = || {
            let bytes = random.id_bytes();
            bytes
                .iter()
                .fold(0, |seed, byte| (seed << 8) ^ u64::from(*byte))
        };
        Self {
            address: options.address,
            declare_again: options.declare_again,
            seeds: [seed(), seed()],
            counters: Counters::default(),
            served: Mutex::default(),
            more_served: Notify::new(),
            pending: Mutex::default(),
            rung: Notify::new(),
            publishing: Mutex::new(Link::Connecting),
            consuming: Mutex::new(Link::Unused),
            refused: Mutex::default(),
        }
    }

    /// Registers the queue as served by this process.
    pub(super) fn serve(&self, queue: &str) -> Arc<Served> {
        let mut queues = lock(&self.served);
        if let Some(served) = queues.served.get(queue) {
            return Arc::clone(served);
        }
        let new = Arc::new(Served::new(queue));
        if queues.expecting.remove(queue) {
            new.found();
        }
        queues.served.insert(queue.to_owned(), Arc::clone(&new));
        drop(queues);
        self.more_served.notify_one();
        new
    }

    /// The queues served by this process.
    pub(super) fn served(&self) -> Vec<Arc<Served>> {
        lock(&self.served).served.values().cloned().collect()
    }

    /// Wakes a worker of any process; while the broker takes no message, a worker of this process.
    pub(super) fn wake(&self, queue: &str) {
        // Published later if not now.
        self.ring(queue);
        if !self.rings(queue) {
            self.wake_here(queue);
        }
    }

    /// Has a message published. Pending messages of a queue are merged.
    pub(super) fn ring(&self, queue: &str) {
        let mut pending = lock(&self.pending);
        if !pending.contains(queue) {
            pending.insert(queue.to_owned());
            drop(pending);
            self.rung.notify_one();
        }
    }

    /// Takes the queues with a message to publish.
    pub(super) fn take_pending(&self) -> BTreeSet<String> {
        std::mem::take(&mut lock(&self.pending))
    }

    pub(super) fn found(&self, queue: &str, by: FoundBy) {
        let served = lock(&self.served).served.get(queue).cloned();
        let Some(served) = served else { return };
        match by {
            // A message of the broker wakes one worker, wherever it is: the others need not look.
            FoundBy::Notification { rung: true } if served.is_live.load(SeqCst) => {}
            FoundBy::Notification { .. } | FoundBy::Look => served.found(),
        }
    }

    /// Wakes a worker of this process, or the next worker to wait.
    pub(super) fn wake_here(&self, queue: &str) {
        let mut queues = lock(&self.served);
        if let Some(served) = queues.served.get(queue) {
            served.found();
        } else if !queues.expecting.contains(queue) {
            queues.expecting.insert(queue.to_owned());
        }
    }

    /// Whether the broker takes messages of the queue.
    pub(super) fn rings(&self, queue: &str) -> bool {
        *lock(&self.publishing) == Link::Connected && !lock(&self.refused).contains_key(queue)
    }

    pub(super) fn publishing(&self, link: Link) {
        self.log("publishing", &link, &lock(&self.publishing));
        *lock(&self.publishing) = link;
    }

    pub(super) fn consuming(&self, link: Link) {
        self.log("consuming", &link, &lock(&self.consuming));
        *lock(&self.consuming) = link;
    }

    /// Logs a change of state; a repeated failure is logged once.
    fn log(&self, what: &'static str, now: &Link, before: &Link) {
        if now == before {
            return;
        }
        let broker = &self.address;
        match (now, before) {
            (Link::Connected, Link::Away(_) | Link::Blocked(_)) => {
                tracing::info!(%broker, what, "the broker works again");
            }
            (Link::Connected | Link::Connecting | Link::Unused, _) => {
                tracing::debug!(%broker, what, link = ?now, "the broker's connection");
            }
            (Link::Blocked(reason), _) => {
                tracing::warn!(%broker, what, reason, "the broker takes no messages; the store wakes workers");
            }
            (Link::Away(_), Link::Away(_)) => {}
            (Link::Away(reason), _) => {
                tracing::warn!(%broker, what, reason, "the broker is away; the store wakes workers");
            }
        }
    }

    /// The broker refuses the queue.
    pub(super) fn refuse(&self, queue: &str, why: String) {
        let before = lock(&self.refused).insert(queue.to_owned(), (Instant::now(), why.clone()));
        if before.is_none_or(|(_, before)| before != why) {
            tracing::error!(broker = %self.address, queue, "{why}");
        }
    }

    /// The broker has the queue.
    pub(super) fn accept(&self, queue: &str) {
        if lock(&self.refused).remove(queue).is_some() {
            tracing::info!(broker = %self.address, queue, "the broker has the queue now");
        }
    }

    /// Whether the queue was refused a moment ago: then the broker is not asked again yet.
    pub(super) fn is_refused(&self, queue: &str) -> bool {
        let refused = lock(&self.refused);
        let since = refused.get(queue).map(|(since, _)| *since);
        since.is_some_and(|since| since.elapsed() < self.declare_again)
    }

    pub(super) fn counts(&self) -> Counts {
        let counters = &self.counters;
        let links = [
            lock(&self.publishing).clone(),
            lock(&self.consuming).clone(),
        ];
        let there = |link: &&Link| matches!(link, Link::Connected | Link::Blocked(_));
        Counts {
            rung: counters.rung.load(Relaxed),
            unconfirmed: counters.unconfirmed.load(Relaxed),
            returned: counters.returned.load(Relaxed),
            received: counters.received.load(Relaxed),
            passed_on: counters.passed_on.load(Relaxed),
            connections: counters.connections.load(Relaxed),
            connected: links.iter().filter(there).count() as u64,
        }
    }

    pub(super) fn health(&self) -> QueueHealth {
        let (publishing, consuming) = (
            lock(&self.publishing).clone(),
            lock(&self.consuming).clone(),
        );
        let broker = &self.address;
        let slower = "workers find work through the database meanwhile, later";
        let mut warnings = Vec::new();
        for link in [&publishing, &consuming] {
            let warning = match link {
                Link::Away(reason) => format!(
                    "the broker {broker} cannot be used ({reason}); {slower}. It is tried again every few seconds: \
                     see to the broker, or to `queue.url`"
                ),
                Link::Blocked(reason) => format!(
                    "the broker {broker} takes no messages ({reason}); {slower}. See to the broker's memory and disk"
                ),
                Link::Unused | Link::Connecting | Link::Connected => continue,
            };
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        let refused = lock(&self.refused);
        warnings.extend(refused.values().map(|(_, why)| why.clone()));
        let state = match (&publishing, &consuming) {
            (Link::Away(_), _) | (_, Link::Away(_)) => "away",
            (Link::Blocked(_), _) | (_, Link::Blocked(_)) => "blocked",
            (Link::Connecting, _) | (_, Link::Connecting) => "connecting",
            _ if refused.is_empty() => "connected",
            _ => "degraded",
        };
        QueueHealth {
            state: state.to_owned(),
            warnings,
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    struct Fixed;

    impl Random for Fixed {
        fn id_bytes(&self) -> [u8; 10] {
            [7; 10]
        }
    }

    #[test]
    fn a_wake_up_before_the_first_wait_is_not_lost() {
        let options = Options::new("amqp://127.0.0.1:1/".parse().unwrap());
        // The broker takes no messages yet: the process wakes its own workers.
        let state = State::new(options, &Fixed);
        state.wake("default");
        state.wake("default");
        let served = state.serve("default");
        assert!(served.wait().now_or_never().is_some(), "it was lost");
        assert!(
            served.wait().now_or_never().is_none(),
            "wake-ups are one until somebody takes them"
        );
        assert!(state.serve("other").wait().now_or_never().is_none());
    }
}
