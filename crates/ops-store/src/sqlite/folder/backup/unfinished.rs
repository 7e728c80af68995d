//! A file in the making: readable by its owner alone, and in its place as a whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with},
    io::Errno,
};

use super::BackupError;

/// Prefix of the names of unfinished files.
const PREFIX: &str = ".opspawn-unfinished-";

/// Deletes the unfinished files of killed processes in a folder. A file that a live process writes at this
/// moment is locked, and stays.
pub(crate) fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        let swept = (|| {
            let file = OpenOptions::new().write(true).open(&path)?;
            let bytes = file.metadata()?.len();
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            fs::remove_file(&path).map(|()| bytes)
        })();
        if let Ok(bytes) = swept {
            tracing::info!(path = %path.display(), bytes, "took away what a killed backup left behind");
        }
    }
}

/// A file that is deleted on drop unless finished.
pub(crate) struct Unfinished {
    path: PathBuf,
    /// Empty at first, and locked, so that no other process takes the same name meanwhile.
    file: File,
}

impl Unfinished {
    /// Begins a file that is to be at `target`.
    pub(crate) fn beside(target: &Path) -> Result<Self, BackupError> {
        begin(target).map_err(failed(target))
    }

    /// The path until the file is finished.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Fills the file with the content of another file.
    pub(crate) fn fill(&self, from: &Path) -> io::Result<()> {
        io::copy(&mut File::open(from)?, &mut &self.file)?;
        Ok(())
    }

    /// Fills the file with bytes.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.file).write_all(bytes)
    }

    /// Renames the file to its target, durably. A file that appeared at the target meanwhile stays.
    pub(crate) fn finish(self, target: &Path) -> Result<(), BackupError> {
        self.put(target, rename_new)
    }

    /// Puts it in the place of a file that is there, durably.
    pub(crate) fn replace(self, target: &Path) -> Result<(), BackupError> {
        self.put(target, |from, to| fs::rename(from, to))
    }

    fn put(
        self,
        target: &Path,
        rename: impl Fn(&Path, &Path) -> io::Result<()>,
    ) -> Result<(), BackupError> {
        let put = || {
            self.file.sync_all()?;
            rename(&self.path, target)?;
            let parent = target
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        };
        put().map_err(failed(target))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Once it is finished there is none.
        drop(fs::remove_file(&self.path));
    }
}

fn failed(target: &Path) -> impl Fn(io::Error) -> BackupError {
    move |source| match source.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists {
            file: target.to_owned(),
        },
        _ => BackupError::Io {
            path: target.to_owned(),
            source,
        },
    }
}

fn begin(target: &Path) -> io::Result<Unfinished> {
    let name = target.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let mut unfinished = std::ffi::OsString::from(PREFIX);
    unfinished.push(name);
    let path = target.with_file_name(unfinished);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path)?;
    let busy = || {
        let message = "another process is making it at this moment";
        io::Error::new(io::ErrorKind::ResourceBusy, message)
    };
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| busy())?;
    // It may have been finished since it was opened.
    let (opened, named) = (file.metadata()?, fs::symlink_metadata(&path));
    if !named.is_ok_and(|named| (named.dev(), named.ino()) == (opened.dev(), opened.ino())) {
        return Err(busy());
    }
    // What an earlier one that was killed left behind.
    file.set_len(0)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(Unfinished { path, file })
}

/// Renames a file, unless the new name is taken.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The file system cannot; a second name is as good, and the first one goes with `Unfinished`.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => fs::hard_link(from, to),
        renamed => Ok(renamed?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(file: &Path) -> u32 {
        fs::metadata(file).unwrap().mode() & 0o777
    }

    #[test]
    fn what_came_to_be_in_its_place_meanwhile_stays() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("b.db");
        let unfinished = Unfinished::beside(&target).unwrap();
        fs::write(&target, "precious").unwrap();
        let error = unfinished.finish(&target).unwrap_err();
        assert!(matches!(error, BackupError::Exists { .. }), "{error}");
        assert_eq!(fs::read(&target).unwrap(), b"precious");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_its_owner_reads_it_whoever_reads_its_source() {
        let dir = tempfile::tempdir().unwrap();
        let (source, target) = (dir.path().join("a.db"), dir.path().join("b.db"));
        fs::write(&source, "content").unwrap();
        fs::set_permissions(&source, fs::Permissions::from_mode(0o644)).unwrap();
        // What a killed one left behind.
        let left = dir.path().join(".opspawn-unfinished-b.db");
        fs::write(&left, "older and longer content").unwrap();
        let unfinished = Unfinished::beside(&target).unwrap();
        assert_eq!(mode(unfinished.path()), 0o600);
        unfinished.fill(&source).unwrap();
        unfinished.finish(&target).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"content");
        assert_eq!(mode(&target), 0o600);
    }

    // engine/E9: a killed backup leaves a file as large as the database.
    #[test]
    fn what_a_killed_one_left_behind_goes_and_what_is_in_the_making_stays() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join(format!("{PREFIX}monday.db"));
        fs::write(&left, vec![1; 100_000]).unwrap();
        fs::write(dir.path().join("theirs"), "x").unwrap();
        let unfinished = Unfinished::beside(&dir.path().join("tuesday.db")).unwrap();
        sweep(dir.path());
        assert!(!left.exists());
        assert!(unfinished.path().exists());
        drop(unfinished);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn two_do_not_make_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("b.db");
        let first = Unfinished::beside(&target).unwrap();
        let second = Unfinished::beside(&target);
        assert!(matches!(second, Err(BackupError::Io { .. })));
        first.finish(&target).unwrap();
        assert!(target.exists());
    }
}
