//! What tools may keep in workspaces: bytes and files of one task, and bytes of all tasks together.

use std::{
    fs, io,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use agentkit::event::Failure;
use cap_std::fs::Dir;

/// What all workspaces have is counted anew this often, and when a write would not fit, at most this often.
const RECOUNT: Duration = Duration::from_secs(60);
const RECOUNT_FULL: Duration = Duration::from_secs(1);

/// The limits, and what is known of what is used.
#[derive(Debug)]
pub struct Quota {
    /// Bytes in the workspace of one task.
    pub task_bytes: u64,
    /// Files in the workspace of one task.
    pub task_files: u64,
    /// Bytes in the workspaces of all tasks: in the folder that they lie in.
    pub all_bytes: u64,
    /// What all have, and when it was counted; what was written since is added.
    all: Mutex<Option<(u64, Instant)>>,
}

impl Default for Quota {
    /// No limits.
    fn default() -> Self {
        Self::new(u64::MAX, u64::MAX, u64::MAX)
    }
}

/// What a folder holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Used {
    bytes: u64,
    files: u64,
}

impl Quota {
    /// Limits in bytes and files; `u64::MAX` is none.
    #[must_use]
    pub fn new(task_bytes: u64, task_files: u64, all_bytes: u64) -> Self {
        Self {
            task_bytes,
            task_files,
            all_bytes,
            all: Mutex::new(None),
        }
    }

    /// Refuses a file of so many bytes in a workspace if it does not fit.
    ///
    /// Two calls that write at the same time may both find room for one: each is let in by what is there
    /// before it.
    ///
    /// # Errors
    /// `disk_quota`, with what is used, what is left and which setting says so.
    pub(crate) fn check(
        &self,
        root: &Dir,
        workspace: &Path,
        path: &Path,
        size: u64,
    ) -> Result<(), Failure> {
        let old = root.symlink_metadata(path).ok();
        let old_size = old.as_ref().map_or(0, cap_std::fs::Metadata::len);
        if self.task_bytes != u64::MAX || self.task_files != u64::MAX {
            let used = used(root, self.task_files).map_err(|error| {
                let message = format!("the workspace of this task cannot be read: {error}");
                Failure::passing("workspace_unavailable", message)
            })?;
            let others = used.bytes.saturating_sub(old_size);
            let fits = others.saturating_add(size) <= self.task_bytes;
            if !fits && !units::mutant!("agentkit-tools.no_quota") {
                let left = self.task_bytes.saturating_sub(others);
                let most = self.task_bytes;
                return Err(refused(format!(
                    "`{}` would have {size} bytes, and the workspace of this task has room for {left}: its \
                     files may have {most} bytes together. Write less, or shorten other files with \
                     write_file; an administrator may raise `quota.task_bytes`",
                    path.display()
                )));
            }
            if old.is_none() && used.files >= self.task_files {
                let most = self.task_files;
                return Err(refused(format!(
                    "the workspace of this task has {} files and may have {most}. Write to a file that is \
                     there; an administrator may raise `quota.task_files`",
                    used.files
                )));
            }
        }
        self.check_all(workspace, old_size, size)
    }

    fn check_all(&self, workspace: &Path, old: u64, size: u64) -> Result<(), Failure> {
        let Some(folder) = workspace.parent().filter(|_| self.all_bytes != u64::MAX) else {
            return Ok(());
        };
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let grown = |used: u64| used.saturating_sub(old).saturating_add(size);
        let stale = match *all {
            None => true,
            Some((used, at)) => {
                let age = at.elapsed();
                age > RECOUNT || (grown(used) > self.all_bytes && age > RECOUNT_FULL)
            }
        };
        if stale {
            *all = Some((bytes_below(folder), Instant::now()));
        }
        let (used, at) = all.get_or_insert((0, Instant::now()));
        if grown(*used) > self.all_bytes {
            let most = self.all_bytes;
            return Err(refused(format!(
                "the workspaces of all tasks have {used} bytes and may have {most} together. An \
                 administrator has to raise `quota.total_bytes`, or delete old tasks with `opspawn \
                 retention run`"
            )));
        }
        *all = Some((grown(*used), *at));
        Ok(())
    }
}

