//! [`SqliteStore`]: opening, closing, and the verbs of the port.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
    thread::{self, JoinHandle},
};

use ops_core::{
    Command, Lifecycle, SessionId, StoredEvent, TaskId, TenantId,
    ports::{
        Blob, ClaimRequest, Clock, Counts, Due, Fut, HeartbeatReply, NewTask, Snapshot, Store,
        StoreError, Submitted, TaskFilter, TaskRecord,
    },
};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    blob::{self, parse_digest},
    claim::Claimed,
    inbox::{Inbox, lock},
    list,
    lock::{Lock, LockInfo},
    open::{OpenError, check_version, create_folder, open_reader, open_writer},
    options::Options,
    prepare,
    readers::Readers,
    reads,
    rows::Sparse,
    sessions::Sessions,
    stats::{Meter, Stats},
    writer::{Apply, Reply, Request, Writer},
};

/// How many connections read.
const READERS: usize = 2;
/// The most events that are read with one connection in one go.
const EVENT_PAGE: u32 = 1_024;

/// A store on SQLite. Dropping it closes it.
pub struct SqliteStore {
    dir: PathBuf,
    clock: Arc<dyn Clock>,
    max_value_bytes: u64,
    inbox: Arc<Inbox<Request>>,
    readers: Arc<Readers>,
    sessions: Arc<Sessions>,
    meter: Arc<Meter>,
    held: Mutex<Option<Held>>,
}

/// What an open store holds. The lock is given up last.
struct Held {
    writer: JoinHandle<()>,
    lock: Lock,
}

impl SqliteStore {
    /// Opens a data folder: takes its lock, brings its schema up to date, and takes back every lease
    /// of the process that had it before. Blocks for some milliseconds.
    ///
    /// # Errors
    /// Each says what is wrong with the folder and how to mend it.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        check_version()?;
        create_folder(&options.dir)?;
        let lock = Lock::acquire(&options.dir)?;
        let conn = open_writer(&options)?;
        let failed = |source| OpenError::sqlite(&options.dir, source);
        let readers = (0..READERS)
            .map(|_| open_reader(&options.dir))
            .collect::<Result<_, _>>()
            .map_err(failed)?;

