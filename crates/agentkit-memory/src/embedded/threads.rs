//! The threads of a store: one writes, two read, each behind a bounded queue.
//!
//! The writer takes what queued while its last commit ran, and commits once. Each write is a savepoint of its own, so a
//! write that fails costs its neighbours nothing.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use agentkit::memory::long_term::MemoryError;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use super::schema;

/// Writes and reads that may wait.
const QUEUE: usize = 256;
/// The most writes of one commit.
const GROUP: usize = 64;
const READERS: usize = 2;

/// An error within the work on a connection.
#[derive(Debug)]
pub(super) enum Failed {
    /// The database's.
    Sql(rusqlite::Error),
    /// An answer for the caller.
    Told(MemoryError),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<MemoryError> for Failed {
    fn from(error: MemoryError) -> Self {
        Self::Told(error)
    }
}

impl From<Failed> for MemoryError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Sql(error) => Self::Away(error.to_string()),
            Failed::Told(error) => error,
        }
    }
}

/// A write: it runs in a savepoint, and its caller is told after the commit.
trait Write: Send {
    /// Whether its changes are to be kept.
    fn run(&mut self, connection: &Connection) -> bool;
    fn tell(self: Box<Self>, committed: Result<(), MemoryError>);
    /// Whether the log is emptied after the commit, so that no older state of a page stays on the disk.
    fn empties_log(&self) -> bool;
}

struct Call<T, F> {
    work: Option<F>,
    result: Option<Result<T, Failed>>,
    reply: oneshot::Sender<Result<T, MemoryError>>,
    empties_log: bool,
}

impl<T: Send, F: FnOnce(&Connection) -> Result<T, Failed> + Send> Write for Call<T, F> {
    fn run(&mut self, connection: &Connection) -> bool {
        self.result = self.work.take().map(|work| work(connection));
        matches!(self.result, Some(Ok(_)))
    }

    fn tell(self: Box<Self>, committed: Result<(), MemoryError>) {
        let never = || MemoryError::Away("the write was not made".to_owned());
        let result = match (committed, self.result) {
            (_, Some(Err(failed))) => Err(failed.into()),
            (Err(error), _) => Err(error),
            (Ok(()), Some(Ok(value))) => Ok(value),
            (Ok(()), None) => Err(never()),
        };
        // Nobody may wait any more: the write stands.
        let _ = self.reply.send(result);
    }

    fn empties_log(&self) -> bool {
        self.empties_log
    }
}

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// The threads. They end once this is dropped and their queues are empty.
pub(super) struct Threads {
    writes: mpsc::SyncSender<Box<dyn Write>>,
    reads: mpsc::SyncSender<Read>,
}

impl Threads {
    /// Opens the file, and starts the threads. Blocks.
    pub(super) fn start(path: &Path) -> Result<Self, String> {
        let mut writer = schema::open(path)?;
        let (writes, to_write) = mpsc::sync_channel::<Box<dyn Write>>(QUEUE);
        let (reads, to_read) = mpsc::sync_channel::<Read>(QUEUE);
        let started = thread::Builder::new()
            .name("memory-writer".to_owned())
            .spawn(move || {
                while let Ok(first) = to_write.recv() {
                    let mut group = vec![first];
                    group.extend(to_write.try_iter().take(GROUP - 1));
                    write(&mut writer, group);
                }
            });
        started.map_err(|error| error.to_string())?;
        let to_read = Arc::new(Mutex::new(to_read));
        for _ in 0..READERS {
            let reader = schema::open_to_read(path)?;
            let to_read = Arc::clone(&to_read);
            let path: PathBuf = path.to_owned();
            let started = thread::Builder::new().name("memory-reader".to_owned()).spawn(move || {
                loop {
                    let next = to_read.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(read) = next else { break };
                    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read(&reader)));
                    if ran.is_err() {
                        tracing::error!(path = %path.display(), "a read of long-term memory panicked");
                    }
                }
            });
            started.map_err(|error| error.to_string())?;
        }
        Ok(Self { writes, reads })
    }

    /// Has the writer run this, and waits until it is on disk.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, MemoryError> {
        self.queue(work, false).await
    }

    /// As [`Threads::write`]; no file has the removed rows afterwards, unless a reader holds an older state.
    pub(super) async fn erase<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, MemoryError> {
        self.queue(work, true).await
    }

    async fn queue<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failed> + Send + 'static,
        empties_log: bool,
    ) -> Result<T, MemoryError> {
        let (reply, done) = oneshot::channel();
        let call = Call {
            work: Some(work),
            result: None,
            reply,
            empties_log,
        };
        self.writes.try_send(Box::new(call)).map_err(|_| busy())?;
        done.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Has a reader run this.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, MemoryError> {
        let (reply, done) = oneshot::channel();
        let read: Read = Box::new(move |connection| {
            // One state of the file for all statements of the work.
            let ran = (|| {
                let transaction = connection.unchecked_transaction()?;
                let value = work(&transaction)?;
                transaction.finish()?;
                Ok::<_, Failed>(value)
            })();
            let _ = reply.send(ran.map_err(MemoryError::from));
        });
        self.reads.try_send(read).map_err(|_| busy())?;
        done.await.unwrap_or_else(|_| Err(stopped()))
    }
}

fn busy() -> MemoryError {
    MemoryError::Away(format!("{QUEUE} calls wait already; try again later"))
}

fn stopped() -> MemoryError {
    MemoryError::Away("its thread has stopped".to_owned())
}

/// Runs the writes of a group in one transaction.
fn write(connection: &mut Connection, mut group: Vec<Box<dyn Write>>) {
    let committed = (|| {
        let mut transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for call in &mut group {
            let savepoint = transaction.savepoint()?;
            let keep =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| call.run(&savepoint)));
            if keep.unwrap_or(false) {
                savepoint.commit()?;
            }
            // Dropped otherwise, which rolls it back.
        }
        transaction.commit()
    })();
    let committed =
        committed.map_err(|error: rusqlite::Error| MemoryError::Away(error.to_string()));
    if group.iter().any(|call| call.empties_log())
        && let Err(error) = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
    {
        tracing::warn!(%error, "erased facts of long-term memory stay in its log until the log is emptied");
    }
    for call in group {
        call.tell(committed.clone());
    }
}
