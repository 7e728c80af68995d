//! Backups: one file with all data that was committed when the backup began, made while a server goes on
//! writing; and a data folder made of such a file.

mod compact;
mod digest;
mod unfinished;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};

pub use self::compact::{Compacted, compact};
pub(crate) use self::unfinished::sweep;

use self::unfinished::Unfinished;
use crate::sqlite::{
    folder::{
        doctor::{content, integrity},
        lock::Lock,
        open::{DATABASE_FILE, OpenError, create_folder},
    },
    schema::{self, SCHEMA_VERSION, sums},
};

/// Marks a database as ours (`PRAGMA application_id`).
const APPLICATION_ID: i64 = 0x4f50_5357;

/// Contents of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// The file.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// The schema of its database.
    pub schema_version: u32,
    /// How many tasks are in it.
    pub tasks: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// Whether the digest file beside the backup agrees; `None` without a digest file.
    pub verified: Option<bool>,
    /// Damage that the caller accepted.
    pub problems: Vec<String>,
}

/// Whether a restore takes a backup that is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// Damage fails the restore.
    Refused,
    /// The restore takes all readable data, and reports the damage.
    Accepted,
}

/// Why a backup or a restore failed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The folder has no database.
    #[error("{} has no database, so there is nothing to back up; name the data folder with --data", dir.display())]
    NoDatabase {
        /// The folder.
        dir: PathBuf,
    },
    /// The file is there already.
    #[error("{} is there already; name a file that is not, or a folder", file.display())]
    Exists {
        /// The file.
        file: PathBuf,
    },
    /// There is no such file.
    #[error("there is no file {}", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
    },
    /// The file is not a backup.
    #[error("{} is not a backup of opspawn: {why}", file.display())]
    NotABackup {
        /// The file.
        file: PathBuf,
        /// The kind of the file.
        why: String,
    },
    /// The backup is damaged.
    #[error(
        "{} is damaged: {}; use another backup, or restore what is left of this one with --accept-damage",
        file.display(), problems.first().map_or("", String::as_str)
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Findings of `PRAGMA integrity_check` and of the row checksums.
        problems: Vec<String>,
    },
    /// The file differs from the file that was written.
    #[error(
        "{} is not as it was written: its SHA-256 is {found}, and {} says {expected}; use another backup, \
         or restore what is left of this one with --accept-damage",
        file.display(), digest::beside(file).display()
    )]
    Altered {
        /// The file.
        file: PathBuf,
        /// The digest in the file beside the backup.
        expected: String,
        /// Its SHA-256.
        found: String,
    },
    /// The folder to restore into has data.
    #[error(
        "{} holds data already ({found}), which a restore never overwrites; move it away, or name \
         another folder with --data",
        dir.display()
    )]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
        /// The data in the folder.
        found: String,
    },
    /// A file could not be read or written.
    #[error("{} cannot be written or read", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Error of the system.
        #[source]
        source: io::Error,
    },
    /// SQLite failed.
    #[error("copying into {} failed; is its disk full?", file.display())]
    Copy {
        /// The file.
        file: PathBuf,
        /// Error of SQLite.
        #[source]
        source: rusqlite::Error,
    },
    /// Another process reads the database.
    #[error("{} is read by another process, such as a backup; wait for its end, and try again", file.display())]
    InUse {
        /// The database.
        file: PathBuf,
    },
    /// The last server was not stopped, but killed: what its log holds is looked over at the next start.
    #[error("the last server of {} was killed; start a server and stop it, and try again", dir.display())]
    NotStopped {
        /// The folder.
        dir: PathBuf,
    },
    /// A newer release wrote it, the folder is in use, or the database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Copies the database of a folder into a new file, whether a server has the folder open or not, and checks