        let inbox = Arc::new(Inbox::new());
        let sessions = Arc::new(Sessions::new(options.session_ttl));
        let meter = Arc::new(Meter::default());
        let (voided, answer) = mpsc::channel();
        // The leases of the process before are taken back ahead of any other request.
        let _ = inbox.push(Request::VoidLeases(voided));
        let writer = Writer {
            dir: options.dir.clone(),
            durability: options.durability,
            commit_delay: options.commit_delay,
            clock: Arc::clone(&options.clock),
            observer: options.observer,
            inbox: Arc::clone(&inbox),
            sessions: Arc::clone(&sessions),
            meter: Arc::clone(&meter),
        };
        let broken = |message| OpenError::Writer {
            dir: options.dir.clone(),
            message,
        };
        let writer = thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(conn))
            .map_err(|error| broken(error.to_string()))?;
        let store = Self {
            readers: Arc::new(Readers::new(options.dir.clone(), readers)),
            dir: options.dir.clone(),
            clock: options.clock,
            max_value_bytes: options.max_value_bytes,
            inbox,
            sessions,
            meter,
            held: Mutex::new(Some(Held { writer, lock })),
        };
        match answer.recv().unwrap_or_else(|_| Err(stopped())) {
            Ok(0) => {}
            Ok(tasks) => tracing::info!(tasks, "took back the leases of the process before"),
            Err(error) => return Err(broken(error.to_string())),
        }
        Ok(store)
    }

    /// Tells other processes, through the lock file, where this one serves its API.
    ///
    /// # Errors
    /// If the lock file cannot be written, or the store is closed.
    pub fn publish_url(&self, url: &str) -> io::Result<()> {
        let info = LockInfo {
            pid: std::process::id(),
            url: Some(url.to_owned()),
        };
        match &*lock(&self.held) {
            Some(held) => held.lock.write(&info),
            None => Err(io::Error::other("the store is closed")),
        }
    }

    /// What the writer has done since the store was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.meter.read()
    }

    /// The data folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Commits what is queued, moves the log into the database, and gives the folder up. Later
    /// calls of any verb fail. Closing twice does nothing.
    pub fn close(&self) {
        // The writer closes the last connection, so that it leaves no log behind.
        self.readers.close();
        self.inbox.close();
        if let Some(Held { writer, lock }) = lock(&self.held).take() {
            if writer.join().is_err() {
                tracing::error!("the writer panicked");
            }
            drop(lock);
        }
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.inbox
            .push(request(reply))
            .map_err(|_| StoreError::Unavailable("the store is closed".into()))?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// A record with its large values.
    async fn whole(&self, mut sparse: Sparse) -> Result<TaskRecord, StoreError> {
        if sparse.is_whole() {
            return Ok(sparse.into_record());
        }
        let fill = move |conn: &Connection| sparse.fill(conn).map(|()| sparse.into_record());
        self.readers.read(fill).await
    }

    /// The records of a claim. If one cannot be read, all are given back.
    async fn hand_over(&self, mut claimed: Claimed) -> Result<Vec<TaskRecord>, StoreError> {
        if !claimed.is_whole() {
            let fill = move |conn: &Connection| claimed.fill(conn).map(|()| claimed);
            claimed = self.readers.read(fill).await?;
        }
        Ok(claimed.take())
    }

    /// Takes the leases of a session back, then forgets it.
    async fn end_session(&self, session: SessionId) -> Result<(), StoreError> {
        let lost = self
            .ask(|reply| Request::EndSession(session, reply))
            .await?;
        self.sessions.forget(session);
        if lost > 0 {
            tracing::info!(%session, lost, "a worker session ended with leases");
        }
        Ok(())
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable(
        "the writer stopped before it answered; whether the request was written is unknown".into(),
    )
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl Store for SqliteStore {
    fn submit(&self, new: NewTask) -> Fut<'_, Result<Submitted, StoreError>> {
        Box::pin(async move {
            let prepared = Box::new(prepare::task(new, self.max_value_bytes).await?);
            let found = self.ask(|reply| Request::Submit(prepared, reply)).await?;
            Ok(Submitted {
                record: self.whole(found.record).await?,
                existing: found.existing,
            })
        })
    }

    fn claim(&self, request: ClaimRequest) -> Fut<'_, Result<Vec<TaskRecord>, StoreError>> {
        Box::pin(async move {
            let claimed = self.ask(|reply| Request::Claim(request, reply)).await?;
            self.hand_over(claimed).await
        })
    }

    fn apply(
        &self,
        tenant: TenantId,
        task: TaskId,
        command: Command,
        blobs: Vec<Blob>,
    ) -> Fut<'_, Result<Lifecycle, StoreError>> {
        Box::pin(async move {
            let prepared = prepare::command(command, blobs, self.max_value_bytes).await?;
            let apply = Apply {
                tenant,
                task,
                prepared,
            };
            self.ask(|reply| Request::Apply(apply, Some(reply))).await
        })
    }

    fn task(&self, tenant: TenantId, task: TaskId) -> Fut<'_, Result<TaskRecord, StoreError>> {
        Box::pin(async move {
            let found = self
                .readers
                .read(move |conn| reads::task(conn, tenant, task))
                .await?;
            found.ok_or(StoreError::NotFound)
        })
    }

    fn tasks(
        &self,
        tenant: TenantId,
        filter: TaskFilter,
    ) -> Fut<'_, Result<Vec<TaskRecord>, StoreError>> {
        Box::pin(async move {
            let mut found = Vec::new();
            let mut rest = filter;
            while rest.limit > 0 {
                let filter = rest.clone();
                let page = self
                    .readers
                    .read(move |conn| list::tasks(conn, tenant, &filter))
                    .await?;
                let full = page.len() == list::PAGE as usize;
                rest.limit = rest.limit.saturating_sub(list::PAGE);
                rest.before = page.last().map(|record| record.task.id);
                found.extend(page);
                if !full {
                    break;
                }
            }
            Ok(found)
        })
    }

    fn counts(&self, tenant: TenantId) -> Fut<'_, Result<Counts, StoreError>> {
        Box::pin(self.readers.read(move |conn| reads::counts(conn, tenant)))
    }

    fn events(
        &self,
        tenant: TenantId,
        task: TaskId,
        after: u64,
        limit: u32,
    ) -> Fut<'_, Result<Vec<StoredEvent>, StoreError>> {
        Box::pin(async move {
            let (mut found, mut after, mut rest) = (Vec::new(), after, limit);
            loop {
                let size = rest.min(EVENT_PAGE);
                let read = move |conn: &Connection| reads::events(conn, tenant, task, after, size);
                let page = self.readers.read(read).await?.ok_or(StoreError::NotFound)?;
                let full = page.len() == EVENT_PAGE as usize;
                after = page.last().map_or(after, |event| event.seq);
                rest -= size;
                found.extend(page);
                if !full || rest == 0 {
                    return Ok(found);
                }
            }
        })
    }

    fn blob<'a>(
        &'a self,
        tenant: TenantId,
        digest: &'a str,
        offset: u64,
        len: u64,
    ) -> Fut<'a, Result<Vec<u8>, StoreError>> {
        Box::pin(async move {
            let digest = parse_digest(digest).ok_or(StoreError::NotFound)?;
            let read =
                move |conn: &Connection| blob::read_slice(conn, tenant, &digest, offset, len);
            self.readers.read(read).await?.ok_or(StoreError::NotFound)
        })
    }

    fn snapshot(
        &self,
        tenant: TenantId,
        task: TaskId,
    ) -> Fut<'_, Result<Option<Snapshot>, StoreError>> {
        Box::pin(async move {
            let found = self
                .readers
                .read(move |conn| reads::snapshot(conn, tenant, task))
                .await?;
            found.ok_or(StoreError::NotFound)
        })
    }

    fn put_snapshot(
        &self,
        tenant: TenantId,
        task: TaskId,
        snapshot: Snapshot,
    ) -> Fut<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let packed = prepare::snapshot(snapshot, self.max_value_bytes).await?;
            self.ask(|reply| Request::PutSnapshot(tenant, task, packed, reply))
                .await
        })
    }

    fn open_session(&self, session: SessionId) -> Fut<'_, Result<(), StoreError>> {
        Box::pin(async move { self.sessions.open(session, self.clock.boot_micros()) })
    }

    fn heartbeat(&self, session: SessionId) -> Fut<'_, Result<HeartbeatReply, StoreError>> {
        Box::pin(async move { self.sessions.heartbeat(session, self.clock.boot_micros()) })
    }

    fn close_session(&self, session: SessionId) -> Fut<'_, Result<(), StoreError>> {
        Box::pin(async move {
            if self.sessions.end(session) {
                self.end_session(session).await
            } else {
                Ok(())
            }
        })
    }

    fn expire_sessions(&self) -> Fut<'_, Result<u32, StoreError>> {
        Box::pin(async move {
            let mut ended = 0;
            for session in self.sessions.expire(self.clock.boot_micros()) {
                self.end_session(session).await?;
                ended += 1;
            }
            Ok(ended)
        })
    }

    fn wake_due(&self, limit: u32) -> Fut<'_, Result<Due, StoreError>> {
        Box::pin(self.ask(move |reply| Request::WakeDue(limit, reply)))
    }

    fn ready_queues(&self) -> Fut<'_, Result<Vec<String>, StoreError>> {
        Box::pin(self.readers.read(reads::ready_queues))
    }
}
