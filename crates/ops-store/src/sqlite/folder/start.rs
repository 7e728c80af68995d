//! Checks before a start trusts a folder: the end of the write-ahead log, and, if commits were lost there,
//! the whole database.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, ffi};

use crate::sqlite::folder::{
    doctor::{content, integrity},
    open::OpenError,
    wal,
};

/// Whether the log has commits that SQLite will not read. A copy of it is kept then: the next write goes
/// over it.
pub(crate) fn lost_commits(dir: &Path) -> Result<bool, OpenError> {
    let unreadable = |source| OpenError::file(&wal::path(dir), source);
    let Some(state) = wal::look(dir).map_err(unreadable)? else {
        return Ok(false);
    };
    if state.lost_commits == 0 || units::mutant!("ops-store.lost_commits") {
        if state.unfinished_bytes > 0 {
            let bytes = state.unfinished_bytes;
            tracing::info!(
                bytes,
                "the write-ahead log ends with a write that was never committed; it is left out"
            );
        }
        return Ok(false);
    }
    let kept = wal::keep(dir).map_err(unreadable)?;
    tracing::error!(
        bytes = state.lost_bytes,
        commits = state.lost_commits,
        read = state.valid_bytes,
        kept = %kept.display(),
        "the write-ahead log is damaged: commits behind its last readable one are lost; compare with a \
         backup, and take the copy of the log away once that is done"
    );
    Ok(true)
}

/// Checks a database that lost commits.
///
/// # Errors
/// If its structure is damaged: pages of different times do not fit together.
pub(crate) fn look_over(dir: &Path, conn: &Connection) -> rusqlite::Result<()> {
    let problems = integrity(conn)?;
    if !problems.is_empty() {
        let corrupt = ffi::Error {
            code: ErrorCode::DatabaseCorrupt,
            extended_code: ffi::SQLITE_CORRUPT,
        };
        return Err(rusqlite::Error::SqliteFailure(
            corrupt,
            Some(problems.join("; ")),
        ));
    }
    for problem in content(conn).problems {
        tracing::error!(dir = %dir.display(), problem, "the database is damaged");
    }
    Ok(())
}

/// Warnings for the operator, though the store works; each stays as long as its file exists.
pub(crate) fn warnings(dir: &Path) -> Vec<(PathBuf, String)> {
    let kept = wal::kept(dir).into_iter();
    kept.map(|log| {
        let warning = format!(
            "the write-ahead log was damaged and commits of it are lost; a copy of it is {}: compare with \
             a backup, then take the copy away",
            log.display()
        );
        (log, warning)
    })
    .collect()
}
