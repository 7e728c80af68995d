//! Brings over the tasks of the first Opspawn into the configured database.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use ops_core::ports::{Clock as _, RunStore, TaskStore};
use ops_store::{
    Options, SqliteStore,
    version_1::{self, BringError, Brought, OldTask, SetClock},
};
use tokio::sync::mpsc;

use crate::{
    config::Config,
    database::Progress,
    exit::{self, Exit},
    system::SystemClock,
};

/// Rows that wait to be stored.
const AHEAD: usize = 64;

/// Brings over the tasks of `source`, the URL of a PostgreSQL database or a file of SQLite.
pub(crate) fn bring(
    config: &Config,
    source: &Path,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Brought> {
    let clock = Arc::new(SetClock::new(SystemClock.now()));
    let (sender, rows) = mpsc::channel(AHEAD);
    let read = reader(source)?;
    let tell = |rows| {
        progress(Progress {
            part: "tasks",
            rows,
        });
    };
    std::thread::scope(|scope| match config.optional("store.url") {
        Some(url) => into_server(url, &clock, (scope, read, sender), rows, &tell),
        None => {
            let options = Options::new(config.data_dir(), Arc::clone(&clock) as _);
            let store = SqliteStore::open(options)?;
            scope.spawn(move || read(&sender));
            let brought = stored(&store, &clock, rows, &tell);
            store.close();
            brought
        }
    })
}

type Sender = mpsc::Sender<Result<OldTask, BringError>>;
type Receiver = mpsc::Receiver<Result<OldTask, BringError>>;
type Read = Box<dyn FnOnce(&Sender) + Send>;

fn stored<S: TaskStore + RunStore>(
    store: &S,
    clock: &SetClock,
    rows: Receiver,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Brought> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let brought = runtime.block_on(version_1::bring(store, clock, rows, progress));
    brought.map_err(|error| {
        let code = match &error {
            BringError::NoFile(_) | BringError::NoTable(_) | BringError::SeveralTables(..) => {
                Exit::Usage
            }
            BringError::Source(..) | BringError::Store(_) => Exit::Unavailable,
        };
        exit::error(code, error.to_string())
    })
}

/// What reads the source.
fn reader(source: &Path) -> Result<Read> {
    let text = source.to_string_lossy();
    if !text.contains("://") {
        let file = source.to_owned();
        return Ok(Box::new(move |rows| version_1::read_file(&file, rows)));
    }
    server_reader(&text)
}

#[cfg(feature = "postgres")]
fn server_reader(url: &str) -> Result<Read> {
    let address = url
        .parse::<ops_store::postgres::Address>()
        .map_err(|error| exit::error(Exit::Usage, error.to_string()))?;
    Ok(Box::new(move |rows| version_1::read_server(&address, rows)))
}

#[cfg(not(feature = "postgres"))]
fn server_reader(_: &str) -> Result<Read> {
    Err(crate::database::without())
}

#[cfg(feature = "postgres")]
fn into_server<'scope>(
    url: &str,
    clock: &Arc<SetClock>,
    (scope, read, sender): (&'scope std::thread::Scope<'scope, '_>, Read, Sender),
    rows: Receiver,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Brought> {
    use ops_store::postgres::{Options, PostgresStore, Time, live_sessions};
    let unavailable =
        |error: ops_store::postgres::OpenError| exit::error(Exit::Unavailable, error.to_string());
    let address = crate::database::address(url)?;
    if live_sessions(&address).map_err(unavailable)? > 0 {
        return Err(exit::error(
            Exit::Unavailable,
            format!("servers use the database {address}; stop them, and run this command again"),
        ));
    }
    let mut options = Options::new(address);
    options.time = Time::Given(Arc::clone(clock) as _);
    let store = PostgresStore::open(options).map_err(unavailable)?;
    scope.spawn(move || read(&sender));
    let brought = stored(&store, clock, rows, progress);
    store.close();
    brought
}

#[cfg(not(feature = "postgres"))]
fn into_server<'scope>(
    _: &str,
    _: &Arc<SetClock>,
    _: (&'scope std::thread::Scope<'scope, '_>, Read, Sender),
    _: Receiver,
    _: &(dyn Fn(u64) + Sync),
) -> Result<Brought> {
    Err(crate::database::without())
}
