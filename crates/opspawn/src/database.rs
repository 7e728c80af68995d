//! The database that is configured: SQLite in the data folder, or PostgreSQL.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use ops_core::ports::{Clock, McpStore, Observer, RunStore, Store, UpkeepStore};
#[cfg(feature = "postgres")]
pub(crate) use ops_store::postgres::Progress;
use ops_store::{
    Durability, Options, SqliteStore,
    sqlite::{Backup, Damage, Serves},
};

use crate::exit::{self, Exit};

/// How far a copy is; there is none without PostgreSQL.
#[cfg(not(feature = "postgres"))]
pub(crate) struct Progress {
    pub(crate) part: &'static str,
    pub(crate) rows: u64,
}

/// How the database is opened.
pub(crate) struct Opening {
    /// The URL of a PostgreSQL database; none for SQLite.
    pub(crate) url: Option<String>,
    /// The URL of the same database without a pooler, for notifications.
    pub(crate) notify_url: Option<String>,
    /// The data folder.
    pub(crate) dir: PathBuf,
    /// Whether commits of SQLite wait for the disk.
    pub(crate) durability: Durability,
    /// The machine's clock. SQLite goes by it; PostgreSQL has a clock of its own.
    pub(crate) clock: Arc<dyn Clock>,
    /// Is told of commits.
    pub(crate) observer: Arc<dyn Observer>,
    /// How long a worker's session lives without a heartbeat.
    pub(crate) session_ttl: Duration,
    /// The most tasks of a task, its children and theirs.
    pub(crate) max_tree_tasks: u64,
    /// Most bytes of disk that SQLite sets aside for deletions.
    pub(crate) reserve_bytes: u64,
}

/// An open database.
pub(crate) enum Database {
    Sqlite(Arc<SqliteStore>),
    #[cfg(feature = "postgres")]
    Postgres(Postgres),
}

/// A PostgreSQL database, and the lock of the data folder: workspaces lie there, and commands find the server by
/// it.
#[cfg(feature = "postgres")]
pub(crate) struct Postgres {
    store: Arc<ops_store::PostgresStore>,
    clock: Arc<ops_store::postgres::DatabaseClock>,
    lock: std::sync::Mutex<Option<ops_store::sqlite::Lock>>,
}

impl Database {
    /// Opens it, and brings its schema up to date. Blocks.
    pub(crate) fn open(opening: Opening) -> Result<Self> {
        let Some(url) = opening.url.clone() else {
            let options = Options {
                durability: opening.durability,
                session_ttl: opening.session_ttl,
                max_tree_tasks: opening.max_tree_tasks,
                reserve_bytes: opening.reserve_bytes,
                observer: opening.observer,
                ..Options::new(opening.dir, opening.clock)
            };
            return Ok(Self::Sqlite(Arc::new(SqliteStore::open(options)?)));
        };
        let notify = opening.notify_url.clone();
        postgres(&url, notify.as_deref(), opening)
    }

    /// The clock by which dates are recorded: that of the database where several machines share one, else this
    /// machine's.
    pub(crate) fn clock(&self, machine: Arc<dyn Clock>) -> Arc<dyn Clock> {
        match self {
            Self::Sqlite(_) => machine,
            #[cfg(feature = "postgres")]
            Self::Postgres(of) => Arc::clone(&of.clock) as _,
        }
    }

