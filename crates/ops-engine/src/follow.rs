//! Following a task: its log and the pieces of its answers, from any position, without a gap or a
//! repetition.
//!
//! A [`Follower`] is driven by its reader: the follower first reads the log up to the event that was the
//! last when the follower came, then gives the pieces of the task's shared [feed](feed), and requests no
//! further piece until the reader has taken the present one.
//!
//! A follower whose reader is slow holds one page, and never a queue that grows: a tab left open in a
//! browser would otherwise hold a busy task's whole log in memory. Once such a reader goes on, the follower
//! is behind the feed. A feed that only sent its next piece would then skip events; so the follower reads
//! the log by itself until it has caught up, and only then returns to the feed.

mod feed;
mod shared;

use std::{sync::Arc, time::Duration};

use ops_core::{
    StoredEvent, TaskId, TenantId,
    ports::{Delta, Hints},
    task::StateName,
};
use tokio::sync::broadcast::{Receiver, error::RecvError};

pub(crate) use self::feed::Feeds;
use self::feed::Piece;
pub use self::shared::Shared;
use crate::{Engine, Error};

/// The most events that are read at once.
const PAGE: u32 = 64;

/// A tenant's task.
type Key = (TenantId, TaskId);

/// Events of a log that follow each other, at least one event.
#[derive(Debug, Clone, PartialEq)]
pub struct LogPage {
    /// The events, in order.
    pub events: Vec<StoredEvent>,
    /// The number of the first event.
    pub first: u64,
    /// The number of the last event.
    pub last: u64,
    /// Whether the last one ends the task: its log has no more.
    pub ended: bool,
}

/// One thing that a follower gives.
#[derive(Debug, Clone)]
pub enum Followed {
    /// The place asked for is not of this log: the log follows from its start.
    Resync {
        /// The number of the event that the reader asked to go on after.
        asked: u64,
        /// The number of the log's last event.
        last: u64,
    },
    /// The next events of the log.
    Events(Arc<Shared<LogPage>>),
    /// A piece of an answer that is being made. Pieces are not of the log and may be lost; a higher
    /// attempt of the same step starts the answer anew.
    Delta(Arc<Shared<Delta>>),
    /// The task has ended, and the reader has the whole log.
    End {
        /// The number of its last event.
        last: u64,
    },
    /// No event came within the reader's silence.
    Quiet,
}

/// One reader of one task's log.
pub struct Follower {
    engine: Arc<Engine>,
    key: Key,
    /// The last event that was given.
    after: u64,
    feed: Receiver<Piece>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The place asked for is beyond the log's last event.
    Beyond { asked: u64, last: u64 },
    /// The log has events up to this number, or to its end if it is shorter.
    Behind(u64),
    /// The log was given as far as the feed told of it.
    Level,
    /// The last event of the task was given.
    Ended,
    /// The end was told.
    Over,
}

impl Engine {
    /// Follows a task after an event; 0 is the start of its log. All followers of a task share one reader
    /// of the log's new events.
    ///
    /// # Errors
    /// `task_not_found`, or a code of the storage.
    pub async fn follow(
        self: &Arc<Self>,
        tenant: TenantId,
        task: TaskId,
        after: u64,
    ) -> Result<Follower, Error> {
        let key = (tenant, task);
        // Join before looking: an event that is committed in between is in the feed. The other way
        // round it is in neither, and the follower waits for the event after it.
        let early = match units::mutant!("ops-engine.looks_before_it_listens") {
            true => Some(self.life(tenant, task).await?),
            false => None,
        };
        let feed = self.feeds.join(self, key).await?;
        let life = match early {
            Some(life) => life,
            None => self.life(tenant, task).await?,
        };
        let phase = match after {
            after if after > life.seq => Phase::Beyond {
                asked: after,
                last: life.seq,
            },
            after if after == life.seq && life.state.name().is_terminal() => Phase::Ended,
            _ => Phase::Behind(life.seq),
        };
        Ok(Follower {
            engine: Arc::clone(self),
            key,
            after,
            feed,
            phase,
        })
    }

