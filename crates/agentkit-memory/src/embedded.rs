//! The embedded store: one SQLite file, threads of its own, and an index of codes in memory.

mod copy;
mod embed;
mod index;
mod port;
mod read;
mod rows;
mod schema;
mod search;
mod threads;
mod visible;
mod write;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use agentkit::{
    drive::{RunClock, SystemClock},
    memory::long_term::{
        Added, Found, LongTermMemory as _, MemoryError, MemoryStatus, Mode, Namespace, NewFact,
        Search,
    },
};
use tokio::sync::{Mutex, Notify};

pub use self::copy::{copy, restore};

use self::{
    index::Index,
    search::QueryVector,
    threads::Threads,
    write::{Checked, Moment},
};
use crate::embedder::Embedder;

/// The most current facts of a namespace, unless configured.
const MAX_FACTS: u64 = 1_000_000;
/// How long a search waits for the vector of its query.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// A text of more bytes is checked on a thread for work that blocks.
const LONG: usize = 32 << 10;
/// The longest reason, in bytes.
const MAX_REASON: usize = 1_000;

/// Settings of an embedded store.
#[derive(Clone)]
pub struct Options {
    /// The file, for instance `memory.db` in the data folder.
    pub path: PathBuf,
    /// The embedder; `None` for text search alone.
    pub embedder: Option<Arc<dyn Embedder>>,
    /// The most current facts of a namespace.
    pub max_facts: u64,
    /// The clock.
    pub clock: Arc<dyn RunClock>,
}

impl Options {
    /// A file with text search alone, and the usual bounds.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            embedder: None,
            max_facts: MAX_FACTS,
            clock: Arc::new(SystemClock),
        }
    }

    /// With an embedder.
    #[must_use]
    pub fn embedder(mut self, embedder: Arc<dyn Embedder>) -> Self {
        self.embedder = Some(embedder);
        self
    }
}

/// A store in a file. The first call opens the file, or makes it; a call after a failure to open tries again.
pub struct Embedded {
    options: Options,
    opened: Mutex<Option<Arc<Opened>>>,
    said: AtomicBool,
    counted: Counted,
}

/// Calls of this process.
#[derive(Debug, Default)]
struct Counted {
    searches: AtomicU64,
    added: AtomicU64,
    failures: AtomicU64,
}

/// Calls of this process so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Searches.
    pub searches: u64,
    /// New facts.
    pub added: u64,
    /// Searches and adds that failed.
    pub failures: u64,
}

/// What is there once the file is open.
struct Opened {
    threads: Threads,
    index: Arc<RwLock<Index>>,
    /// Told of each added fact.
    added: Arc<Notify>,
    /// Held by whoever embeds: a chunk is embedded once.
    embedding: Mutex<()>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.added.notify_one();
    }
}

/// State of the file, for a process that has not opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// There is no file: nothing was ever added.
    Absent,
    /// There is a file of so many bytes, its log left out.
    Bytes(u64),
}