    /// For the engine.
    pub(crate) fn surface(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as _,
            #[cfg(feature = "postgres")]
            Self::Postgres(of) => Arc::clone(&of.store) as _,
        }
    }

    /// For the engine's loops.
    pub(crate) fn upkeep(&self) -> Arc<dyn UpkeepStore> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as _,
            #[cfg(feature = "postgres")]
            Self::Postgres(of) => Arc::clone(&of.store) as _,
        }
    }

    /// For a worker.
    pub(crate) fn runs(&self) -> Arc<dyn RunStore> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as _,
            #[cfg(feature = "postgres")]
            Self::Postgres(of) => Arc::clone(&of.store) as _,
        }
    }

    /// For the definitions of MCP servers.
    pub(crate) fn mcp(&self) -> Arc<dyn McpStore> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as _,
            #[cfg(feature = "postgres")]
            Self::Postgres(of) => Arc::clone(&of.store) as _,
        }
    }

    /// Its kind, as `/api/v1/info` says it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "postgres",
        }
    }

    /// Tells other processes, through the lock file of the data folder, where this one serves its API.
    pub(crate) fn publish(&self, url: Option<&str>, serves: Serves) -> io::Result<()> {
        match self {
            Self::Sqlite(store) => store.publish(url, serves),
            #[cfg(feature = "postgres")]
            Self::Postgres(of) => match &*of.lock() {
                Some(lock) => lock.write(&ops_store::sqlite::LockInfo {
                    pid: std::process::id(),
                    url: url.map(str::to_owned),
                    serves,
                }),
                None => Err(io::Error::other("the store is closed")),
            },
        }
    }

    /// Answers what is queued, and closes it. Blocks.
    pub(crate) fn close(&self) {
        match self {
            Self::Sqlite(store) => {
                store.close();
                let stats = store.stats();
                tracing::info!(
                    transactions = stats.transactions,
                    events = stats.events,
                    fsyncs = stats.fsyncs,
                    checkpoints = stats.checkpoints,
                    largest_batch = stats.largest_batch,
                    commit_micros = stats.commits.sum_micros,
                    "database closed"
                );
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(of) => {
                of.store.close();
                drop(of.lock().take());
                tracing::info!("database closed");
            }
        }
    }
}

