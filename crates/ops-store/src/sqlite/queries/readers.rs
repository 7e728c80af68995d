//! A few read-only connections for everything that does not write.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use ops_core::ports::StoreError;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::sqlite::{
    error::read_error,
    queries::view::{self, View},
    writer::inbox::lock,
};

/// The connections; a read takes one, on a thread that may block.
#[derive(Debug)]
pub(crate) struct Readers {
    dir: PathBuf,
    free: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

/// A connection that goes back when it is dropped, even by a panic.
struct Borrowed<'a> {
    readers: &'a Readers,
    conn: Option<Connection>,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take()
            && !self.readers.free.is_closed()
        {
            lock(&self.readers.idle).push(conn);
        }
    }
}

impl Readers {
    pub(crate) fn new(dir: PathBuf, connections: Vec<Connection>) -> Self {
        let free = Arc::new(Semaphore::new(connections.len()));
        Self {
            dir,
            free,
            idle: Mutex::new(connections),
        }
    }

    /// Reads one state of the database: at least what was committed before the call.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&View<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let closed = || StoreError::Unavailable("the store is closed".into());
        let permit = Arc::clone(&self.free)
            .acquire_owned()
            .await
            .map_err(|_| closed())?;
        let readers = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || {
            let conn = lock(&readers.idle).pop();
            let borrowed = Borrowed {
                readers: &readers,
                conn,
            };
            let done = match &borrowed.conn {
                Some(conn) => {
                    view::read(conn, read).map_err(|error| read_error(&readers.dir, &error))
                }
                None => Err(closed()),
            };
            drop(borrowed);
            drop(permit);
            done
        });
        reading
            .await
            .unwrap_or_else(|error| Err(StoreError::Unavailable(format!("a read failed: {error}"))))
    }

    /// No further reads; the ones under way finish.
    pub(crate) fn close(&self) {
        self.free.close();
        lock(&self.idle).clear();
    }
}
