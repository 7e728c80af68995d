//! [`SqliteStore`]: opening and closing.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
    thread::{self, JoinHandle},
};

use ops_core::ports::{Clock, StoreError};

use crate::sqlite::{
    folder::{
        backup::sweep,
        lock::{Lock, LockInfo, Serves},
        open::{OpenError, check_version, open_reader, open_writer},
        start::{look_over, lost_commits, warnings},
    },
    options::Options,
    queries::readers::Readers,
    sessions::Sessions,
    verbs::leases,
    writer::Writer,
    writer::{
        condition::Condition,
        inbox::{Inbox, lock},
        job::Job,
        reserve::Reserve,
        stats::{Stats, WriterMetrics},
    },
};

/// How many connections read.
const READERS: usize = 2;

/// A store on SQLite. Dropping it closes it.
pub struct SqliteStore {
    dir: PathBuf,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) max_value_bytes: u64,
    pub(crate) inbox: Arc<Inbox<Job>>,
    pub(crate) readers: Arc<Readers>,
    pub(crate) sessions: Arc<Sessions>,
    metrics: Arc<WriterMetrics>,
    pub(crate) condition: Arc<Condition>,
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
        let lock = Lock::acquire(&options.dir)?;
        sweep(&options.dir);
        let lost = lost_commits(&options.dir)?;
        let conn = open_writer(&options)?;
        let failed = |source| OpenError::sqlite(&options.dir, source);
        if lost {
            look_over(&options.dir, &conn).map_err(failed)?;
        }
        let condition = Arc::new(Condition::new(warnings(&options.dir)));
        let readers = (0..READERS)
            .map(|_| open_reader(&options.dir))
            .collect::<Result<_, _>>()
            .map_err(failed)?;

        let inbox = Arc::new(Inbox::new());
        let sessions = Arc::new(Sessions::new(options.session_ttl));
        let metrics = Arc::new(WriterMetrics::default());
        let (voided, answer) = mpsc::channel();
        // The leases of the process before are taken back ahead of any other request.
        let _ = inbox.push(Job::new(leases::void_leases, move |lost| {
            drop(voided.send(lost));
        }));
        let writer = Writer {
            dir: options.dir.clone(),
            durability: options.durability,
            commit_delay: options.commit_delay,
            max_tree_tasks: options.max_tree_tasks,
            reserve: Reserve::new(&options.dir, options.reserve_bytes),
            clock: Arc::clone(&options.clock),
            observer: options.observer,
            inbox: Arc::clone(&inbox),
            sessions: Arc::clone(&sessions),
            metrics: Arc::clone(&metrics),
            condition: Arc::clone(&condition),
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
            metrics,
            condition,
            held: Mutex::new(Some(Held { writer, lock })),
        };
        match answer.recv().unwrap_or_else(|_| Err(stopped())) {
            Ok(0) => {}
            Ok(tasks) => tracing::info!(tasks, "took back the leases of the process before"),
            Err(error) => return Err(broken(error.to_string())),
        }
        Ok(store)
    }

    /// Tells other processes, through the lock file, where this one serves its API and what it is there
    /// for; without a URL, that it serves none (any more).
    ///
    /// # Errors
    /// If the lock file cannot be written, or the store is closed.
    pub fn publish(&self, url: Option<&str>, serves: Serves) -> io::Result<()> {
        let info = LockInfo {
            pid: std::process::id(),
            url: url.map(str::to_owned),
            serves,
        };
        match &*lock(&self.held) {
            Some(held) => held.lock.write(&info),
            None => Err(io::Error::other("the store is closed")),
        }
    }

    /// What the writer has done since the store was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.metrics.read()
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
}

pub(crate) fn stopped() -> StoreError {
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