#[cfg(feature = "postgres")]
impl Postgres {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<ops_store::sqlite::Lock>> {
        let lock = self.lock.lock();
        lock.unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Where a database is.
#[cfg(feature = "postgres")]
pub(crate) fn address(url: &str) -> Result<ops_store::postgres::Address> {
    url.parse().map_err(|error: ops_store::postgres::UrlError| {
        exit::error(
            Exit::Usage,
            format!("{error}; see the setting `store.url` (OPSPAWN_STORE_URL, or DATABASE_URL of version 1)"),
        )
    })
}

#[cfg(feature = "postgres")]
fn unavailable(error: ops_store::postgres::OpenError) -> anyhow::Error {
    exit::error(Exit::Unavailable, error.to_string())
}

#[cfg(feature = "postgres")]
fn postgres(url: &str, notify: Option<&str>, opening: Opening) -> Result<Database> {
    let address = address(url)?;
    let lock = ops_store::sqlite::Lock::acquire(&opening.dir)?;
    let mut options = ops_store::postgres::Options::new(address);
    options.shared = true;
    options.notify = notify.map(self::address).transpose()?;
    options.observer = opening.observer;
    let clock = Arc::new(ops_store::postgres::DatabaseClock::new(opening.clock));
    options.clock = Some(Arc::clone(&clock));
    options.session_ttl = opening.session_ttl;
    options.max_tree_tasks = opening.max_tree_tasks;
    let store = ops_store::PostgresStore::open(options).map_err(unavailable)?;
    Ok(Database::Postgres(Postgres {
        store: Arc::new(store),
        clock,
        lock: std::sync::Mutex::new(Some(lock)),
    }))
}

/// A database's URL without its password.
#[cfg(feature = "postgres")]
pub(crate) fn shown(url: &str) -> Result<String> {
    Ok(address(url)?.to_string())
}

/// Brings the schema of a PostgreSQL database up to date. Gives its URL without the password, and the schema.
#[cfg(feature = "postgres")]
pub(crate) fn migrate(url: &str) -> Result<(String, u32)> {
    let address = address(url)?;
    let schema = ops_store::postgres::migrate(&address).map_err(unavailable)?;
    Ok((address.to_string(), schema))
}

/// Copies a data folder into an empty PostgreSQL database. Gives counts, as JSON.
#[cfg(feature = "postgres")]
pub(crate) fn import(
    url: &str,
    path: &Path,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<serde_json::Value> {
    let address = address(url)?;
    let clock = Arc::new(crate::system::SystemClock);
    let copied = ops_store::postgres::import(&address, path, clock, progress)
        .map_err(|error| exit::error(import_exit(&error), error.to_string()))?;
    Ok(serde_json::json!({
        "tasks": copied.tasks,
        "events": copied.events,
        "values": copied.values,
        "rows": copied.rows,
        "sha256": copied.digest,
    }))
}

#[cfg(feature = "postgres")]
fn import_exit(error: &ops_store::postgres::ImportError) -> Exit {
    use ops_store::postgres::ImportError;
    match error {
        ImportError::NoSource { .. } => Exit::Usage,
        ImportError::Source(_) | ImportError::Target(_) | ImportError::Failed { .. } => {
            Exit::Unavailable
        }
        ImportError::NotEmpty { .. }
        | ImportError::Unreadable { .. }
        | ImportError::Differs { .. } => Exit::Failed,
    }
}

/// Copies a PostgreSQL database into a new file.
#[cfg(feature = "postgres")]
pub(crate) fn backup(
    url: &str,
    file: &Path,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Backup> {
    use ops_store::postgres::ExportError;
    let made = ops_store::postgres::backup(&address(url)?, file, progress);
    made.map_err(|error| match error {
        ExportError::File(error) => crate::commands::backup_error(error),
        ExportError::NoTables { .. } | ExportError::Schema { .. } => {
            exit::error(Exit::Usage, error.to_string())
        }
        ExportError::Source(_) | ExportError::Failed { .. } => {
            exit::error(Exit::Unavailable, error.to_string())
        }
        ExportError::Unreadable { .. } => exit::error(Exit::Failed, error.to_string()),
    })
}

/// Fills an empty PostgreSQL database with a backup. The data folder holds the unpacked backup meanwhile.
#[cfg(feature = "postgres")]
pub(crate) fn restore(
    url: &str,
    file: &Path,
    dir: &Path,
    damage: Damage,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Backup> {
    use ops_store::postgres::RestoreError;
    let clock = Arc::new(crate::system::SystemClock);
    let made = ops_store::postgres::restore(&address(url)?, file, dir, damage, clock, progress);
    let made = made.map_err(|error| match error {
        RestoreError::File(error) => crate::commands::backup_error(error),
        RestoreError::Copy(error) => exit::error(import_exit(&error), error.to_string()),
    })?;
    Ok(made.backup)
}

/// What a PostgreSQL database is like, in a sentence.
#[cfg(feature = "postgres")]
pub(crate) fn inspect(url: &str) -> Result<String> {
    let address = address(url)?;
    let found = ops_store::postgres::inspect(&address).map_err(unavailable)?;
    let schema = match found.schema {
        Some(schema) => format!("schema {schema}"),
        None => "no tables yet; `opspawn migrate` makes them".to_owned(),
    };
    let said = [format!("{address}: {}, {schema}", found.server)];
    Ok(said
        .into_iter()
        .chain(found.warnings)
        .collect::<Vec<_>>()
        .join("; "))
}

#[cfg(not(feature = "postgres"))]
pub(crate) fn without() -> anyhow::Error {
    exit::error(
        Exit::Usage,
        "the setting `store.url` names a PostgreSQL database, but this binary was built without PostgreSQL; \
         build it with `--features postgres`, or with `full`",
    )
}

#[cfg(not(feature = "postgres"))]
fn postgres(_: &str, _: Option<&str>, _: Opening) -> Result<Database> {
    Err(without())
}

#[cfg(not(feature = "postgres"))]
pub(crate) fn shown(_: &str) -> Result<String> {
    Err(without())
}

#[cfg(not(feature = "postgres"))]
pub(crate) fn migrate(_: &str) -> Result<(String, u32)> {
    Err(without())
}

#[cfg(not(feature = "postgres"))]
pub(crate) fn import(
    _: &str,
    _: &Path,
    _: &(dyn Fn(Progress) + Sync),
) -> Result<serde_json::Value> {
    Err(without())
}

#[cfg(not(feature = "postgres"))]
pub(crate) fn backup(_: &str, _: &Path, _: &(dyn Fn(Progress) + Sync)) -> Result<Backup> {
    Err(without())
}

#[cfg(not(feature = "postgres"))]
pub(crate) fn restore(
    _: &str,
    _: &Path,
    _: &Path,
    _: Damage,
    _: &(dyn Fn(Progress) + Sync),
) -> Result<Backup> {
    Err(without())
}

#[cfg(not(feature = "postgres"))]
pub(crate) fn inspect(_: &str) -> Result<String> {
    Err(without())
}
