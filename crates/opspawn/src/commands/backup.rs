//! `opspawn backup`, `opspawn restore` and `opspawn compact`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use jiff::Timestamp;
use ops_core::ports::Clock as _;
use ops_store::{
    OpenError,
    sqlite::{self, Backup, BackupError, Compacted, Damage},
};
use serde_json::json;

use crate::{
    config::Config,
    database::{self, Progress},
    exit::{self, Exit},
    output::{self, show, status},
    system::SystemClock,
};

/// Copies the database of the data folder into a new file.
pub(super) fn backup(config: &Config, target: &Path, json: bool) -> Result<Exit> {
    let file = if target.is_dir() {
        target.join(name_of(SystemClock.now().0))
    } else {
        target.to_path_buf()
    };
    let made = match config.optional("store.url") {
        Some(url) => counting("copying the database", |progress| {
            database::backup(url, &file, progress)
        }),
        None => working("copying the database", || {
            sqlite::backup(&config.data_dir(), &file)
        })
        .map_err(coded),
    };
    let made = made?;
    let facts = facts(config);
    if let Some(from) = facts.filter(|from| from.exists()) {
        let to = beside(&file);
        working("copying the facts of long-term memory", || {
            agentkit_memory::copy(&from, &to)
        })
        .map_err(|error| exit::error(Exit::Failed, error))?;
        status!("the facts of long-term memory are in {}", to.display());
    }
    tell("backup", &made, &file, json);
    Ok(Exit::Ok)
}

/// Makes the data folder of a backup, or fills the database of `store.url` with it.
pub(super) fn restore(config: &Config, file: &Path, damage: Damage, json: bool) -> Result<Exit> {
    let dir = config.data_dir();
    let (made, target) = match config.optional("store.url") {
        Some(url) => {
            let made = counting("looking the backup over", |progress| {
                database::restore(url, file, &dir, damage, progress)
            });
            (made?, database::shown(url)?)
        }
        None => {
            let made = working("looking the backup over", || {
                sqlite::restore(file, &dir, damage)
            });
            (made.map_err(coded)?, dir.display().to_string())
        }
    };
    let copy = beside(file);
    if let Some(to) = facts(config).filter(|_| copy.exists()) {
        working("copying the facts of long-term memory", || {
            agentkit_memory::restore(&copy, &to)
        })
        .map_err(|error| exit::error(Exit::Failed, error))?;
        status!("the facts of long-term memory are in {}", to.display());
    }
    match made.verified {
        Some(true) => {}
        Some(false) => status!("the backup is not as it was written: its SHA-256 is another one"),
        None => status!(
            "there is no {}.sha256, so nobody knows whether the backup is as it was written; its \
             rows and pages are in order",
            file.display()
        ),
    }
    for problem in &made.problems {
        status!("the backup is damaged: {problem}");
    }
    tell("restored", &made, Path::new(&target), json);
    if !json {
        status!("start it with `opspawn dev --data {}`", dir.display());
    }
    Ok(Exit::Ok)
}

/// The file of long-term memory; `None` beside PostgreSQL.
fn facts(config: &Config) -> Option<PathBuf> {
    let is_embedded = config.optional("store.url").is_none();
    is_embedded.then(|| config.data_dir().join(crate::memory::FILE))
}

/// The copy of long-term memory beside a backup.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".memory");
    file.with_file_name(name)
}

/// Gives the free pages of the database back to the disk.
pub(super) fn compact(config: &Config, json: bool) -> Result<Exit> {
    if config.optional("store.url").is_some() {
        return Err(exit::error(
            Exit::Usage,
            "the tasks are in PostgreSQL (`store.url`), which uses the room of deleted rows again by itself; `VACUUM \
             FULL` gives the room back to the disk, while no server runs",
        ));
    }
    let made = working("copying the database", || {
        sqlite::compact(&config.data_dir())
    });
    let Compacted { before, after } = made.map_err(coded)?;
    if json {
        output::json(&json!({"bytes_before": before, "bytes_after": after}));
    } else {
        show!("before    {before} bytes");
        show!("after     {after} bytes");
    }
    Ok(Exit::Ok)
}

/// `opspawn-20261124T153000Z.db`
fn name_of(micros: i64) -> PathBuf {
    let now = Timestamp::from_microsecond(micros).unwrap_or_default();
    format!("opspawn-{}.db", now.strftime("%Y%m%dT%H%M%SZ")).into()
}

fn tell(what: &str, made: &Backup, test_dir: &Path, json: bool) {
    if json {
        output::json(&json!({
            "path": test_dir,
            "bytes": made.bytes,
            "tasks": made.tasks,
            "schema_version": made.schema_version,
            "sha256": made.sha256,
            "verified": made.verified,
            "problems": made.problems,
        }));
    } else {
        show!("{what:<9} {}", test_dir.display());
        show!("tasks     {}", made.tasks);
        show!("bytes     {}", made.bytes);
        show!("sha256    {}", made.sha256);
    }
}

/// Shows on a terminal that something goes on.
fn working<T>(what: &'static str, work: impl FnOnce() -> T) -> T {
    let spinner = output::spinner(what);
    let done = work();
    if let Some(spinner) = spinner {
        spinner.finish_and_clear();
    }
    done
}

/// Shows on a terminal how far a copy is.
pub(super) fn counting<T>(
    what: &'static str,
    work: impl FnOnce(&(dyn Fn(Progress) + Sync)) -> T,
) -> T {
    let spinner = output::spinner(what);
    let done = work(&|progress: Progress| {
        if let Some(spinner) = &spinner {
            spinner.set_message(format!("{what}: {}, {} rows", progress.part, progress.rows));
        }
    });
    if let Some(spinner) = spinner {
        spinner.finish_and_clear();
    }
    done
}

pub(crate) fn coded(error: BackupError) -> anyhow::Error {
    let exit = match &error {
        BackupError::NoDatabase { .. }
        | BackupError::Exists { .. }
        | BackupError::Missing { .. }
        | BackupError::NotABackup { .. }
        | BackupError::NotEmpty { .. } => Exit::Usage,
        BackupError::Damaged { .. }
        | BackupError::Altered { .. }
        | BackupError::Io { .. }
        | BackupError::Copy { .. } => Exit::Failed,
        BackupError::Open(_) | BackupError::InUse { .. } | BackupError::NotStopped { .. } => {
            Exit::Unavailable
        }
    };
    let is_in_use = matches!(&error, BackupError::Open(OpenError::Locked { .. }));
    let fix = match is_in_use {
        true => "; `opspawn stop` stops that process",
        false => "",
    };
    exit::error(exit, format!("{:#}{fix}", anyhow::Error::from(error)))
}
