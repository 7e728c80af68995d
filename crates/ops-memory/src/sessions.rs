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
    verbs::Key,
};
use tokio::sync::Notify;

/// The sessions that are known.
pub(crate) struct Sessions {
    ttl_micros: i64,
    known: BTreeMap<SessionId, SessionEntry>,
}

struct SessionEntry {
    last_heartbeat: i64,
    /// Whether it has ended; it is forgotten once its leases were taken back.
    over: bool,
    cancel: BTreeSet<Key>,
    pause: BTreeSet<Key>,
    stop_notify: Arc<Notify>,
}

impl Sessions {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self {
            ttl_micros: i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX),
            known: BTreeMap::new(),
        }
    }

    pub(crate) fn open(&mut self, id: SessionId, now: i64) -> Result<(), StoreError> {
        let session = self.known.entry(id).or_insert_with(|| SessionEntry {
            last_heartbeat: now,
            over: false,
            cancel: BTreeSet::new(),
            pause: BTreeSet::new(),
            stop_notify: Arc::default(),
        });
        if session.over {
            return Err(StoreError::SessionOver);
        }
        session.last_heartbeat = now;
        Ok(())
    }

    pub(crate) fn heartbeat(
        &mut self,
        id: SessionId,
        now: i64,
    ) -> Result<HeartbeatReply, StoreError> {
        let session = self.known.get_mut(&id).filter(|session| !session.over);
        let session = session.ok_or(StoreError::SessionOver)?;
        session.last_heartbeat = now;
        Ok(HeartbeatReply {
            cancel: session.cancel.iter().copied().collect(),
            pause: session.pause.iter().copied().collect(),
        })
    }

    pub(crate) fn stop_notify(&self, id: SessionId) -> Option<Arc<Notify>> {
        self.known
            .get(&id)
            .map(|session| Arc::clone(&session.stop_notify))
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
            .filter(|(_, session)| is_expired(session.last_heartbeat, now, self.ttl_micros));
        expired.map(|(id, _)| *id).collect()
    }

    pub(crate) fn forget(&mut self, id: SessionId) {
        self.known.remove(&id);
    }

    /// Takes note of what tasks' sessions were to stop, and are to stop now.
    pub(crate) fn note(&mut self, stops: Vec<(Key, Option<Stop>, Option<Stop>)>) {
        for (key, was, is) in stops {
            if let Some((_, tasks)) = was.and_then(|stop| self.stopping(stop)) {
                tasks.remove(&key);
            }
            if let Some((stop_notify, tasks)) = is.and_then(|stop| self.stopping(stop)) {
                tasks.insert(key);
                stop_notify.notify_one();
            }
        }
    }

    /// The tasks that a session is to stop in this way, and whom to tell.
    fn stopping(&mut self, stop: Stop) -> Option<(Arc<Notify>, &mut BTreeSet<Key>)> {
        let (Stop::Cancel(id) | Stop::Pause(id)) = stop;
        let session = self.known.get_mut(&id)?;
        let stop_notify = Arc::clone(&session.stop_notify);
        let tasks = match stop {
            Stop::Cancel(_) => &mut session.cancel,
            Stop::Pause(_) => &mut session.pause,
        };
        Some((stop_notify, tasks))
    }
}
