//! Looking a data folder over, whether a server has it open or not.

mod damage;

use std::{
    fs,
    path::{Path, PathBuf},
};

pub use self::damage::Content;
pub use crate::sqlite::folder::wal::WalState;

pub(crate) use self::damage::content;

use crate::sqlite::{
    error::free_bytes,
    folder::{
        lock::{LockInfo, running_server},
        open::{DATABASE_FILE, OpenError, open_reader},
        wal,
    },
    queries::{reads, view},
    schema::{self, SCHEMA_VERSION},
};

/// The state of a data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The version of the SQLite in this binary.
    pub sqlite_version: &'static str,
    /// `wal` in a healthy database.
    pub journal_mode: String,
    /// The schema of the database.
    pub schema_version: u32,
    /// The newest schema that this release knows.
    pub known_schema_version: u32,
    /// Findings of `PRAGMA integrity_check` and of the content checks; empty if the database is sound.
    pub problems: Vec<String>,
    /// Rows that a release without checksums wrote.
    pub unsummed: u64,
    /// State of the write-ahead log behind its last commit; `None` while a server has the folder open.
    pub wal: Option<WalState>,
    /// Copies of logs of which commits were lost.
    pub kept_logs: Vec<PathBuf>,
    /// Size of the database file.
    pub database_bytes: u64,
    /// Size of the write-ahead log.
    pub wal_bytes: u64,
    /// Free space in the file system.
    pub free_bytes: Option<u64>,
    /// The process that has the folder open.
    pub server: Option<LockInfo>,
}

/// Checks a data folder. Reads the whole database, so a large database takes a while. `None` if the folder
/// has no database yet.
///
/// # Errors
/// If the database cannot be read at all.
pub fn inspect(dir: &Path) -> Result<Option<Report>, OpenError> {
    let file = dir.join(DATABASE_FILE);
    let Ok(metadata) = fs::metadata(&file) else {
        return Ok(None);
    };
    let failed = |source| OpenError::sqlite(dir, source);
    let server = running_server(dir);
    // While it is written to, its end is nobody's business.
    let state = match &server {
        None => wal::look(dir).map_err(|source| OpenError::file(&wal::path(dir), source))?,
        Some(_) => None,
    };
    let conn = open_reader(dir).map_err(failed)?;
    let mut problems = integrity(&conn).map_err(failed)?;
    let schema_version = schema::version(&conn).map_err(failed)?;
    let mut unsummed = 0;
    if schema_version == SCHEMA_VERSION {
        let content = content(&conn);
        problems.extend(content.problems);
        unsummed = content.unsummed;
    }
    let journal_mode = conn
        .query_row("PRAGMA journal_mode", (), |row| row.get(0))
        .map_err(failed)?;
    Ok(Some(Report {
        sqlite_version: rusqlite::version(),
        journal_mode,
        schema_version,
        known_schema_version: SCHEMA_VERSION,
        problems,
        unsummed,
        wal: state,
        kept_logs: wal::kept(dir),
        database_bytes: metadata.len(),
        wal_bytes: fs::metadata(wal::path(dir)).map_or(0, |metadata| metadata.len()),
        free_bytes: free_bytes(dir),
        server,
    }))
}

/// The queues that have ready tasks; `None` if the folder has no database, or a database of another schema.
///
/// # Errors
/// If the database cannot be read at all.
pub fn ready_queues(dir: &Path) -> Result<Vec<String>, OpenError> {
    if !dir.join(DATABASE_FILE).exists() {
        return Ok(Vec::new());
    }
    let failed = |source| OpenError::sqlite(dir, source);
    let conn = open_reader(dir).map_err(failed)?;
    if schema::version(&conn).map_err(failed)? != SCHEMA_VERSION {
        return Ok(Vec::new());
    }
    view::read(&conn, reads::ready_queues).map_err(failed)
}

/// Damage in the structure of a database: its pages, and the entries of its indexes.
pub(crate) fn integrity(conn: &rusqlite::Connection) -> rusqlite::Result<Vec<String>> {
    let mut check = conn.prepare("PRAGMA integrity_check(20)")?;
    let lines = check.query_map((), |row| row.get::<_, String>(0))?;
    lines
        .filter(|line| line.as_ref().map_or(true, |line| line != "ok"))
        .collect()
}
