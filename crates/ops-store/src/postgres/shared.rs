//! What the threads of a store share: the options, what was done, and how the database is.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use ops_core::{
    Micros, SessionId, TenantId,
    ports::{HeartbeatReply, StoreError, StoreHealth},
    stats::Work as Counted,
    verbs::Done,
};
use tokio::sync::Notify;

use crate::postgres::{
    error::Failure,
    lane::lock,
    listen::Elsewhere,
    options::{Options, Time},
};

// What the threads of a store share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    counted: Mutex<Counted>,
    failure: Mutex<Option<StoreError>>,
    pub(crate) warnings: Mutex<Vec<String>>,
    sessions: Mutex<HashMap<SessionId, SessionEntry>>,
    pub(crate) elsewhere: Elsewhere,
    /// Queues whose ready tasks were of one tenant when a claim looked, with the time of the look.
    lone_tenants: Mutex<HashMap<String, (Micros, TenantId)>>,
    pub(crate) connections: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) failures: AtomicU64,
    /// Transactions since the counters were added up.
    pub(crate) uncompacted: AtomicU64,
}

/// How long a claim takes the tenants of a queue as known, where there was one, in microseconds.
const TENANT_LOOK_MICROS: u64 = 1_000_000;

// A session of this process.
#[derive(Default)]
struct SessionEntry {
    /// What rings for it.
    notifier: Arc<Notify>,
    /// Claims that began or took something: a session that has claimed since it was looked at is not idle.
    claims: u64,
    /// It holds no lease: looks at the database keep it alive.
    is_idle: bool,
    is_over: bool,
}

impl Shared {
    pub(crate) fn new(options: Options) -> Self {
        let on = options.shared && matches!(options.time, Time::Database);
        Self {
            elsewhere: Elsewhere::new(on),
            options,
            counted: Mutex::default(),
            failure: Mutex::default(),
            warnings: Mutex::default(),
            sessions: Mutex::default(),
            lone_tenants: Mutex::default(),
            connections: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            uncompacted: AtomicU64::new(0),
        }
    }

    /// The tenant of a queue's ready tasks, if a claim has found one alone within the last second.
    pub(crate) fn lone_tenant(&self, queue: &str, now: Micros) -> Option<TenantId> {
        let known = lock(&self.lone_tenants);
        let (at, tenant) = known.get(queue)?;
        (now.0.abs_diff(at.0) < TENANT_LOOK_MICROS).then_some(*tenant)
    }

    /// Notes the tenants that a claim has found.
    pub(crate) fn found_tenants(&self, queue: &str, now: Micros, tenants: &[TenantId]) {
        let mut known = lock(&self.lone_tenants);
        match tenants {
            [tenant] => known.insert(queue.to_owned(), (now, *tenant)),
            _ => known.remove(queue),
        };
    }

    pub(crate) fn counted(&self) -> Counted {
        *lock(&self.counted)
    }

    pub(crate) fn health(&self) -> StoreHealth {
        StoreHealth {
            failure: lock(&self.failure).clone(),
            warnings: lock(&self.warnings)
                .iter()
                .cloned()
                .chain(self.elsewhere.warning())
                .collect(),
        }
    }

    /// Tells the clock of the process the time of the database.
    pub(crate) fn told(&self, now: Micros) {
        if let Some(clock) = &self.options.clock {
            clock.told(now);
        }
    }

    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    pub(crate) fn retried(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub(crate) fn succeeded(&self) {
        let mut failure = lock(&self.failure);
        if failure.take().is_some() {
            tracing::info!(database = %self.options.address, "the database answers again");
        }
    }

    pub(crate) fn failed(&self, failure: &Failure) {
        self.failures.fetch_add(1, Relaxed);
        tracing::warn!(
            database = %self.options.address,
            error = %failure.message,
            "the database does not do what it is asked"
        );
        *lock(&self.failure) = Some(failure.clone().into_store_error());
    }

    /// Tells everybody of a transaction.
    pub(crate) fn committed(&self, done: Done, requests: usize) {
        self.commits.fetch_add(1, Relaxed);
        self.requests.fetch_add(requests as u64, Relaxed);
        lock(&self.counted).merge(&done.work);
        if !done.stops.is_empty() {
            let sessions = lock(&self.sessions);
            for session in done.interrupted().filter_map(|id| sessions.get(&id)) {
                session.notifier.notify_one();
            }
        }
        self.elsewhere.tell(
            &done,
            |session| lock(&self.sessions).contains_key(&session),
            |queue| self.options.observer.rings(queue),
        );
        if !done.notices.is_empty() {
            self.options.observer.committed(&done.notices);
        }
    }

    pub(crate) fn notifier(&self, session: SessionId) -> Option<Arc<Notify>> {
        let sessions = lock(&self.sessions);
        Some(Arc::clone(&sessions.get(&session)?.notifier))
    }

    pub(crate) fn add_session(&self, session: SessionId) {
        lock(&self.sessions).entry(session).or_default();
    }

    pub(crate) fn remove_session(&self, session: SessionId) {
        lock(&self.sessions).remove(&session);
    }

    fn with_session<T>(
        &self,
        session: SessionId,
        work: impl FnOnce(&mut SessionEntry) -> T,
    ) -> Option<T> {
        lock(&self.sessions).get_mut(&session).map(work)
    }

    /// How often a session has claimed.
    pub(crate) fn claims(&self, session: SessionId) -> Option<u64> {
        self.with_session(session, |session| session.claims)
    }

    /// A claim of a session begins, or has taken tasks.
    pub(crate) fn claiming(&self, session: SessionId, has_taken: bool) {
        self.with_session(session, |session| {
            session.claims += 1;
            session.is_idle &= !has_taken;
        });
    }

    // A session that had claimed so often held no lease. One that claims meanwhile may hold one by now.
    pub(crate) fn is_idle(&self, session: SessionId, claims: u64) {
        self.with_session(session, |session| {
            session.is_idle = session.claims == claims;
        });
    }

    /// The sessions that looks at the database keep alive.
    pub(crate) fn idle_sessions(&self) -> BTreeSet<SessionId> {
        let sessions = lock(&self.sessions);
        let idle = sessions.iter().filter(|(_, session)| session.is_idle);
        idle.map(|(id, _)| *id).collect()
    }

    /// A look did not find an idle session.
    pub(crate) fn session_is_over(&self, session: SessionId) {
        self.with_session(session, |session| {
            session.is_over = true;
            session.notifier.notify_one();
        });
    }

    // What a heartbeat is answered without asking the database: an idle session is kept alive by looks, and has
    // nothing to stop.
    pub(crate) fn idle_reply(
        &self,
        session: SessionId,
    ) -> Option<Result<HeartbeatReply, StoreError>> {
        let (is_idle, is_over) =
            self.with_session(session, |session| (session.is_idle, session.is_over))?;
        self.elsewhere.fresh(|_| ()).filter(|()| is_idle)?;
        Some(match is_over {
            true => Err(StoreError::SessionOver),
            false => Ok(HeartbeatReply::default()),
        })
    }
}

/// Microseconds of a duration.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
