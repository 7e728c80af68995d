//! One reader of a task's log for all who follow it: what a commit adds is read and written as
//! server-sent events once, and each follower is handed the same bytes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use ops_core::{
    TaskId, TenantId,
    ports::{Delta, Follow, Heard},
};
use ops_engine::{Engine, Error};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::{Surface, sse};

/// Pieces that a follower may be behind; one that is further behind reads the log by itself.
const BACKLOG: usize = 32;
/// A larger piece is not kept for followers that are behind; each reads it from the log.
const MOST_BYTES: usize = 64 << 10;

/// What followers are handed.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    /// Events of the log.
    Events(sse::Page),
    /// The log has grown to this number, by more than is kept here.
    Grown(u64),
    /// A piece of an answer.
    Delta(Bytes),
}

/// The tasks that are followed.
#[derive(Debug, Default)]
pub(super) struct Feeds {
    open: Mutex<HashMap<Key, broadcast::Sender<Piece>>>,
}

type Key = (TenantId, TaskId);

impl Feeds {
    /// Joins the followers of a task. Whatever is committed from now on is heard; what was
    /// committed before may be heard again. The channel of a task that has ended is closed.
    ///
    /// # Errors
    /// `task_not_found`, or a code of the storage.
    pub(super) async fn join(
        self: &Arc<Self>,
        surface: &Surface,
        key: Key,
    ) -> Result<broadcast::Receiver<Piece>, Error> {
        if let Some(sender) = self.open().get(&key) {
            return Ok(sender.subscribe());
        }
        // Listen before looking: what is committed in between is heard.
        let heard = surface.engine.live().follow(key.0, key.1);
        let life = surface.engine.life(key.0, key.1).await?;
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
            engine: Arc::clone(&surface.engine),
            key,
            after: life.seq,
            heard,
            sender,
            look: surface.keep_alive,
        };
        tokio::spawn(feed.run(surface.stop.clone()));
        Ok(receiver)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Key, broadcast::Sender<Piece>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a task that nobody follows any more; says whether that is so.
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

/// Reads one task's log as it grows.
struct Feed {
    feeds: Arc<Feeds>,
    engine: Arc<Engine>,
    key: Key,
    /// The last event that was handed on.
    after: u64,
    heard: Box<dyn Follow>,
    sender: broadcast::Sender<Piece>,
    /// How often the log is looked at in case a hint was lost.
    look: Duration,
}

impl Feed {
    /// Until the task ends, nobody follows it any more, or the server stops.
    async fn run(mut self, stop: CancellationToken) {
        loop {
            let heard = tokio::select! {
                heard = tokio::time::timeout(self.look, self.heard.next()) => heard,
                () = self.sender.closed() => {
                    if self.feeds.left(&self.key, &self.sender) {
                        return;
                    }
                    continue;
                }
                () = stop.cancelled() => break,
            };
            let held = match heard {
                Ok(Heard::Delta(delta)) => Some(delta),
                Ok(Heard::Log) | Err(_) => {
                    let held = self.drain();
                    if self.read().await {
                        break;
                    }
                    held
                }
            };
            if let Some(delta) = held {
                self.send(Piece::Delta(sse::delta(&delta)));
            }
        }
        // Followers see the channel's end.
        self.feeds.open().remove(&self.key);
    }

    /// Hints that came together are one look at the log. A piece of an answer goes after it.
    fn drain(&mut self) -> Option<Delta> {
        while let Some(heard) = self.heard.next().now_or_never() {
            match heard {
                Heard::Log => {}
                Heard::Delta(delta) => return Some(delta),
            }
        }
        None
    }

    /// Hands on what the log has; says whether that was the last of it.
    async fn read(&mut self) -> bool {
        loop {
            let read = sse::read(&self.engine, self.key, self.after).await;
            let (page, more) = match read {
                Ok(Some(read)) => read,
                Ok(None) => return false,
                Err(error) => {
                    tracing::warn!(task = %self.key.1, %error, "event streams end: the log cannot be read");
                    return true;
                }
            };
            self.after = page.last;
            let ended = page.ended;
            if page.bytes.len() > MOST_BYTES {
                self.send(Piece::Grown(page.last));
            } else {
                self.send(Piece::Events(page));
            }
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
