//! Copies a SQLite data folder into an empty database, in one transaction.
//!
//! The copy goes table by table. Then each task is read through the queries of both stores and compared event by
//! event, and each large value is compared with its SHA-256. The commit comes last: a broken copy leaves an empty
//! database.

mod compare;
mod left_out;
mod tables;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use self::{left_out::LeftOut, tables::TABLES};
use crate::{
    postgres::{
        connection::{Connection, runtime},
        error::Failure,
        export::Progress,
        schema::{self, OpenError},
        url::Address,
    },
    sqlite::{self, DATABASE_FILE, Damage, SqliteStore},
};
use ops_core::ports::Clock;

/// The longest that one statement of a copy may take.
pub(super) const STATEMENT: Duration = Duration::from_secs(600);

/// Counts of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Compared tasks.
    pub tasks: u64,
    /// Compared events.
    pub events: u64,
    /// Large values, compared with their SHA-256.
    pub values: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// SHA-256 of all logs, task by task, in hex.
    pub digest: String,
    /// Damaged tasks and rows that were left out, as far as the caller accepted damage.
    pub left_out: Vec<String>,
}

/// An import failed; the database is as before.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The path has no database file.
    #[error("there is no Opspawn database in {}: name a data folder that holds `{DATABASE_FILE}`", .path.display())]
    NoSource {
        /// The path.
        path: PathBuf,
    },
    /// The data folder cannot be opened, for instance while a server holds the lock.
    #[error(transparent)]
    Source(#[from] sqlite::OpenError),
    /// The database cannot be opened.
    #[error(transparent)]
    Target(#[from] OpenError),
    /// The database has data already.
    #[error(
        "the database {database} is not empty: it has {rows} rows in `opspawn.{table}`; copy into a new database, \
         or remove what is there with `DROP SCHEMA opspawn CASCADE`"
    )]
    NotEmpty {
        /// The URL without its password.
        database: String,
        /// The table.
        table: &'static str,
        /// How many rows the table has.
        rows: i64,
    },
    /// A row of the data folder cannot be read.
    #[error("the data folder cannot be read: {why}; `opspawn doctor` says more")]
    Unreadable {
        /// What, and why.
        why: String,
    },
    /// Source and copy differ.
    #[error("nothing was copied: {what} is not the same in the database as in the data folder")]
    Differs {
        /// The task, or the table.
        what: String,
    },
    /// The database failed.
    #[error("nothing was copied: the database {database} failed: {why}")]
    Failed {
        /// The URL without its password.
        database: String,
        /// The answer of the database.
        why: String,
    },
}

impl From<rusqlite::Error> for ImportError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Unreadable {
            why: error.to_string(),
        }
    }
}

/// A transaction that copies.
struct Target<'a> {
    conn: &'a Connection,
    address: &'a Address,
}

impl Target<'_> {
    fn check<T>(&self, done: Result<T, Failure>) -> Result<T, ImportError> {
        done.map_err(|failure| ImportError::Failed {
            database: self.address.to_string(),
            why: failure.message,
        })
    }

    fn number(&self, sql: &str) -> Result<i64, ImportError> {
        let rows = self.check(self.conn.query(sql, &[]))?;
        let number = rows.first().and_then(|row| row.try_get(0).ok());
        number.ok_or_else(|| ImportError::Failed {
            database: self.address.to_string(),
            why: "it gives no number".to_owned(),
        })
    }
}

