//! The lock of a data folder: one process owns the folder, and publishes its address there. Beside the
//! owner there are guests of a process that owns the folder for one command: the owner stays as long as
//! guests use its server.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    thread,
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::sqlite::folder::open::{OpenError, create_folder};

/// The lock file's name within the data folder.
pub const LOCK_FILE: &str = "opspawn.lock";
/// The file that guests hold a shared lock on.
const GUEST_FILE: &str = "opspawn.guests";

/// Who owns a folder. One line of JSON in the lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockInfo {
    /// The process.
    pub pid: u32,
    /// Address of the API, while the process serves an API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// For how long the process serves, and whether it runs tasks.
    #[serde(default, skip_serializing_if = "Serves::is_server")]
    pub serves: Serves,
}

/// Role of the owner of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Serves {
    /// A server, which stays until it is asked to stop.
    #[default]
    Server,
    /// A command that runs tasks until its own has ended.
    Run,
    /// A command that runs no task.
    Command,
}

impl Serves {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature that serde calls"
    )]
    fn is_server(&self) -> bool {
        *self == Self::Server
    }
}

/// The process that has a folder open; `None` without a live process.
#[must_use]
pub fn running_server(dir: &Path) -> Option<LockInfo> {
    let file = File::open(dir.join(LOCK_FILE)).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => None,
        Err(_) => read_info(&file),
    }
}

/// How often, and at what distance in milliseconds, a starting process retries the lock of a process that
/// ends.
const ENDING_TRIES: usize = 50;
const ENDING_PAUSE: u64 = 20;

/// Whether a process has gone, or is about to. A killed process holds its locks until the kernel has freed
/// its memory and its files, which may take a while; its command line is empty by then. Where the system
/// tells nothing about processes, no process counts as ending.
fn is_ending(pid: u32) -> bool {
    let line = |pid: &str| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    !line("self").is_empty() && line(&pid.to_string()).is_empty()
}

/// A held lock. The kernel gives it up with the process, however that ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of a folder; the folder is created if it is missing.
    ///
    /// # Errors
    /// [`OpenError::Locked`] if another process has it, or the file cannot be used.
    pub fn acquire(dir: &Path) -> Result<Self, OpenError> {
        create_folder(dir)?;
        let path = dir.join(LOCK_FILE);
        let denied = |source| OpenError::file(&path, source);
        let file = open(&path).map_err(denied)?;
        // Each process that looks whether a server runs holds the lock for a moment.
        let mut pauses = [5, 20, 40].into_iter();
        let mut ending = std::iter::repeat_n(ENDING_PAUSE, ENDING_TRIES);
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    let lock = Self { file };
                    lock.write(&LockInfo {
                        pid: std::process::id(),
                        url: None,
                        serves: Serves::default(),
                    })
                    .map_err(denied)?;
                    return Ok(lock);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(errno) => return Err(denied(errno.into())),
            }
            let is_ending = || read_info(&file).is_some_and(|info| is_ending(info.pid));
            let pause = match pauses.next() {
                Some(pause) => pause,
                None if is_ending() => match ending.next() {
                    Some(pause) => pause,
                    None => break,
                },
                None => break,
            };
            thread::sleep(Duration::from_millis(pause));
        }
        let info = read_info(&file);
        Err(OpenError::Locked {
            dir: dir.to_owned(),
            pid: info.as_ref().map(|info| info.pid),
            url: info.and_then(|info| info.url),
        })
    }

    /// Tells other processes who holds the lock.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, info: &LockInfo) -> io::Result<()> {
        let mut line = serde_json::to_vec(info)?;
        line.push(b'\n');
        // Readers take the first line only, so an older and longer one may show through behind it.
        self.file.write_all_at(&line, 0)?;
        self.file.set_len(line.len() as u64)
    }
}

/// A process that uses the server of another process. While the guest exists, the owner of the folder finds
/// that it has company. The kernel drops the guest's lock with the process.
#[derive(Debug)]
pub struct Guest {
    _file: File,
}

impl Guest {
    /// Becomes a guest; `None` while the owner checks for guests, which takes a moment.
    ///
    /// The caller has to read the lock file once more afterwards: an owner without guests takes its address
    /// back before it admits guests again.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn enter(dir: &Path) -> io::Result<Option<Self>> {
        let file = open(&dir.join(GUEST_FILE))?;
        Ok(lock(&file, FlockOperation::NonBlockingLockShared)?.then_some(Self { _file: file }))
    }
}

/// Whether a folder has no guest. While the value is held, no guest is admitted.
///
/// # Errors
/// If the folder cannot be written.
pub fn without_guests(dir: &Path) -> io::Result<Option<impl Sized + use<>>> {
    let file = open(&dir.join(GUEST_FILE))?;
    Ok(lock(&file, FlockOperation::NonBlockingLockExclusive)?.then_some(file))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

fn lock(file: &File, operation: FlockOperation) -> io::Result<bool> {
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn read_info(file: &File) -> Option<LockInfo> {
    // From the beginning, however often it is read.
    let mut bytes = [0; 4_096];
    let read = file.read_at(&mut bytes, 0).ok()?;
    let text = std::str::from_utf8(&bytes[..read]).ok()?;
    serde_json::from_str(text.lines().next()?).ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// Holds the lock of a folder in the name of a process.
    fn held(dir: &Path, pid: u32) -> Lock {
        let file = open(&dir.join(LOCK_FILE)).unwrap();
        assert!(lock(&file, FlockOperation::NonBlockingLockExclusive).unwrap());
        let lock = Lock { file };
        let info = LockInfo {
            pid,
            url: None,
            serves: Serves::default(),
        };
        lock.write(&info).unwrap();
        lock
    }

    #[test]
    fn the_lock_of_a_process_that_was_killed_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        child.kill().unwrap();
        // Not waited for: it is still known, as one that has ended.
        let lock = held(folder.path(), child.id());
        let release = thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            drop(lock);
        });
        Lock::acquire(folder.path()).unwrap();
        release.join().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn the_lock_of_a_process_that_lives_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let _lock = held(folder.path(), std::process::id());
        let error = Lock::acquire(folder.path()).unwrap_err();
        let OpenError::Locked { pid, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(pid, Some(std::process::id()));
    }
}
