//! Copies of the file: for a backup, while other processes write, and back.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::schema;

/// Copies the facts of a file into a new file, while other processes go on. Returns the bytes of the copy. Blocks.
///
/// # Errors
/// What a person can act on; the new file is then not there.
pub fn copy(from: &Path, to: &Path) -> Result<u64, String> {
    if to.exists() {
        return Err(format!("{} is there already", to.display()));
    }
    let told = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let connection = schema::open_to_read(from)?;
    // Only reading is allowed until here, and the copy is another file.
    let writable = connection.pragma_update(None, "query_only", false);
    writable.map_err(|error| told(from, &error))?;
    let unfinished = unfinished(to);
    let _ = std::fs::remove_file(&unfinished);
    let name = unfinished
        .to_str()
        .ok_or_else(|| told(to, &"the name is no text"))?;
    schema::make(&unfinished).map_err(|error| told(to, &error))?;
    let copied = connection.execute("VACUUM INTO ?1", [name]);
    copied.map_err(|error| told(to, &error))?;
    finish(&unfinished, to)
}

/// Makes the file of a folder of a copy. Returns its bytes. Blocks.
///
/// # Errors
/// A copy that is damaged or of a newer release, and a file that is there already.
pub fn restore(from: &Path, to: &Path) -> Result<u64, String> {
    if to.exists() {
        return Err(format!("{} is there already", to.display()));
    }
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", from.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(from, flags).map_err(|error| told(&error))?;
    let sound: String = connection
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(|error| told(&error))?;
    if sound != "ok" {
        return Err(told(&format!("the copy is damaged: {sound}")));
    }
    schema::check_version(&connection, from)?;
    drop(connection);
    let unfinished = unfinished(to);
    let _ = std::fs::remove_file(&unfinished);
    let copied = schema::make(&unfinished).and_then(|()| {
        let mut copy = std::fs::OpenOptions::new().write(true).open(&unfinished)?;
        std::io::copy(&mut std::fs::File::open(from)?, &mut copy)
    });
    copied.map_err(|error| told(&error))?;
    finish(&unfinished, to)
}

fn unfinished(to: &Path) -> PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    to.with_file_name(name)
}

/// Puts a whole file on disk under its name.
fn finish(unfinished: &Path, to: &Path) -> Result<u64, String> {
    let finish = || {
        let file = std::fs::File::open(unfinished)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        std::fs::rename(unfinished, to)?;
        if let Some(folder) = to.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::File::open(folder)?.sync_all()?;
        }
        Ok::<_, std::io::Error>(bytes)
    };
    finish().map_err(|error| format!("{}: {error}", to.display()))
}
