//! The SHA-256 of a backup, in a file beside it that `sha256sum --check` reads as well.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::{BackupError, unfinished::Unfinished};

/// `FILE.sha256`.
pub(crate) fn beside(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(".sha256");
    name.into()
}

/// The SHA-256 of a file, in hexadecimal.
pub(crate) fn of(file: &Path) -> Result<String, BackupError> {
    let hash = || {
        let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 256 << 10]);
        let mut file = File::open(file)?;
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => hasher.update(&buffer[..read]),
            }
        }
        Ok(<[u8; 32]>::from(hasher.finalize()))
    };
    let digest = hash().map_err(|source| failed(file, source))?;
    Ok(units::hex::encode(digest))
}

/// Writes the digest file beside a backup. An earlier digest file belonged to a deleted backup.
pub(crate) fn write(file: &Path, digest: &str) -> Result<(), BackupError> {
    let target = beside(file);
    match fs::remove_file(&target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed(&target, error));
        }
        Ok(()) | Err(_) => {}
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = Unfinished::beside(&target)?;
    unfinished
        .write(format!("{digest}  {name}\n").as_bytes())
        .map_err(|source| failed(&target, source))?;
    unfinished.finish(&target)
}

/// Reads the digest file beside a backup; `None` without a file.
pub(crate) fn read(file: &Path) -> Result<Option<String>, BackupError> {
    let beside = beside(file);
    match fs::read(&beside) {
        Ok(text) => {
            let text = String::from_utf8_lossy(&text);
            let digest = text.split_whitespace().next().unwrap_or_default();
            Ok(Some(digest.to_ascii_lowercase()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(&beside, error)),
    }
}

fn failed(path: &Path, source: io::Error) -> BackupError {
    BackupError::Io {
        path: path.to_owned(),
        source,
    }
}
