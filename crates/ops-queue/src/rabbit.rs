//! RabbitMQ: a message wakes a worker of any process, and carries no data.
//!
//! The store stays the truth. A message is published after the commit, and at most one of a queue is on its way at
//! a time. A worker claims by the store's policy, whatever a message holds, and acknowledges the message once the
//! transaction of its claim is over. No message is ever put back: a repeated message would come first and hold up
//! the others. While the broker is away, notifications and looks of the store wake workers.
//!
//! Everything runs on a thread of its own, so that tools that keep every core busy delay no heartbeat. Publishing and
//! consuming have a connection each: a broker that is short of memory stops reading from those that publish.

mod address;
mod check;
mod consume;
mod link;
mod publish;
mod served;
mod state;
mod topology;

use std::{
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use ops_core::ports::{FoundBy, Fut, Queue, QueueHealth, Random, Wakeup};
use tokio_util::sync::CancellationToken;

use self::state::State;
pub use self::{
    address::{Address, UrlError},
    check::check,
    state::Counts,
};

/// How the broker is used.
#[derive(Debug, Clone)]
pub struct Options {
    /// The broker.
    pub address: Address,
    /// How often a queue that the broker refused is declared again.
    pub declare_again: Duration,
}

impl Options {
    /// The defaults: a refused queue is declared again each minute.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self {
            address,
            declare_again: Duration::from_secs(60),
        }
    }
}

/// Wakes workers through RabbitMQ.
pub struct RabbitQueue {
    state: Arc<State>,
    stop: CancellationToken,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl RabbitQueue {
    /// Starts connecting, and returns at once, whether the broker is there or not.
    ///
    /// # Errors
    /// If the system gives no thread or no runtime.
    pub fn start(options: Options, random: &dyn Random) -> std::io::Result<Self> {
        let state = Arc::new(State::new(options, random));
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (shared, stopped) = (Arc::clone(&state), stop.clone());
        let run = move || {
            runtime.block_on(async {
                tokio::join!(
                    publish::run(&shared, &stopped),
                    consume::run(&shared, &stopped)
                )
            });
        };
        let thread = thread::Builder::new().name("queue".to_owned()).spawn(run)?;
        Ok(Self {
            state,
            stop,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// What was done since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.state.counts()
    }

    /// Closes the connections. Blocks for at most a few seconds.
    pub fn close(&self) {
        self.stop.cancel();
        let thread = state::lock(&self.thread).take();
        // A thread that panicked is closed as well.
        let _ = thread.map(JoinHandle::join);
    }
}

impl Drop for RabbitQueue {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Queue for RabbitQueue {
    fn wake(&self, queue: &str) {
        self.state.wake(queue);
    }

    fn found(&self, queue: &str, by: FoundBy) {
        self.state.found(queue, by);
    }

    fn wait<'a>(&'a self, queue: &'a str) -> Fut<'a, Wakeup> {
        let served = self.state.serve(queue);
        Box::pin(async move { served.wait().await })
    }

    fn pass_on(&self, queue: &str) {
        // This process has no slot: only others are of use.
        if self.state.rings(queue) {
            self.state.ring(queue);
        }
    }

    fn rings(&self, queue: &str) -> bool {
        self.state.rings(queue)
    }

    fn health(&self) -> QueueHealth {
        self.state.health()
    }
}
