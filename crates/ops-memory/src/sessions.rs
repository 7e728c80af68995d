//! Worker sessions.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use ops_core::{
    SessionId,
    ports::{HeartbeatReply, StoreError},
    rules::lease::{Stop, is_expired},
};
use tokio::sync::Notify;

use crate::data::Key;

/// The sessions that are known.
pub(crate) struct Sessions {
    ttl_micros: i64,
    known: BTreeMap<SessionId, Session>,
}

struct Session {
    heard_at: i64,
    /// Whether it has ended; it is forgotten once its leases were taken back.
    over: bool,
    cancel: BTreeSet<Key>,
    pause: BTreeSet<Key>,
    bell: Arc<Notify>,
}

/// A change to the tasks that a session is to stop.
pub(crate) enum Interrupt {
    Begun(Stop, Key),
    Ended(Stop, Key),
}

impl Sessions {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self {
            ttl_micros: i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX),
            known: BTreeMap::new(),
        }
    }

    pub(crate) fn open(&mut self, id: SessionId, now: i64) -> Result<(), StoreError> {
        let session = self.known.entry(id).or_insert_with(|| Session {
            heard_at: now,
            over: false,
            cancel: BTreeSet::new(),
            pause: BTreeSet::new(),
            bell: Arc::default(),
        });
        if session.over {
            return Err(StoreError::SessionOver);
        }
        session.heard_at = now;
        Ok(())
    }

    pub(crate) fn heartbeat(
        &mut self,
        id: SessionId,
        now: i64,
    ) -> Result<HeartbeatReply, StoreError> {
        let session = self.known.get_mut(&id).filter(|session| !session.over);
        let session = session.ok_or(StoreError::SessionOver)?;
        session.heard_at = now;
        Ok(HeartbeatReply {
            cancel: session.cancel.iter().copied().collect(),
            pause: session.pause.iter().copied().collect(),
        })
    }

    pub(crate) fn bell(&self, id: SessionId) -> Option<Arc<Notify>> {
        self.known.get(&id).map(|session| Arc::clone(&session.bell))
    }

    pub(crate) fn is_open(&self, id: SessionId) -> bool {
        self.known.get(&id).is_some_and(|session| !session.over)
    }

    pub(crate) fn is_known(&self, id: SessionId) -> bool {
        self.known.contains_key(&id)
    }

    /// Ends a session; `false` if it is not known.
    pub(crate) fn end(&mut self, id: SessionId) -> bool {
        let session = self.known.get_mut(&id);
        session.is_some_and(|session| {
            session.over = true;
            true
        })
    }

    /// The sessions whose heartbeats stopped.
    pub(crate) fn expired(&self, now: i64) -> Vec<SessionId> {
        let expired = self
            .known
            .iter()
            .filter(|(_, session)| is_expired(session.heard_at, now, self.ttl_micros));
        expired.map(|(id, _)| *id).collect()
    }

    pub(crate) fn forget(&mut self, id: SessionId) {
        self.known.remove(&id);
    }

    pub(crate) fn note(&mut self, changes: Vec<Interrupt>) {
        for change in changes {
            let (Interrupt::Begun(stop, key) | Interrupt::Ended(stop, key)) = change;
            let (Stop::Cancel(id) | Stop::Pause(id)) = stop;
            let Some(session) = self.known.get_mut(&id) else {
                continue;
            };
            let tasks = match stop {
                Stop::Cancel(_) => &mut session.cancel,
                Stop::Pause(_) => &mut session.pause,
            };
            match change {
                Interrupt::Begun(..) => {
                    tasks.insert(key);
                    session.bell.notify_one();
                }
                Interrupt::Ended(..) => {
                    tasks.remove(&key);
                }
            }
        }
    }
}
