//! One reader of a task's log for all who follow it: each commit is read once, and every follower is
//! given the same page.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ops_core::ports::{Delta, Follow, LogUpdate};
use tokio::sync::broadcast;

use super::{Key, LogPage, Shared};
use crate::{Engine, Error};

/// Pieces that a follower may be behind; a follower that is further behind reads the log by itself.
const BACKLOG: usize = 32;
/// A larger page is not kept for followers that are behind; each reads it from the log.
const MAX_BYTES: usize = 64 << 10;
/// The bytes of an event beside its body.
const EVENT_BYTES: usize = 192;
/// How often the log is looked at in case a hint was lost.
const LOOK: Duration = Duration::from_secs(15);

/// A piece of the feed, for all followers.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    /// Events of the log.
    Events(Arc<Shared<LogPage>>),
    /// The log has grown to this number, by more than is kept here.
    Grown(u64),
    /// A piece of an answer.
    Delta(Arc<Shared<Delta>>),
}

/// The tasks that are followed.
#[derive(Debug, Default)]
pub(crate) struct Feeds {
    open: Mutex<HashMap<Key, broadcast::Sender<Piece>>>,
}

impl Feeds {
    /// Joins the followers of a task. The channel carries every later commit, and may repeat earlier
    /// commits. The channel of a task that has ended is closed.
    ///
    /// # Errors
    /// `task_not_found`, or a code of the storage.
    pub(super) async fn join(
        self: &Arc<Self>,
        engine: &Arc<Engine>,
        key: Key,
    ) -> Result<broadcast::Receiver<Piece>, Error> {
        if let Some(sender) = self.open().get(&key) {
            return Ok(sender.subscribe());
        }
        // Listen before looking: the hint of what is committed in between is heard.
        let external_pending = engine.live.follow(key.0, key.1);
        let life = engine.life(key.0, key.1).await?;
        let (sender, receiver) = broadcast::channel(BACKLOG);
        if life.state.name().is_terminal() {
            return Ok(receiver);
        }
        let mut open = self.open();
        if let Some(sender) = open.get(&key) {
            return Ok(sender.subscribe());
        }
        open.insert(key, sender.clone());
        drop(open);
        let feed = Feed {
            feeds: Arc::clone(self),
            engine: Arc::clone(engine),
            key,
            after: life.seq,
            external_pending,
            sender,
        };
        tokio::spawn(feed.run());
        Ok(receiver)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Key, broadcast::Sender<Piece>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a task without followers; tells whether the task has none.
    fn left(&self, key: &Key, sender: &broadcast::Sender<Piece>) -> bool {
        let mut open = self.open();
        // Who joins holds the lock.
        let left = sender.receiver_count() == 0;
        if left {
            open.remove(key);
        }
        left
    }
}

/// Reads one task's log as the log grows.
struct Feed {
    feeds: Arc<Feeds>,
    engine: Arc<Engine>,
    key: Key,
    /// The last event that was handed on.
    after: u64,
    external_pending: Box<dyn Follow>,
    sender: broadcast::Sender<Piece>,
}

impl Feed {
    /// Runs until the task ends, its last follower leaves, or the log cannot be read.
    async fn run(mut self) {
        loop {
            let external_pending = tokio::select! {
                external_pending = tokio::time::timeout(LOOK, self.external_pending.next()) => external_pending,
                () = self.sender.closed() => {
                    if self.feeds.left(&self.key, &self.sender) {
                        return;
                    }
                    continue;
                }
            };
            let held = match external_pending {
                Ok(LogUpdate::Delta(delta)) => Some(delta),
                Ok(LogUpdate::Log) | Err(_) => {
                    let held = self.drain().await;
                    if self.read().await {
                        break;
                    }
                    held
                }
            };
            if let Some(delta) = held {
                self.send(Piece::Delta(Arc::new(Shared::new(delta))));
            }
        }
        // Followers see the channel's end.
        self.feeds.open().remove(&self.key);
    }

    /// Hints that came together are one look at the log. A piece of an answer goes after it.
    async fn drain(&mut self) -> Option<Delta> {
        loop {
            let external_pending = tokio::select! {
                biased;
                external_pending = self.external_pending.next() => external_pending,
                () = std::future::ready(()) => return None,
            };
            match external_pending {
                LogUpdate::Log => {}
                LogUpdate::Delta(delta) => return Some(delta),
            }
        }
    }

    /// Hands on the log's new events; tells whether the log is complete.
    async fn read(&mut self) -> bool {
        loop {
            let read = self.engine.log_page(self.key, self.after).await;
            let (page, more) = match read {
                Ok(Some(read)) => read,
                Ok(None) => return false,
                Err(error) => {
                    tracing::warn!(task = %self.key.1, %error, "followers are sent away: the log cannot be read");
                    return true;
                }
            };
            self.after = page.last;
            let ended = page.ended;
            let sizes = page.events.iter().map(|event| event.event.body.len());
            self.send(
                if sizes.map(|size| size + EVENT_BYTES).sum::<usize>() > MAX_BYTES {
                    Piece::Grown(page.last)
                } else {
                    Piece::Events(Arc::new(Shared::new(page)))
                },
            );
            if ended || !more {
                return ended;
            }
        }
    }

    fn send(&self, piece: Piece) {
        // No receiver is no error: the last follower is just leaving.
        let _ = self.sender.send(piece);
    }
}