/// the copy. The copy is there as a whole, on disk, or not at all. Blocks until the copy is complete; no
/// writer waits for the copy, but the write-ahead log grows meanwhile.
///
/// # Errors
/// Each error says how to mend its cause.
pub fn backup(dir: &Path, file: &Path) -> Result<Backup, BackupError> {
    let source = dir.join(DATABASE_FILE);
    if !source.exists() {
        let dir = dir.to_owned();
        return Err(BackupError::NoDatabase { dir });
    }
    let unfinished = begin(file)?;
    let failed = |source| OpenError::sqlite(dir, source);
    let conn = read_only(&source).map_err(failed)?;
    known_schema(&conn, &source)?;
    // An empty file is as good as none to it, and keeps its permissions.
    conn.execute("VACUUM INTO ?", [path_text(unfinished.path())?])
        .map_err(|source| BackupError::Copy {
            file: file.to_owned(),
            source,
        })?;
    drop(conn);
    finish(unfinished, file)
}

/// Makes a backup of rows that `fill` writes into an empty database of the newest schema, in one transaction. The
/// backup is there as a whole, on disk, or not at all.
///
/// # Errors
/// Those of `fill`, and [`BackupError`].
#[cfg(feature = "postgres")]
pub(crate) fn make<E: From<BackupError>>(
    file: &Path,
    fill: impl FnOnce(&Connection) -> Result<(), E>,
) -> Result<Backup, E> {
    let unfinished = begin(file)?;
    let failed = |source| BackupError::Copy {
        file: file.to_owned(),
        source,
    };
    let empty = || -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(unfinished.path(), flags)?;
        // The file is thrown away unless it is finished, so nothing has to be undone or synced before.
        conn.execute_batch(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY; \
             PRAGMA trusted_schema = OFF;",
        )?;
        schema::migrate(&conn)?;
        conn.execute_batch("BEGIN")?;
        Ok(conn)
    };
    let conn = empty().map_err(failed)?;
    fill(&conn)?;
    conn.execute_batch("COMMIT").map_err(failed)?;
    drop(conn);
    Ok(finish(unfinished, file)?)
}

/// Begins a backup.
fn begin(file: &Path) -> Result<Unfinished, BackupError> {
    if file.exists() {
        let file = file.to_owned();
        return Err(BackupError::Exists { file });
    }
    // What backups that were killed left behind is as large as the database.
    sweep(folder_of(file));
    Unfinished::beside(file)
}

/// Looks a copy over, and puts the copy and its digest in their places.
fn finish(unfinished: Unfinished, file: &Path) -> Result<Backup, BackupError> {
    let found = check(unfinished.path(), file, Damage::Refused)?;
    unfinished.finish(file)?;
    digest::write(file, &found.sha256)?;
    Ok(Backup {
        verified: Some(true),
        ..found
    })
}