/// Copies the data folder `dir`, or the folder of a database file, into the database of `address`, and brings its
/// schema up to date first. No server may have the folder or use the database. Blocks.
///
/// # Errors
/// [`ImportError`].
pub fn import(
    address: &Address,
    path: &Path,
    clock: Arc<dyn Clock>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Imported, ImportError> {
    accepting(Damage::Refused, address, path, clock, progress)
}

/// The same; tasks and rows that cannot be read are left out, if damage is accepted.
pub(super) fn accepting(
    damage: Damage,
    address: &Address,
    path: &Path,
    clock: Arc<dyn Clock>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Imported, ImportError> {
    let dir = match path.file_name() {
        Some(name) if name == DATABASE_FILE => path.parent().unwrap_or(path),
        _ => path,
    };
    if !dir.join(DATABASE_FILE).is_file() {
        let path = path.to_owned();
        return Err(ImportError::NoSource { path });
    }
    // It holds the folder's lock until the end, and has brought the schema up to date and the leases back.
    let source = SqliteStore::open(sqlite::Options::new(dir, clock))?;
    let copied = std::thread::scope(|scope| {
        let copy = || copy(address, dir, &source, (damage, progress));
        scope.spawn(copy).join().unwrap_or_else(|_| {
            Err(ImportError::Unreadable {
                why: "the thread that copies it panicked".to_owned(),
            })
        })
    });
    source.close();
    copied
}

/// Brings the schema of a database up to date, and refuses a database with data. Blocks.
pub(super) fn refuse_data(address: &Address) -> Result<(), ImportError> {
    std::thread::scope(|scope| {
        let look = || {
            let conn = connect(address)?;
            let target = Target {
                conn: &conn,
                address,
            };
            target.check(conn.begin_reading())?;
            let empty = refuse_rows(&target);
            let _ = conn.rollback();
            empty
        };
        scope.spawn(look).join().unwrap_or_else(|_| {
            Err(ImportError::Failed {
                database: address.to_string(),
                why: "the thread that asks it panicked".to_owned(),
            })
        })
    })
}

/// Connects, and brings the schema up to date.
fn connect(address: &Address) -> Result<Connection, ImportError> {
    let runtime = runtime().map_err(|error| ImportError::Failed {
        database: address.to_string(),
        why: error.to_string(),
    })?;
    let conn = Connection::open(&runtime, address, STATEMENT)
        .map_err(|failure| OpenError::failed(address, failure))?;
    schema::migrate(&conn, address)?;
    Ok(conn)
}

fn copy(
    address: &Address,
    dir: &Path,
    source: &SqliteStore,
    (damage, progress): (Damage, &(dyn Fn(Progress) + Sync)),
) -> Result<Imported, ImportError> {
    let conn = connect(address)?;
    let target = Target {
        conn: &conn,
        address,
    };
    let copied = in_transaction(&target, dir, source, (LeftOut::new(damage), progress));
    match copied {
        Ok(copied) => {
            target.check(conn.commit())?;
            // The planner knows nothing of the tables yet.
            target.check(conn.execute_all("ANALYZE"))?;
            Ok(copied)
        }
        Err(error) => {
            // What was copied is gone with the transaction, or with the connection.
            let _ = conn.rollback();
            Err(error)
        }
    }
}

fn in_transaction(
    target: &Target<'_>,
    dir: &Path,
    source: &SqliteStore,
    (mut left_out, progress): (LeftOut, &(dyn Fn(Progress) + Sync)),
) -> Result<Imported, ImportError> {
    let names: Vec<String> = TABLES.iter().map(|table| table.name.to_owned()).collect();
    let locked = format!(
        "LOCK TABLE {}, sessions IN EXCLUSIVE MODE",
        names.join(", ")
    );
    target.check(target.conn.begin_with(("SELECT 1", &[]), ("SELECT 1", &[])))?;
    target.check(target.conn.execute_all(&locked))?;
    refuse_rows(target)?;
    let reader = sqlite::open_reader(dir)?;
    let mut rows = 0;
    for table in &TABLES {
        rows += tables::copy(table, &reader, target, (&mut left_out, progress))?;
    }
    let values = compare::values(target, &mut left_out)?;
    let logs = compare::tasks(target, &reader, source, (&mut left_out, progress))?;
    let counters = "INSERT INTO counters (tenant_id, state, n) \
        SELECT tenant_id, state, count(*) FROM tasks GROUP BY tenant_id, state";
    target.check(target.conn.execute(counters, &[]))?;
    Ok(Imported {
        tasks: logs.tasks,
        events: logs.events,
        digest: logs.digest,
        values,
        rows,
        left_out: left_out.named(),
    })
}

/// Refuses a database with data, or with the session of a server that uses the database.
fn refuse_rows(target: &Target<'_>) -> Result<(), ImportError> {
    let taken = TABLES.iter().filter(|table| table.is_data);
    for table in taken.map(|table| table.name).chain(["sessions"]) {
        let rows = target.number(&format!("SELECT count(*) FROM {table}"))?;
        if rows > 0 {
            let database = target.address.to_string();
            return Err(ImportError::NotEmpty {
                database,
                table,
                rows,
            });
        }
    }
    Ok(())
}
