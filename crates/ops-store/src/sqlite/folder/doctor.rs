//! Looking a data folder over, whether a server has it open or not.

use std::{fs, path::Path};

use crate::sqlite::{
    error::free_bytes,
    folder::{
        lock::{LockInfo, running_server},
        open::{DATABASE_FILE, OpenError, open_reader},
    },
    queries::reads,
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
    /// What `PRAGMA quick_check` found; empty if all is well.
    pub problems: Vec<String>,
    /// Size of the database file.
    pub database_bytes: u64,
    /// Size of the write-ahead log.
    pub wal_bytes: u64,
    /// Free space in the file system.
    pub free_bytes: Option<u64>,
    /// The process that has the folder open.
    pub server: Option<LockInfo>,
}

/// Looks a data folder over. Reads the whole database, so it takes a while on a large one. None if
/// the folder has no database yet.
///
/// # Errors
/// If the database cannot be read at all.
pub fn inspect(dir: &Path) -> Result<Option<Report>, OpenError> {
    let file = dir.join(DATABASE_FILE);
    let Ok(metadata) = fs::metadata(&file) else {
        return Ok(None);
    };
    let failed = |source| OpenError::sqlite(dir, source);
    let conn = open_reader(dir).map_err(failed)?;
    let problems = quick_check(&conn).map_err(failed)?;
    let journal_mode = conn
        .query_row("PRAGMA journal_mode", (), |row| row.get(0))
        .map_err(failed)?;
    Ok(Some(Report {
        sqlite_version: rusqlite::version(),
        journal_mode,
        schema_version: schema::version(&conn).map_err(failed)?,
        known_schema_version: SCHEMA_VERSION,
        problems,
        database_bytes: metadata.len(),
        wal_bytes: fs::metadata(dir.join(format!("{DATABASE_FILE}-wal")))
            .map_or(0, |metadata| metadata.len()),
        free_bytes: free_bytes(dir),
        server: running_server(dir),
    }))
}

/// The queues that have ready tasks; none if the folder has no database, or one of another schema.
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
    reads::ready_queues(&conn).map_err(failed)
}

fn quick_check(conn: &rusqlite::Connection) -> rusqlite::Result<Vec<String>> {
    let mut check = conn.prepare("PRAGMA quick_check")?;
    let lines = check.query_map((), |row| row.get::<_, String>(0))?;
    lines
        .filter(|line| line.as_ref().map_or(true, |line| line != "ok"))
        .collect()
}
