//! Opening a data folder: the lock, the connections, the schema.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

use crate::sqlite::{
    error::is_full,
    options::{Durability, Options},
    schema::{self, Found, SCHEMA_VERSION, sums},
};

/// The database's name within the data folder.
pub const DATABASE_FILE: &str = "opspawn.db";

/// The oldest SQLite whose WAL is not lost when it is reset while another connection reads.
const OLDEST_SQLITE: i32 = 3_051_003;

/// How long a statement waits for a lock that another connection holds.
pub(crate) const BUSY: Duration = Duration::from_secs(5);

/// Why a data folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process owns it.
    #[error(
        "the data folder {} is in use by another process{}{}; use its server, or another folder",
        dir.display(),
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(),
        url.as_ref().map(|url| format!(" that serves {url}")).unwrap_or_default()
    )]
    Locked {
        /// The folder.
        dir: PathBuf,
        /// The process, if it said so.
        pid: Option<u32>,
        /// Address of the owner's API, if the owner serves an API.
        url: Option<String>,
    },
    /// A newer release wrote it.
    #[error(
        "{} has schema version {found}, but this release knows versions up to {known}; use the \
         newer release that wrote it, or a backup from before",
        file.display()
    )]
    NewerSchema {
        /// The database.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that this release knows.
        known: u32,
    },
    /// The file is not a database, or no longer.
    #[error(
        "{} is damaged or not a database; move it away and restore it from a backup",
        file.display()
    )]
    Damaged {
        /// The database.
        file: PathBuf,
        /// Error of SQLite.
        #[source]
        source: rusqlite::Error,
    },
    /// The database belongs to another program.
    #[error("{} is a database of another program; use another data folder", file.display())]
    Foreign {
        /// The database.
        file: PathBuf,
    },
    /// The folder or a file in it cannot be created or written.
    #[error(
        "{} {}",
        path.display(),
        match source.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                "is a file or lies below a file, and the data folder is a folder; name a folder"
            }
            _ => "cannot be written; make it writable for this user, or use another data folder",
        }
    )]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// Error of the system.
        #[source]
        source: io::Error,
    },
    /// This process, or the machine, has as many files open as it may.
    #[error(
        "{} cannot be opened: this process has as many files open as it may; raise `ulimit -n`",
        path.display()
    )]
    OutOfFiles {
        /// The folder or file.
        path: PathBuf,
        /// Error of the system.
        #[source]
        source: io::Error,
    },
    /// The database is there but cannot be written.
    #[error(
        "{} cannot be opened for writing; make the file and its folder writable for this user",
        file.display()
    )]
    ReadOnly {
        /// The database.
        file: PathBuf,
        /// Error of SQLite.
        #[source]
        source: rusqlite::Error,
    },
    /// The disk is full.
    #[error("no space is left in {}; free some and start again", dir.display())]
    Full {
        /// The folder.
        dir: PathBuf,
        /// Error of SQLite.
        #[source]
        source: rusqlite::Error,
    },
    /// The binary was built with a SQLite that is too old.
    #[error(
        "SQLite {found} can lose data when it resets a WAL; build with 3.51.3 or newer (the \
         bundled one is)"
    )]
    SqliteTooOld {
        /// Its version.
        found: &'static str,
    },
    /// Another error.
    #[error("{} cannot be opened", file.display())]
    Sqlite {
        /// The database.
        file: PathBuf,
        /// Error of SQLite.
        #[source]
        source: rusqlite::Error,
    },
    /// The writer did not start.
    #[error("the writer of {} did not start: {message}", dir.display())]
    Writer {
        /// The folder.
        dir: PathBuf,
        /// Why.
        message: String,
    },
}

impl OpenError {
    /// The meaning of a system error for a folder or a file of the folder.
    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match is_out_of_files(&source) {
            true => Self::OutOfFiles { path, source },
            false => Self::Folder { path, source },
        }
    }

    /// The meaning of an error of SQLite while a folder is being opened.
    pub(crate) fn sqlite(dir: &Path, source: rusqlite::Error) -> Self {
        let file = dir.join(DATABASE_FILE);
        if is_full(dir, &source) {
            return Self::Full {
                dir: dir.to_owned(),
                source,
            };
        }
        if source.sqlite_error_code() == Some(ErrorCode::CannotOpen)
            && let Err(source) = open_as_sqlite_does(dir)
        {
            return Self::OutOfFiles { path: file, source };
        }
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { file, source }
            }
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::ReadOnly { file, source }
            }
            _ => Self::Sqlite { file, source },
        }
    }
}

/// Opens as many files at once as SQLite does for one database: the database, its WAL, its index and the
/// folder. SQLite does not say why a file cannot be opened, and has closed the others by then.
///
/// # Errors
/// That the limit of open files is reached; other errors are ignored.
fn open_as_sqlite_does(dir: &Path) -> io::Result<()> {
    let files: io::Result<Vec<File>> = (0..4).map(|_| File::open(dir)).collect();
    match files {
        Err(error) if is_out_of_files(&error) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn is_out_of_files(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE]
        .map(Errno::raw_os_error)
        .map(Some)
        .contains(&errno)
}

/// Refuses a SQLite with a known way to lose data.
pub(crate) fn check_version() -> Result<(), OpenError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(OpenError::SqliteTooOld {
            found: rusqlite::version(),
        });
    }
    Ok(())
}

