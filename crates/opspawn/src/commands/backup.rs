//! `opspawn backup` and `opspawn restore`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use jiff::Timestamp;
use ops_core::ports::Clock as _;
use ops_store::sqlite::{self, Backup, BackupError, Damage};
use serde_json::json;

use crate::{
    config::Config,
    exit::{self, Exit},
    output::{self, say, show},
    system::SystemClock,
};

/// Copies the database of the data folder into a new file.
pub(super) fn backup(config: &Config, target: &Path, json: bool) -> Result<Exit> {
    let file = if target.is_dir() {
        target.join(name_of(SystemClock.now().0))
    } else {
        target.to_path_buf()
    };
    let made = working("copying the database", || {
        sqlite::backup(&config.data_dir(), &file)
    });
    tell("backup", &made.map_err(coded)?, &file, json);
    Ok(Exit::Ok)
}

/// Makes the data folder of a backup.
pub(super) fn restore(config: &Config, file: &Path, damage: Damage, json: bool) -> Result<Exit> {
    let dir = config.data_dir();
    let made = working("looking the backup over", || {
        sqlite::restore(file, &dir, damage)
    });
    let made = made.map_err(coded)?;
    match made.verified {
        Some(true) => {}
        Some(false) => say!("the backup is not as it was written: its SHA-256 is another one"),
        None => say!(
            "there is no {}.sha256, so nobody knows whether the backup is as it was written; its \
             rows and pages are in order",
            file.display()
        ),
    }
    for problem in &made.problems {
        say!("the backup is damaged: {problem}");
    }
    tell("restored", &made, &dir, json);
    if !json {
        say!("start it with `opspawn dev --data {}`", dir.display());
    }
    Ok(Exit::Ok)
}

/// `opspawn-20261124T153000Z.db`
fn name_of(micros: i64) -> PathBuf {
    let now = Timestamp::from_microsecond(micros).unwrap_or_default();
    format!("opspawn-{}.db", now.strftime("%Y%m%dT%H%M%SZ")).into()
}

fn tell(what: &str, made: &Backup, place: &Path, json: bool) {
    if json {
        output::json(&json!({
            "path": place,
            "bytes": made.bytes,
            "tasks": made.tasks,
            "schema_version": made.schema_version,
            "sha256": made.sha256,
            "verified": made.verified,
            "problems": made.problems,
        }));
    } else {
        show!("{what:<9} {}", place.display());
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

fn coded(error: BackupError) -> anyhow::Error {
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
        BackupError::Open(_) => Exit::Unavailable,
    };
    exit::error(exit, format!("{:#}", anyhow::Error::from(error)))
}
