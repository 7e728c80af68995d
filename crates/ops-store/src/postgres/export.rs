//! Backups: one file with all data of a database, made while servers go on, in the form that a backup of SQLite has.
//!
//! The copy is read in one transaction that sees one state of the database. It is a database of SQLite with a checksum
//! in each row, looked over before it gets its name: see `import` for the way back.

mod tables;

use std::path::Path;

use self::tables::TABLES;
use crate::{
    postgres::{
        connection::{Connection, runtime},
        error::Failure,
        import::STATEMENT,
        schema::{self, OpenError, SCHEMA_VERSION},
        url::Address,
    },
    sqlite::{self, Backup, BackupError},
};

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The name of a table that is copied, or `comparison` of the tasks.
    pub part: &'static str,
    /// Rows of the part that are done.
    pub rows: u64,
}

/// A backup failed; no file was made.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file cannot be written, or is there already.
    #[error(transparent)]
    File(#[from] BackupError),
    /// The database cannot be used.
    #[error(transparent)]
    Source(#[from] OpenError),
    /// The database has no tables.
    #[error("the database {database} has no tables of opspawn, so there is nothing to back up")]
    NoTables {
        /// The URL without its password.
        database: String,
    },
    /// The schema of the database is of another release.
    #[error(
        "the database {database} has schema {found}, and this release makes backups of schema {SCHEMA_VERSION}: \
         {}",
        match *found < SCHEMA_VERSION {
            true => "run `opspawn migrate` first, or use the release that wrote it",
            false => "use the newer release",
        }
    )]
    Schema {
        /// The URL without its password.
        database: String,
        /// The schema.
        found: u32,
    },
    /// The database failed.
    #[error("nothing was copied: the database {database} failed: {why}")]
    Failed {
        /// The URL without its password.
        database: String,
        /// The answer of the database.
        why: String,
    },
    /// A row of the database cannot be read.
    #[error("nothing was copied: a row of `opspawn.{table}` cannot be read: {why}")]
    Unreadable {
        /// The table.
        table: &'static str,
        /// The column, or the error.
        why: String,
    },
}

/// A transaction that reads one state.
struct Source<'a> {
    conn: &'a Connection,
    address: &'a Address,
}

impl Source<'_> {
    fn check<T>(&self, done: Result<T, Failure>) -> Result<T, ExportError> {
        done.map_err(|failure| ExportError::Failed {
            database: self.address.to_string(),
            why: failure.message,
        })
    }
}

/// Copies the database of `address` into a new file, and tells `progress` of each batch of rows. Servers may go on
/// meanwhile. Blocks.
///
/// # Errors
/// [`ExportError`].
pub fn backup(
    address: &Address,
    file: &Path,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Backup, ExportError> {
    std::thread::scope(|scope| {
        let copied = scope.spawn(|| copy(address, file, progress)).join();
        copied.unwrap_or_else(|_| {
            Err(ExportError::Failed {
                database: address.to_string(),
                why: "the thread that copies it panicked".to_owned(),
            })
        })
    })
}

fn copy(
    address: &Address,
    file: &Path,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Backup, ExportError> {
    let database = || address.to_string();
    let runtime = runtime().map_err(|error| ExportError::Failed {
        database: database(),
        why: error.to_string(),
    })?;
    let conn = Connection::open(&runtime, address, STATEMENT)
        .map_err(|failure| OpenError::failed(address, failure))?;
    let source = Source {
        conn: &conn,
        address,
    };
    source.check(conn.begin_reading())?;
    match source.check(schema::version(&conn))? {
        None => {
            return Err(ExportError::NoTables {
                database: database(),
            });
        }
        Some(SCHEMA_VERSION) => {}
        Some(found) => {
            return Err(ExportError::Schema {
                database: database(),
                found,
            });
        }
    }
    let made = sqlite::make_backup(file, |target| {
        for table in &TABLES {
            tables::copy(table, &source, (target, file), progress)?;
        }
        // The copy is looked over without the transaction: it would keep dead rows meanwhile.
        source.check(conn.commit())
    });
    if made.is_err() {
        // What it has read is of no use any more.
        let _ = conn.rollback();
    }
    made
}
