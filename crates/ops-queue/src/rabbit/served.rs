//! Queues served by workers of this process: waiting workers, and messages offered to them.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use ops_core::ports::Wakeup;
use tokio::sync::{Notify, watch};

use super::state::lock;

/// A queue of tasks.
pub(super) struct Served {
    /// Its name.
    pub(super) name: String,
    /// How many wait.
    waiting: watch::Sender<usize>,
    offer: Mutex<Offer>,
    arrived: Notify,
    /// Whether messages of the broker arrive, as far as is known.
    pub(super) is_live: AtomicBool,
}

/// Reasons to wake the next waiting worker.
#[derive(Default)]
struct Offer {
    /// A message of the broker.
    message: Option<Wakeup>,
    /// The store has work.
    found: bool,
}

impl Served {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            waiting: watch::Sender::new(0),
            offer: Mutex::default(),
            arrived: Notify::new(),
            is_live: AtomicBool::new(false),
        }
    }

    /// Waits for a message, or for the store.
    pub(super) async fn wait(&self) -> Wakeup {
        self.waiting.send_modify(|waiting| *waiting += 1);
        let _leaves = Leaves(&self.waiting);
        loop {
            if let Some(wakeup) = self.take() {
                return wakeup;
            }
            self.arrived.notified().await;
        }
    }

    fn take(&self) -> Option<Wakeup> {
        let mut offer = lock(&self.offer);
        let found = std::mem::take(&mut offer.found);
        let message = offer.message.take();
        message.or_else(|| found.then(Wakeup::default))
    }

    /// Wakes a waiting worker, or the next worker to wait.
    pub(super) fn found(&self) {
        lock(&self.offer).found = true;
        self.arrived.notify_one();
    }

    /// Offers a message to a waiting worker. An earlier offer is acknowledged.
    pub(super) fn offer(&self, message: Wakeup) {
        let before = lock(&self.offer).message.replace(message);
        drop(before);
        self.arrived.notify_one();
    }

    /// Whether an offered message was not taken yet.
    pub(super) fn has_offer(&self) -> bool {
        lock(&self.offer).message.is_some()
    }

    /// Takes the offered message back.
    pub(super) fn withdraw(&self) -> Option<Wakeup> {
        lock(&self.offer).message.take()
    }

    /// Returns once a worker waits.
    pub(super) async fn waited_for(&self) {
        // The sender lives as long as this.
        let _ = self
            .waiting
            .subscribe()
            .wait_for(|waiting| *waiting > 0)
            .await;
    }

    /// Returns once no worker has waited for this time.
    pub(super) async fn idle_for(&self, time: Duration) {
        let mut waiting = self.waiting.subscribe();
        loop {
            let _ = waiting.wait_for(|waiting| *waiting == 0).await;
            let waited_for = waiting.wait_for(|waiting| *waiting > 0);
            if tokio::time::timeout(time, waited_for).await.is_err() {
                return;
            }
        }
    }

    /// Messages of the broker arrive for as long as the guard lives.
    pub(super) fn live(&self) -> Live<'_> {
        self.is_live.store(true, SeqCst);
        Live(&self.is_live)
    }
}

/// Counts down when a wait ends or is dropped.
struct Leaves<'a>(&'a watch::Sender<usize>);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}

/// See [`Served::live`].
pub(super) struct Live<'a>(&'a AtomicBool);

impl Drop for Live<'_> {
    fn drop(&mut self) {
        self.0.store(false, SeqCst);
    }
}
