//! What SQLite's errors mean to the callers of the store.

use std::path::Path;

use ops_core::{Rejection, ports::StoreError};
use rusqlite::{Error, ErrorCode};

/// Below this much free space, an I/O error is taken for a full disk.
pub(crate) const NO_SPACE: u64 = 1 << 20;

/// Why an item of a batch was not written.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// This item is refused and has written nothing; its neighbours go on.
    Refused(StoreError),
    /// Storage failed: the whole batch is rolled back.
    Broken(Error),
}

/// A value that a newer release wrote: that release can read it.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not known to this release; use the newer one that wrote it")]
pub(crate) struct Newer(pub(crate) String);

impl From<Error> for WriteError {
    fn from(error: Error) -> Self {
        // One row that this release cannot read is no reason to fail its neighbours.
        match unreadable(&error) {
            Some(unreadable) => Self::Refused(unreadable),
            None => Self::Broken(error),
        }
    }
}

/// What it means that a row cannot be read, if that is the error.
fn unreadable(error: &Error) -> Option<StoreError> {
    let said = || format!("a row: {error}");
    match error {
        Error::FromSqlConversionFailure(_, _, source) if source.is::<Newer>() => {
            Some(StoreError::Unavailable(said()))
        }
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..) => Some(StoreError::Unreadable(said())),
        _ => None,
    }
}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<Rejection> for WriteError {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection.into())
    }
}

/// What a failure of SQLite means to whoever reads. A page that is damaged is damaged for what lies on it;
/// whoever reads something else goes on.
pub(crate) fn read_error(dir: &Path, error: &Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Unreadable(damaged(dir, error)),
        _ => store_error(dir, error),
    }
}

fn damaged(dir: &Path, error: &Error) -> String {
    format!(
        "the database in {} is damaged ({error}); stop the server and restore the folder from a backup",
        dir.display()
    )
}

/// What a failure of SQLite means to a caller.
pub(crate) fn store_error(dir: &Path, error: &Error) -> StoreError {
    if let Some(unreadable) = unreadable(error) {
        return unreadable;
    }
    if is_full(dir, error) {
        return StoreError::Full(format!(
            "no space is left in {} ({error}); nothing that was acknowledged is lost, and writes \
             succeed again once there is space",
            dir.display()
        ));
    }
    StoreError::Unavailable(match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(dir, error),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => format!(
            "another program holds a lock on the database in {} ({error}); close it",
            dir.display()
        ),
        Some(ErrorCode::SystemIoFailure) => format!(
            "the disk of {} failed ({error}); whether this write survives is known only after the \
             next start",
            dir.display()
        ),
        _ => format!("{error} (data folder {})", dir.display()),
    })
}

/// Whether an error means that no space is left.
pub(crate) fn is_full(dir: &Path, error: &Error) -> bool {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => true,
        // Extending the shared memory or the file system's quota ends in a plain I/O error.
        Some(ErrorCode::SystemIoFailure) => free_bytes(dir).is_some_and(|free| free < NO_SPACE),
        _ => false,
    }
}

/// Free space in a folder's file system.
pub(crate) fn free_bytes(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
