//! Worker sessions. One process owns the folder, so they live in its memory: a heartbeat writes
//! nothing, and opening the folder ends all sessions of the process before.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use ops_core::{
    SessionId, TaskId, TenantId,
    ports::{HeartbeatReply, StoreError},
    rules::lease::{Stop, is_expired},
};

use tokio::sync::Notify;

use crate::sqlite::writer::inbox::lock;

/// The sessions of this process.
#[derive(Debug)]
pub(crate) struct Sessions {
    ttl_micros: i64,
    open: Mutex<HashMap<SessionId, SessionEntry>>,
}

#[derive(Debug)]
struct SessionEntry {
    /// The last heartbeat, on a clock that goes on while the machine is suspended.
    last_heartbeat: i64,
    /// Set once the session has ended; it is forgotten when its leases are taken back.
    over: bool,
    /// Its tasks that are being cancelled.
    cancel: BTreeSet<(TenantId, TaskId)>,
    /// Its tasks that are to stand still.
    pause: BTreeSet<(TenantId, TaskId)>,
    /// Rings when there is more to stop.
    stop_notify: Arc<Notify>,
}

/// A committed change to what a session is to stop.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Interrupt {
    Begun(Stop, TenantId, TaskId),
    Ended(Stop, TenantId, TaskId),
}

impl Sessions {
    pub(crate) fn new(ttl: Duration) -> Self {
        let ttl_micros = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
        Self {
            ttl_micros,
            open: Mutex::default(),
        }
    }

    pub(crate) fn open(&self, id: SessionId, now: i64) -> Result<(), StoreError> {
        let mut open = lock(&self.open);
        let session = open.entry(id).or_insert_with(|| SessionEntry {
            last_heartbeat: now,
            over: false,
            cancel: BTreeSet::new(),
            pause: BTreeSet::new(),
            stop_notify: Arc::new(Notify::new()),
        });
        if session.over {
            return Err(StoreError::SessionOver);
        }
        session.last_heartbeat = now;
        Ok(())
    }

    /// A heartbeat that comes late but before the leases were taken back keeps them: a machine
    /// that slept for a minute goes on where it stopped.
    pub(crate) fn heartbeat(&self, id: SessionId, now: i64) -> Result<HeartbeatReply, StoreError> {
        match lock(&self.open).get_mut(&id) {
            Some(session) if !session.over || units::mutant!("ops-store.a_heartbeat_revives") => {
                session.last_heartbeat = now;
                Ok(HeartbeatReply {
                    cancel: session.cancel.iter().copied().collect(),
                    pause: session.pause.iter().copied().collect(),
                })
            }
            Some(_) | None => Err(StoreError::SessionOver),
        }
    }

    /// What rings when the session has more to stop; none if it is not known.
    pub(crate) fn stop_notify(&self, id: SessionId) -> Option<Arc<Notify>> {
        lock(&self.open)
            .get(&id)
            .map(|session| Arc::clone(&session.stop_notify))
    }

    pub(crate) fn is_open(&self, id: SessionId) -> bool {
        lock(&self.open)
            .get(&id)
            .is_some_and(|session| !session.over)
    }

    /// Whether it may still hold leases: it is open, or they are about to be taken back.
    pub(crate) fn is_known(&self, id: SessionId) -> bool {
        lock(&self.open).contains_key(&id)
    }

    /// Ends a session; `false` if it is not known.
    pub(crate) fn end(&self, id: SessionId) -> bool {
        match lock(&self.open).get_mut(&id) {
            Some(session) => {
                session.over = true;
                true
            }
            None => false,
        }
    }

    /// Ends the sessions that were not heard of for too long. Also names the ones that ended before
    /// but whose leases could not be taken back.
    pub(crate) fn expire(&self, now: i64) -> Vec<SessionId> {
        let mut ended = Vec::new();
        for (id, session) in lock(&self.open).iter_mut() {
            if is_expired(session.last_heartbeat, now, self.ttl_micros) {
                session.over = true;
            }
            if session.over {
                ended.push(*id);
            }
        }
        // In one order, so that the same commands give the same histories.
        ended.sort_unstable();
        ended
    }

    /// Forgets a session whose leases were taken back.
    pub(crate) fn forget(&self, id: SessionId) {
        lock(&self.open).remove(&id);
    }

    /// Takes note of what a commit began or ended to cancel.
    pub(crate) fn note(&self, changes: &mut Vec<Interrupt>) {
        if changes.is_empty() {
            return;
        }
        let mut open = lock(&self.open);
        for change in changes.drain(..) {
            let (Interrupt::Begun(stop, tenant, task) | Interrupt::Ended(stop, tenant, task)) =
                change;
            let (Stop::Cancel(id) | Stop::Pause(id)) = stop;
            let Some(session) = open.get_mut(&id) else {
                continue;
            };
            let tasks = match stop {
                Stop::Cancel(_) => &mut session.cancel,
                Stop::Pause(_) => &mut session.pause,
            };
            match change {
                Interrupt::Begun(..) => {
                    tasks.insert((tenant, task));
                    session.stop_notify.notify_one();
                }
                Interrupt::Ended(..) => {
                    tasks.remove(&(tenant, task));
                }
            }
        }
    }
}
