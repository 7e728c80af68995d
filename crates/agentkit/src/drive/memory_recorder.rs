//! A log in memory, for programs that need no durability and for tests.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;

use super::{Batch, RecordError, Recorder};
use crate::{BoxFuture, Event, event::Failure, tool::BlobReader};

/// Keeps the events and the large values of one run in memory.
#[derive(Debug, Default)]
pub struct MemoryRecorder {
    events: Mutex<Vec<Event>>,
    blobs: Mutex<BTreeMap<String, Bytes>>,
}

impl MemoryRecorder {
    /// A log that begins with these events.
    #[must_use]
    pub fn of(events: Vec<Event>) -> Self {
        Self {
            events: Mutex::new(events),
            blobs: Mutex::default(),
        }
    }

    /// The log so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Recorder for MemoryRecorder {
    fn append<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<(), RecordError>> {
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(batch.events);
        self.blobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(batch.blobs);
        Box::pin(std::future::ready(Ok(())))
    }

    fn check(&self) -> Result<(), RecordError> {
        Ok(())
    }

    fn new_child(&self) -> Result<String, Failure> {
        let message = "this program runs agents without an engine, so there is nothing that a child \
                       task could run on; do the work yourself";
        Err(Failure::last("no_children", message))
    }
}

impl BlobReader for MemoryRecorder {
    fn read<'a>(
        &'a self,
        digest: &'a str,
        offset: u64,
        len: u64,
    ) -> BoxFuture<'a, Result<Bytes, Failure>> {
        let blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let slice = blobs.get(digest).map(|bytes| {
            let end = bytes.len();
            let start = usize::try_from(offset).unwrap_or(end).min(end);
            let stop = start
                .saturating_add(usize::try_from(len).unwrap_or(end))
                .min(end);
            bytes.slice(start..stop)
        });
        let missing = || Failure::last("result_not_found", "the result is no longer there");
        Box::pin(std::future::ready(slice.ok_or_else(missing)))
    }
}