fn refused(message: String) -> Failure {
    Failure::last("disk_quota", message)
}

/// The files below a folder. More than `most` are not counted.
fn used(root: &Dir, most: u64) -> io::Result<Used> {
    let mut used = Used::default();
    let mut folders = vec![root.try_clone()?];
    while let Some(folder) = folders.pop() {
        for entry in folder.entries()? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(folder.open_dir(entry.file_name())?);
            } else {
                // One that is gone by now has no bytes.
                used.bytes += entry.metadata().map_or(0, |metadata| metadata.len());
                used.files += 1;
            }
        }
        if used.files > most.saturating_add(1) {
            break;
        }
    }
    Ok(used)
}

/// The bytes of the files below a folder; what cannot be read has none.
fn bytes_below(folder: &Path) -> u64 {
    let (mut bytes, mut folders) = (0_u64, vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => bytes = bytes.saturating_add(metadata.len()),
                Err(_) => {}
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use cap_std::ambient_authority;

    use super::*;

    /// A workspace with these files, beside another one with a file of 100 bytes.
    fn workspace(files: &[(&str, usize)]) -> (tempfile::TempDir, std::path::PathBuf, Dir) {
        let all = tempfile::tempdir().unwrap();
        let workspace = all.path().join("task_1");
        fs::create_dir_all(all.path().join("task_2")).unwrap();
        fs::write(all.path().join("task_2/other"), vec![1; 100]).unwrap();
        for (path, bytes) in files {
            let path = workspace.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![1; *bytes]).unwrap();
        }
        let root = Dir::open_ambient_dir(&workspace, ambient_authority()).unwrap();
        (all, workspace, root)
    }

    fn code(checked: Result<(), Failure>) -> Option<(String, String)> {
        checked.err().map(|failure| (failure.code, failure.message))
    }

    #[test]
    fn a_task_may_have_so_many_bytes_and_files() {
        let (_all, workspace, root) = workspace(&[("a", 60), ("deep/b", 30)]);
        let check = |quota: &Quota, path: &str, size| {
            code(quota.check(&root, &workspace, Path::new(path), size))
        };
        let bytes = Quota::new(100, u64::MAX, u64::MAX);
        assert_eq!(check(&bytes, "c", 10), None);
        let (code, message) = check(&bytes, "c", 11).unwrap();
        assert_eq!(code, "disk_quota");
        assert!(
            message.contains("room for 10") && message.contains("quota.task_bytes"),
            "{message}"
        );
        // What it takes the place of does not count.
        assert_eq!(check(&bytes, "a", 70), None);
        assert!(check(&bytes, "deep/b", 41).is_some());
        let files = Quota::new(u64::MAX, 2, u64::MAX);
        assert_eq!(check(&files, "a", 1_000), None);
        let (_, message) = check(&files, "c", 1).unwrap();
        assert!(
            message.contains("has 2 files") && message.contains("quota.task_files"),
            "{message}"
        );
        assert_eq!(check(&Quota::default(), "c", 1 << 40), None);
    }

    #[test]
    fn all_tasks_may_have_so_many_bytes() {
        let (all, workspace, root) = workspace(&[("a", 50)]);
        let quota = Quota::new(u64::MAX, u64::MAX, 200);
        let check = |path: &str, size| code(quota.check(&root, &workspace, Path::new(path), size));
        assert_eq!(check("b", 30), None);
        // What was let in before counts, though nobody has counted anew.
        let (_, message) = check("c", 30).unwrap();
        assert!(
            message.contains("180 bytes") && message.contains("quota.total_bytes"),
            "{message}"
        );
        assert_eq!(check("c", 20), None);
        // A folder that was deleted gives its room back once it is counted anew.
        fs::remove_dir_all(all.path().join("task_2")).unwrap();
        std::thread::sleep(RECOUNT_FULL + Duration::from_millis(50));
        assert_eq!(check("c", 100), None);
    }
}
