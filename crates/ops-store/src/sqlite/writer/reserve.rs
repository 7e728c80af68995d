//! Disk space that is set aside for deletions.
//!
//! On a full disk nothing can be deleted either: a deletion is a write, and its pages go to the WAL first.
//! Retention would fail for want of the space that it makes. So the writer keeps a file, and removes the
//! file for as long as it deletes. No other write comes in between, since there is one writer. Deleted rows
//! leave free pages in the database, which the next tasks use.
//!
//! The WAL has to be moved into the database before it gives space back, and that may need new pages of the
//! database. So the WAL is never much longer than the reserve, see [`WriteAheadLog::keep_within`].
//!
//! [`WriteAheadLog::keep_within`]: super::checkpoint::WriteAheadLog::keep_within

use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::sqlite::error::free_bytes;

/// The file's name within the data folder.
pub(crate) const RESERVE_FILE: &str = "opspawn.reserve";
/// The reserve takes at most one part of so many of the free space: small disks have a small reserve.
const PART: u64 = 32;
/// A smaller reserve helps no deletion.
const MIN_BYTES: u64 = 256 << 10;

/// The file that holds the space.
#[derive(Debug)]
pub(crate) struct Reserve {
    dir: PathBuf,
    /// Most bytes of the file; 0 for no reserve.
    most: u64,
}

impl Reserve {
    pub(crate) fn new(dir: &Path, most: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            most,
        }
    }

    /// Sets the space aside, unless it is, or there is no space to spare.
    pub(crate) fn keep(&self) {
        let wanted = (self.free() / PART).min(self.most);
        // A reserve that was made on a fuller disk grows.
        if self.most == 0 || wanted / 2 > self.held() {
            self.release();
            self.allocate(wanted);
        }
    }

    /// Sets aside what [`Self::release`] gave, or half of what is free: the other half is for new tasks.
    pub(crate) fn restore(&self, held: u64) {
        self.allocate(held.min(self.free() / 2));
    }

    /// Whether deletions need the reserve: there is less free space than the reserve has.
    pub(crate) fn is_needed(&self) -> bool {
        self.free() < self.held()
    }

    /// Gives the space to the disk; says how much that was.
    pub(crate) fn release(&self) -> u64 {
        let held = self.held();
        match fs::remove_file(self.file()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, file = %self.file().display(), "the reserve stays");
                0
            }
            Ok(()) | Err(_) => held,
        }
    }

    fn allocate(&self, bytes: u64) {
        if bytes < MIN_BYTES || self.file().exists() {
            return;
        }
        if let Err(error) = allocate(&self.file(), bytes) {
            tracing::debug!(%error, "no space was set aside for deletions");
            self.release();
        }
    }

    /// Bytes that are set aside now.
    pub(crate) fn held(&self) -> u64 {
        fs::metadata(self.file()).map_or(0, |file| file.len())
    }

    fn free(&self) -> u64 {
        free_bytes(&self.dir).unwrap_or(0)
    }

    fn file(&self) -> PathBuf {
        self.dir.join(RESERVE_FILE)
    }
}

/// Makes a file of so many bytes that are the file's own, and no hole.
fn allocate(path: &Path, bytes: u64) -> io::Result<()> {
    let mut options = File::options();
    let file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let flags = rustix::fs::FallocateFlags::empty();
    Ok(rustix::fs::fallocate(&file, flags, 0, bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_a_part_of_the_free_space_and_no_hole() {
        use std::os::unix::fs::MetadataExt as _;

        let dir = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(dir.path(), 1 << 20);
        assert!(!reserve.is_needed());
        reserve.keep();
        let file = fs::metadata(reserve.file()).unwrap();
        assert_eq!((file.len(), file.mode() & 0o777), (1 << 20, 0o600));
        assert!(file.blocks() * 512 >= 1 << 20, "{} blocks", file.blocks());
        assert!(!reserve.is_needed(), "this disk has more than 1 MiB");
        reserve.keep();
        let held = reserve.release();
        assert_eq!((held, reserve.release()), (1 << 20, 0));
        assert!(!reserve.file().exists());
        reserve.restore(held / 2);
        assert_eq!(reserve.held(), 1 << 19);
        reserve.restore(held);
        assert_eq!(reserve.release(), 1 << 19, "there is one already");
        // A setting of 0 gives up the reserve of an earlier start.
        reserve.keep();
        Reserve::new(dir.path(), 0).keep();
        assert!(!reserve.file().exists());
    }
}