/// Creates the folder, durably.
pub(crate) fn create_folder(dir: &Path) -> Result<(), OpenError> {
    let denied = |source| OpenError::file(dir, source);
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(denied)?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)
            .and_then(|parent| parent.sync_all())
            .map_err(denied),
        Some(_) | None => Ok(()),
    }
}

/// Creates a database's file, for its owner alone, if the file is missing; SQLite gives the files beside
/// the database the same permissions. Where the creation fails, SQLite fails as well, and gives the reason.
fn create_private(file: &Path) {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    drop(options.open(file));
}

/// The writer's connection, with the schema brought up to date.
pub(crate) fn open_writer(options: &Options) -> Result<Connection, OpenError> {
    let file = options.dir.join(DATABASE_FILE);
    let failed = |source| OpenError::sqlite(&options.dir, source);
    create_private(&file);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(&file, flags).map_err(failed)?;
    set_up(&conn, options).map_err(failed)?;
    match schema::migrate(&conn).map_err(failed)? {
        Found::Current => Ok(conn),
        Found::Newer(found) => Err(OpenError::NewerSchema {
            file,
            found,
            known: SCHEMA_VERSION,
        }),
        Found::Foreign => Err(OpenError::Foreign { file }),
    }
}

fn set_up(conn: &Connection, options: &Options) -> rusqlite::Result<()> {
    let synchronous = match options.durability {
        Durability::Full if units::mutant!("ops-store.a_commit_is_not_synced") => "NORMAL",
        Durability::Full => "FULL",
        Durability::Off => "OFF",
    };
    // The writer checkpoints by itself, after it has answered. A page cache of 8 MiB is filled by
    // use only.
    conn.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; \
         PRAGMA foreign_keys = OFF; PRAGMA wal_autocheckpoint = 0; \
         PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -8192; \
         PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;"
    ))?;
    conn.busy_timeout(BUSY)?;
    if cfg!(target_os = "macos") {
        conn.execute_batch("PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;")?;
    }
    if let Some(pages) = options.max_pages {
        conn.execute_batch(&format!("PRAGMA max_page_count = {pages};"))?;
    }
    keep_statements(conn)
}

/// Keeps prepared statements, and keeps each as it was compiled. Without that, SQLite compiles a statement
/// anew whenever another value is bound to its `LIMIT`, which each claim has.
fn keep_statements(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// A connection that only reads.
pub(crate) fn open_reader(dir: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(dir.join(DATABASE_FILE), flags)?;
    conn.execute_batch(
        "PRAGMA query_only = ON; PRAGMA cache_size = -2048; PRAGMA temp_store = MEMORY; \
         PRAGMA trusted_schema = OFF;",
    )?;
    conn.busy_timeout(BUSY)?;
    sums::register(&conn)?;
    keep_statements(&conn)?;
    Ok(conn)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ops_core::{Micros, ports::Clock};
    use rusqlite::StatementStatus;

    use super::*;

    struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> Micros {
            Micros(0)
        }

        fn boot_micros(&self) -> i64 {
            0
        }
    }

    fn pragma(conn: &Connection, name: &str) -> String {
        let value = |row: &rusqlite::Row<'_>| row.get::<_, rusqlite::types::Value>(0);
        let value = conn.query_row(&format!("PRAGMA {name}"), (), value);
        match value.unwrap() {
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other => panic!("{other:?}"),
        }
    }

    /// tests/X3: a commit is on disk when it is answered.
    #[test]
    fn the_writer_syncs_with_each_commit_unless_it_is_told_not_to() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path(), Arc::new(Stopped));
        let conn = open_writer(&options).unwrap();
        for (name, value) in [
            ("synchronous", "2"),
            ("journal_mode", "wal"),
            ("wal_autocheckpoint", "0"),
        ] {
            assert_eq!(pragma(&conn, name), value, "{name}");
        }
        drop(conn);
        options.durability = Durability::Off;
        let conn = open_writer(&options).unwrap();
        assert_eq!(pragma(&conn, "synchronous"), "0");
    }

    #[test]
    fn a_statement_is_compiled_once_whatever_is_bound() {
        let conn = Connection::open_in_memory().unwrap();
        keep_statements(&conn).unwrap();
        let mut select = conn
            .prepare("SELECT value FROM json_each('[1, 2, 3]') LIMIT ?")
            .unwrap();
        for limit in [1_u32, 3, 2] {
            let found = select.query_map([limit], |row| row.get(0)).unwrap();
            let last: u32 = found.last().unwrap().unwrap();
            assert_eq!(last, limit);
        }
        assert_eq!(select.get_status(StatementStatus::RePrepare), 0);
    }
}
