//! Fills an empty database with a backup, whichever store the backup is of.
//!
//! The backup becomes a data folder of SQLite for as long as it takes; `import` copies the folder and compares each
//! task. The folder is opened as after a crash, so that no lease of the backup outlives the copy.

use std::{fs, io, path::Path, sync::Arc};

use ops_core::ports::Clock;

use crate::{
    postgres::{
        export::Progress,
        import::{self, ImportError, Imported},
        url::Address,
    },
    sqlite::{self, Backup, BackupError, Damage, Lock, SqliteStore},
};

/// The folder within the data folder that the backup is unpacked into.
const FOLDER: &str = ".opspawn-unfinished-restore";

/// A restored backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The file. Its problems name what was left out as well.
    pub backup: Backup,
    /// Counts of the copy.
    pub imported: Imported,
}

/// A restore failed; the database is as before.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file is no backup, or is damaged, or cannot be unpacked.
    #[error(transparent)]
    File(#[from] BackupError),
    /// The database has data, or failed; or source and copy differ.
    #[error(transparent)]
    Copy(#[from] ImportError),
}

/// Fills the empty database of `address` with the backup `file`. The data folder `dir` holds the unpacked backup
/// meanwhile. No server may use the database. Blocks.
///
/// # Errors
/// [`RestoreError`].
pub fn restore(
    address: &Address,
    file: &Path,
    dir: &Path,
    damage: Damage,
    clock: Arc<dyn Clock>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Restored, RestoreError> {
    import::refuse_data(address)?;
    let folder = dir.join(FOLDER);
    remove(&folder)?;
    let filled = fill(address, file, &folder, (damage, clock, progress));
    let removed = remove(&folder);
    let restored = filled?;
    removed?;
    Ok(restored)
}

fn fill(
    address: &Address,
    file: &Path,
    folder: &Path,
    (damage, clock, progress): (Damage, Arc<dyn Clock>, &(dyn Fn(Progress) + Sync)),
) -> Result<Restored, RestoreError> {
    let mut backup = sqlite::restore(file, folder, damage)?;
    if damage == Damage::Accepted {
        // Rows of older releases have their checksums judged by the newest schema.
        let options = sqlite::Options::new(folder, Arc::clone(&clock));
        SqliteStore::open(options)
            .map_err(ImportError::from)?
            .close();
        sqlite::discard_damaged(folder).map_err(ImportError::from)?;
    }
    let imported = import::accepting(damage, address, folder, clock, progress)?;
    backup.tasks = imported.tasks;
    backup.problems.extend(imported.left_out.iter().cloned());
    Ok(Restored { backup, imported })
}

/// Deletes the folder, unless another process restores into the same data folder.
fn remove(folder: &Path) -> Result<(), BackupError> {
    if !folder.exists() {
        return Ok(());
    }
    drop(Lock::acquire(folder)?);
    fs::remove_dir_all(folder).or_else(|source| match source.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(BackupError::Io {
            path: folder.to_owned(),
            source,
        }),
    })
}
