//! Gives the free pages of a database back to the disk: a copy without them takes its place.
//!
//! SQLite keeps the pages of deleted rows for new ones. To keep a list of them that could be given back a few at a time
//! (`auto_vacuum`) would cost every commit a page, so that it is done on request, while no server has the folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};

use super::{BackupError, Damage, check, path_text, sweep, unfinished::Unfinished};
use crate::sqlite::folder::{
    lock::Lock,
    open::{DATABASE_FILE, OpenError},
};

/// What a database took before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes of the database before.
    pub before: u64,
    /// Bytes of the database after.
    pub after: u64,
}

/// Makes the database of a folder as small as its content. Needs room on the disk for one more copy. Killed at any time,
/// the folder has the old database or the new one, with the same content. Blocks for as long as it takes.
///
/// # Errors
/// Each says what is wrong and how to mend it; a folder that a server has is refused.
pub fn compact(dir: &Path) -> Result<Compacted, BackupError> {
    let database = dir.join(DATABASE_FILE);
    if !database.exists() {
        return Err(BackupError::NoDatabase {
            dir: dir.to_owned(),
        });
    }
    let lock = Lock::acquire(dir)?;
    let failed = |source| OpenError::sqlite(dir, source);
    let [log, index] = ["-wal", "-shm"].map(|suffix| with_suffix(&database, suffix));
    if bytes(&log) > 0 {
        return Err(BackupError::NotStopped {
            dir: dir.to_owned(),
        });
    }
    let before = bytes(&database);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(&database, flags).map_err(failed)?;
    conn.execute_batch("PRAGMA trusted_schema = OFF;")
        .map_err(failed)?;
    sweep(dir);
    let unfinished = Unfinished::beside(&database)?;
    conn.execute("VACUUM INTO ?", [path_text(unfinished.path())?])
        .map_err(|source| BackupError::Copy {
            file: database.clone(),
            source,
        })?;
    conn.close().map_err(|(_, error)| failed(error))?;
    // Whoever closes the database last takes both files away. A process that still has them would take the log of the new
    // database for that of the old one.
    if log.exists() || index.exists() {
        return Err(BackupError::InUse { file: database });
    }
    check(unfinished.path(), &database, Damage::Refused)?;
    unfinished.replace(&database)?;
    drop(lock);
    Ok(Compacted {
        before,
        after: bytes(&database),
    })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}