    /// Subscribes to hints about the tasks of a tenant: a new task, or a log that has grown. A reader
    /// subscribes first and then queries; after missed hints the reader queries again.
    #[must_use]
    pub fn hints(&self, tenant: TenantId) -> Box<dyn Hints> {
        self.live.hints(tenant)
    }

    /// The events after a number, and whether the log has more; `None` at the log's end.
    async fn log_page(
        &self,
        (tenant, task): Key,
        after: u64,
    ) -> Result<Option<(LogPage, bool)>, Error> {
        let read = self.events(tenant, task, after, PAGE).await?;
        let (Some(first), Some(last)) = (read.events.first(), read.events.last()) else {
            return Ok(None);
        };
        let page = LogPage {
            first: first.seq,
            last: last.seq,
            ended: ends_task(&last.event.kind),
            events: read.events,
        };
        Ok(Some((page, read.next.is_some())))
    }
}

impl Follower {
    /// The next event, or [`Followed::Quiet`] after so long a silence. `None` after the end. `None` without
    /// an [`Followed::End`] before means that the stream broke off: the reader follows again from the
    /// number of its last event.
    ///
    /// # Errors
    /// `task_not_found` if the task was deleted, or a code of the storage.
    pub async fn next(&mut self, silence: Duration) -> Result<Option<Followed>, Error> {
        loop {
            match self.phase {
                Phase::Over => return Ok(None),
                Phase::Ended => {
                    self.phase = Phase::Over;
                    return Ok(Some(Followed::End { last: self.after }));
                }
                Phase::Beyond { asked, last } => {
                    self.after = 0;
                    self.phase = Phase::Behind(last);
                    return Ok(Some(Followed::Resync { asked, last }));
                }
                Phase::Behind(last) if self.after >= last => self.phase = Phase::Level,
                Phase::Behind(_) => match self.engine.log_page(self.key, self.after).await? {
                    Some((page, _)) => return Ok(Some(self.give(Arc::new(Shared::new(page))))),
                    None => self.phase = Phase::Level,
                },
                Phase::Level => {
                    if let Some(external_pending) = self.listen(silence).await {
                        return Ok(Some(external_pending));
                    }
                }
            }
        }
    }

    fn give(&mut self, page: Arc<Shared<LogPage>>) -> Followed {
        self.after = page.last;
        self.phase = match page.ended {
            true => Phase::Ended,
            false => self.phase,
        };
        Followed::Events(page)
    }

    /// Waits for the feed; `None` if the follower has other work first.
    async fn listen(&mut self, silence: Duration) -> Option<Followed> {
        match tokio::time::timeout(silence, self.feed.recv()).await {
            Ok(Ok(Piece::Events(page)))
                if page.first == self.after + 1
                    || (units::mutant!("ops-engine.pages_overlap") && page.last > self.after) =>
            {
                return Some(self.give(page));
            }
            // Pages that were read at different times overlap: one that begins earlier has events that
            // were given, one that begins later leaves some out. The log has what is missing.
            Ok(Ok(Piece::Events(page))) => self.phase = Phase::Behind(page.last),
            Ok(Ok(Piece::Grown(last))) => self.phase = Phase::Behind(last),
            Ok(Ok(Piece::Delta(delta))) => return Some(Followed::Delta(delta)),
            // What was missed is in the log.
            Ok(Err(RecvError::Lagged(_))) if units::mutant!("ops-engine.lag_is_passed_over") => {}
            Ok(Err(RecvError::Lagged(_))) => self.phase = Phase::Behind(u64::MAX),
            // The feed broke off before the task's end came here.
            Ok(Err(RecvError::Closed)) => self.phase = Phase::Over,
            Err(_) => return Some(Followed::Quiet),
        }
        None
    }
}

/// Whether an event of this type is the last of its log.
fn ends_task(kind: &str) -> bool {
    [
        StateName::Completed,
        StateName::Failed,
        StateName::Cancelled,
    ]
    .iter()
    .any(|state| kind.strip_prefix("task.") == Some(state.as_str()))
}
