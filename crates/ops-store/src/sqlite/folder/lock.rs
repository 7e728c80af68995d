//! The lock of a data folder: one process owns it, and says how to reach it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    path::Path,
    thread,
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::sqlite::folder::open::OpenError;

/// The lock file's name within the data folder.
pub const LOCK_FILE: &str = "opspawn.lock";

/// Who owns a folder. One line of JSON in the lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockInfo {
    /// The process.
    pub pid: u32,
    /// Where its API is, once it serves one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// The process that has a folder open, if one has. What a dead process left behind counts nothing.
#[must_use]
pub fn running_server(dir: &Path) -> Option<LockInfo> {
    let mut file = File::open(dir.join(LOCK_FILE)).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => None,
        Err(_) => read_info(&mut file),
    }
}

/// A held lock. The kernel gives it up with the process, however that ends.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    pub(crate) fn acquire(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join(LOCK_FILE);
        let denied = |source| OpenError::Folder {
            path: path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(denied)?;
        // Somebody who looks whether a server runs holds the lock for a moment.
        for pause in [5, 20, 0] {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    let lock = Self { file };
                    lock.write(&LockInfo {
                        pid: std::process::id(),
                        url: None,
                    })
                    .map_err(denied)?;
                    return Ok(lock);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    thread::sleep(Duration::from_millis(pause));
                }
                Err(errno) => return Err(denied(errno.into())),
            }
        }
        let info = read_info(&mut file);
        Err(OpenError::Locked {
            dir: dir.to_owned(),
            pid: info.as_ref().map(|info| info.pid),
            url: info.and_then(|info| info.url),
        })
    }

    /// Tells other processes who holds the lock.
    pub(crate) fn write(&self, info: &LockInfo) -> io::Result<()> {
        let mut line = serde_json::to_vec(info)?;
        line.push(b'\n');
        // Readers take the first line only, so an older and longer one may show through behind it.
        self.file.write_all_at(&line, 0)?;
        self.file.set_len(line.len() as u64)
    }
}

fn read_info(file: &mut File) -> Option<LockInfo> {
    let mut text = String::new();
    file.take(4_096).read_to_string(&mut text).ok()?;
    serde_json::from_str(text.lines().next()?).ok()
}
