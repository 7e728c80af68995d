//! [`MemoryStore`]: one lock around everything.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ops_core::{
    ports::{Clock, Fut, Notice, Observer, StoreError},
    verbs::Write,
};

use crate::data::Data;

/// How a store is made.
pub struct Options {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Is told what was committed.
    pub observer: Arc<dyn Observer>,
    /// How long a session lives without a heartbeat.
    pub session_ttl: Duration,
    /// The largest value, in bytes.
    pub max_value_bytes: u64,
    /// The most tasks of a task, its children and theirs together.
    pub max_tree_tasks: u64,
}

impl Options {
    /// The defaults: nobody is told of commits, sessions live ten seconds, values have 64 MiB and trees
    /// a thousand tasks at most.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            observer: Arc::new(Nobody),
            session_ttl: Duration::from_secs(10),
            max_value_bytes: 64 << 20,
            max_tree_tasks: 1_000,
        }
    }
}

struct Nobody;

impl Observer for Nobody {
    fn committed(&self, _: &[Notice]) {}
}

/// A store in memory.
pub struct MemoryStore {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) cap: u64,
    max_tree_tasks: u64,
    observer: Arc<dyn Observer>,
    data: Mutex<Data>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let Options {
            clock,
            observer,
            session_ttl,
            max_value_bytes,
            max_tree_tasks,
        } = options;
        Self {
            clock,
            cap: max_value_bytes,
            max_tree_tasks,
            observer,
            data: Mutex::new(Data::new(session_ttl)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Data) -> T) -> T {
        read(&self.lock())
    }

    /// Writes, and tells the observer. Work that is refused must have written nothing.
    pub(crate) fn write<T>(
        &self,
        work: impl FnOnce(&mut Write<'_, Data>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut data = self.lock();
        let mut write = Write::new(&mut *data, self.clock.now(), self.max_tree_tasks);
        let answer = work(&mut write);
        let done = write.finish();
        data.work.merge(&done.work);
        data.sessions.note(done.stops);
        drop(data);
        if !done.notices.is_empty() {
            self.observer.committed(&done.notices);
        }
        answer
    }
}

/// An answer that is there.
pub(crate) fn ready<'a, T: Send + 'a>(answer: T) -> Fut<'a, T> {
    Box::pin(std::future::ready(answer))
}