/// Deletes all rows that are not as they were written from the database of a folder that is a copy of a damaged
/// backup, as far as its pages can be read.
#[cfg(feature = "postgres")]
pub(crate) fn discard_damaged(dir: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::sqlite(dir, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(dir.join(DATABASE_FILE), flags).map_err(failed)?;
    sums::register(&conn).map_err(failed)?;
    // Entries that an index has lost or made up would hide rows. A page that cannot be read stays as it is: the
    // copy leaves out its rows.
    let mut done = vec![conn.execute_batch("REINDEX")];
    for table in &sums::ALL {
        let delete = format!("DELETE FROM {} WHERE NOT {}", table.name, table.intact);
        done.push(conn.execute_batch(&delete));
    }
    for error in done.into_iter().filter_map(Result::err) {
        tracing::debug!(%error, "a part of a damaged backup cannot be cleaned");
    }
    Ok(())
}

fn folder_of(file: &Path) -> &Path {
    let parent = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// Makes a data folder of a backup. A folder that holds data is never touched.
///
/// # Errors
/// Each error says how to mend its cause.
pub fn restore(file: &Path, dir: &Path, damage: Damage) -> Result<Backup, BackupError> {
    let mut found = check(file, file, damage)?;
    if let Some(expected) = digest::read(file)? {
        let verified = expected == found.sha256;
        if !verified && damage == Damage::Refused {
            return Err(BackupError::Altered {
                file: file.to_owned(),
                expected,
                found: found.sha256,
            });
        }
        found.verified = Some(verified);
    }
    create_folder(dir)?;
    // Nobody opens the folder meanwhile.
    let lock = Lock::acquire(dir)?;
    refuse_data(dir)?;
    let target = dir.join(DATABASE_FILE);
    let unfinished = Unfinished::beside(&target)?;
    unfinished.fill(file).map_err(|source| BackupError::Io {
        path: target.clone(),
        source,
    })?;
    let copied = digest::of(unfinished.path())?;
    if copied != found.sha256 {
        return Err(BackupError::Altered {
            file: file.to_owned(),
            expected: found.sha256,
            found: copied,
        });
    }
    unfinished.finish(&target)?;
    drop(lock);
    Ok(found)
}

/// Refuses a folder with data that a restore would hide or mix with its own.
fn refuse_data(dir: &Path) -> Result<(), BackupError> {
    let wal = format!("{DATABASE_FILE}-wal");
    let found = [DATABASE_FILE, wal.as_str()]
        .into_iter()
        .find(|name| dir.join(name).exists())
        .map(str::to_owned)
        .or_else(|| {
            let mut workspaces = fs::read_dir(dir.join("workspaces")).ok()?;
            workspaces.next().map(|_| "workspaces".to_owned())
        });
    match found {
        Some(found) => Err(BackupError::NotEmpty {
            dir: dir.to_owned(),
            found,
        }),
        None => Ok(()),
    }
}

/// Looks a file over as a backup; `shown` is the name that errors have.
fn check(path: &Path, shown: &Path, damage: Damage) -> Result<Backup, BackupError> {
    let file = || shown.to_owned();
    let not_one = |why: String| BackupError::NotABackup { file: file(), why };
    let Ok(metadata) = fs::metadata(path) else {
        return Err(BackupError::Missing { file: file() });
    };
    if metadata.is_dir() {
        return Err(not_one("it is a folder; name the file in it".into()));
    }
    if !metadata.is_file() {
        return Err(not_one(
            "it is a device, a pipe or a socket, and no file".into(),
        ));
    }
    let conn = read_only(path).map_err(|error| not_one(error.to_string()))?;
    let id = conn.query_row("PRAGMA application_id", (), |row| row.get::<_, i64>(0));
    match id {
        Ok(APPLICATION_ID) => {}
        Ok(_) => return Err(not_one("it is the database of another program".into())),
        Err(error) => return Err(not_one(error.to_string())),
    }
    let schema_version = known_schema(&conn, shown)?;
    let damaged = |problems| BackupError::Damaged {
        file: file(),
        problems,
    };
    let unreadable = |error: rusqlite::Error| damaged(vec![error.to_string()]);
    let mut problems = integrity(&conn).map_err(unreadable)?;
    if schema_version == SCHEMA_VERSION {
        sums::register(&conn).map_err(unreadable)?;
        problems.extend(content(&conn).problems);
    }
    if !problems.is_empty() && damage == Damage::Refused {
        return Err(damaged(problems));
    }
    let tasks = conn
        .query_row("SELECT count(*) FROM tasks", (), |row| row.get::<_, i64>(0))
        .map_err(unreadable)?;
    Ok(Backup {
        file: file(),
        bytes: metadata.len(),
        schema_version,
        tasks: u64::try_from(tasks).unwrap_or(0),
        sha256: digest::of(path)?,
        verified: None,
        problems,
    })
}

fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA busy_timeout = 5000;")?;
    Ok(conn)
}

fn known_schema(conn: &Connection, file: &Path) -> Result<u32, BackupError> {
    let unreadable = |error: rusqlite::Error| BackupError::NotABackup {
        file: file.to_owned(),
        why: error.to_string(),
    };
    match schema::version(conn).map_err(unreadable)? {
        0 => Err(BackupError::NotABackup {
            file: file.to_owned(),
            why: "it has no schema".into(),
        }),
        found if found > SCHEMA_VERSION => Err(BackupError::Open(OpenError::NewerSchema {
            file: file.to_owned(),
            found,
            known: SCHEMA_VERSION,
        })),
        found => Ok(found),
    }
}

fn path_text(path: &Path) -> Result<&str, BackupError> {
    path.to_str().ok_or_else(|| BackupError::Io {
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidFilename, "the path is not UTF-8"),
    })
}