impl Embedded {
    /// A store. Nothing is opened or made before the first call.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            opened: Mutex::default(),
            said: AtomicBool::new(false),
            counted: Counted::default(),
        }
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.options.path
    }

    /// The fingerprint of its embedder.
    #[must_use]
    pub fn embedder(&self) -> Option<&str> {
        self.options
            .embedder
            .as_ref()
            .map(|embedder| embedder.fingerprint())
    }

    /// Calls of this process so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            searches: read(&self.counted.searches),
            added: read(&self.counted.added),
            failures: read(&self.counted.failures),
        }
    }

    /// Counts a call.
    fn count<T>(
        &self,
        what: &AtomicU64,
        outcome: Result<T, MemoryError>,
    ) -> Result<T, MemoryError> {
        let counter = match outcome {
            Ok(_) => what,
            Err(_) => &self.counted.failures,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        outcome
    }

    /// State of the file, without opening it.
    #[must_use]
    pub fn stored(&self) -> Stored {
        let found = std::fs::metadata(&self.options.path);
        found.map_or(Stored::Absent, |found| Stored::Bytes(found.len()))
    }

    /// Embeds everything that is pending, and tells the progress after each batch: how many parts are left.
    ///
    /// # Errors
    /// Without an embedder, and if the embedder is away.
    pub async fn embed_all(
        &self,
        mut progress: impl FnMut(u64),
    ) -> Result<MemoryStatus, MemoryError> {
        let Some(embedder) = self.options.embedder.clone() else {
            return Err(MemoryError::Embedder(
                "none is configured; set `memory.embedder`".to_owned(),
            ));
        };
        let opened = self.opened().await?;
        loop {
            let turn = opened.embedding.lock().await;
            let count = embed::batch(&opened, &embedder).await?;
            drop(turn);
            let status = self.status().await?;
            if count == 0 {
                return Ok(status);
            }
            progress(status.pending);
        }
    }

    async fn opened(&self) -> Result<Arc<Opened>, MemoryError> {
        let mut opened = self.opened.lock().await;
        if let Some(opened) = &*opened {
            return Ok(Arc::clone(opened));
        }
        let path = self.options.path.clone();
        let threads = tokio::task::spawn_blocking(move || Threads::start(&path));
        let threads = threads
            .await
            .map_err(|error| MemoryError::Away(error.to_string()))?;
        let made = Arc::new(Opened {
            threads: threads.map_err(MemoryError::Away)?,
            index: Arc::default(),
            added: Arc::default(),
            embedding: Mutex::default(),
        });
        match &self.options.embedder {
            Some(embedder) => {
                tokio::spawn(embed::keep_up(Arc::downgrade(&made), Arc::clone(embedder)));
            }
            None => tracing::info!(
                "no embedder is configured: long-term memory is searched by words alone"
            ),
        }
        *opened = Some(Arc::clone(&made));
        Ok(made)
    }

    fn moment(&self) -> Moment {
        Moment {
            now_micros: self.options.clock.now_micros(),
            max_facts: self.options.max_facts,
        }
    }

    /// The query's vector, or why there is none.
    async fn query_vector(
        &self,
        opened: &Opened,
        search: &Search,
    ) -> Result<Option<QueryVector>, MemoryError> {
        let Some(embedder) = &self.options.embedder else {
            return Err(MemoryError::Embedder("none is configured".to_owned()));
        };
        let fingerprint = embedder.fingerprint().to_owned();
        let known = opened
            .threads
            .read(move |connection| Ok(embed::known(connection, &fingerprint)?))
            .await?;
        let Some((number, Some(dimension))) = known else {
            return Ok(None);
        };
        let made = tokio::time::timeout(QUERY_TIMEOUT, embed::query(embedder, &search.query)).await;
        let vector =
            made.map_err(|_| MemoryError::Embedder("it did not answer in time".to_owned()))??;
        if i64::try_from(vector.len()).ok() != Some(dimension) {
            return Err(MemoryError::Vector(format!(
                "the embedder gave {} numbers for the query, and {dimension} for facts",
                vector.len()
            )));
        }
        Ok(Some(QueryVector {
            embedder: number,
            vector,
        }))
    }

    async fn find(&self, search: &Search) -> Result<Found, MemoryError> {
        search.check()?;
        let opened = self.opened().await?;
        let (vector, notice) = match search.mode {
            Mode::Text => (None, None),
            Mode::Dense => match self.query_vector(&opened, search).await? {
                Some(vector) => (Some(vector), None),
                None => (None, Some("no fact has its vector yet".to_owned())),
            },
            Mode::Hybrid => match self.query_vector(&opened, search).await {
                Ok(Some(vector)) => (Some(vector), None),
                Ok(None) => (
                    None,
                    Some("no fact has its vector yet: words alone".to_owned()),
                ),
                Err(error) => {
                    // An embedder that was never configured is said once, in the log.
                    if self.options.embedder.is_some() && !self.said.swap(true, Ordering::Relaxed) {
                        tracing::warn!(%error, "long-term memory is searched by words alone");
                    }
                    (None, Some(format!("words alone: {error}")))
                }
            },
        };
        if vector.is_some() {
            self.said.store(false, Ordering::Relaxed);
        }
        let (index, asked) = (Arc::clone(&opened.index), search.clone());
        let (mut found, numbers) = opened
            .threads
            .read(move |connection| search::run(connection, &index, &asked, vector.as_ref()))
            .await?;
        found.notice = notice;
        if let (Some((task, step)), false) = (search.reader.clone(), numbers.is_empty()) {
            let now = self.options.clock.now_micros();
            opened
                .threads
                .write(move |connection| write::read(connection, &task, step, &numbers, now))
                .await?;
        }
        Ok(found)
    }
}

/// Checks a fact, off the threads of the runtime if its text is long.
async fn checked(fact: NewFact) -> Result<Checked, MemoryError> {
    if fact.text.len() <= LONG {
        return Checked::new(fact);
    }
    let checked = tokio::task::spawn_blocking(move || Checked::new(fact)).await;
    checked.unwrap_or_else(|error| Err(MemoryError::Away(error.to_string())))
}

/// A reason within its bounds.
fn checked_reason(reason: &str) -> Result<String, MemoryError> {
    if reason.len() > MAX_REASON {
        return Err(MemoryError::Invalid(format!(
            "a reason has {MAX_REASON} bytes at most"
        )));
    }
    match agentkit::memory::long_term::secret(reason) {
        Some(form) => Err(MemoryError::Secret(form)),
        None => Ok(reason.to_owned()),
    }
}

impl Embedded {
    async fn put(&self, namespace: &Namespace, fact: NewFact) -> Result<Added, MemoryError> {
        namespace.check()?;
        let fact = checked(fact).await?;
        let opened = self.opened().await?;
        let (namespace, moment) = (namespace.clone(), self.moment());
        let added = opened
            .threads
            .write(move |connection| write::add(connection, &namespace, &fact, moment))
            .await?;
        opened.added.notify_one();
        Ok(added)
    }

    async fn forgotten(
        &self,
        namespace: &Namespace,
        id: &str,
        reason: &str,
        erase: bool,
    ) -> Result<Vec<String>, MemoryError> {
        namespace.check()?;
        let reason = checked_reason(reason)?;
        let (namespace, id) = (namespace.clone(), id.to_owned());
        let opened = self.opened().await?;
        let work = move |connection: &_| write::forget(connection, &namespace, &id, &reason, erase);
        match erase {
            true => opened.threads.erase(work).await,
            false => opened.threads.write(work).await,
        }
    }
}
