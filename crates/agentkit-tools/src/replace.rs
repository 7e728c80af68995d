//! Replaces the content of a file of the workspace as a whole.
//!
//! The content goes to a new file beside the old one, which it then replaces, and each step is on
//! disk before the next: a reader, and a machine that comes up after a crash, sees the old content
//! or the new, never a part.

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use agentkit::{
    StepId,
    event::Failure,
    tool::{ToolContext, TreeWorkspaces},
};
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use tokio_util::sync::CancellationToken;

use crate::{
    quota::{NewFile, Quota},
    workspace::{UNFINISHED, failure, stopped},
};

/// What a new file may be used for: its owner reads and writes it.
const PRIVATE: u32 = 0o600;

/// Where a file is written, for which call, and how much may be there.
pub(crate) struct Destination {
    pub(crate) workspace: PathBuf,
    pub(crate) tree: TreeWorkspaces,
    pub(crate) step: StepId,
    pub(crate) quota: Arc<Quota>,
}

impl Destination {
    pub(crate) fn of(context: &ToolContext, quota: &Arc<Quota>) -> Self {
        Self {
            workspace: context.workspace.clone(),
            tree: context.tree.clone(),
            step: context.step,
            quota: Arc::clone(quota),
        }
    }
}

/// Writes the file, and returns its path with no symbolic link in it.
pub(crate) fn replace(
    root: &Dir,
    path: &Path,
    content: &[u8],
    destination: &Destination,
    abandoned: &CancellationToken,
) -> Result<PathBuf, Failure> {
    let step = destination.step;
    destination.quota.check(&NewFile {
        root,
        workspace: &destination.workspace,
        tree: &destination.tree,
        path,
        size: content.len() as u64,
    })?;
    write(root, path, content, step, abandoned).map_err(|error| match error {
        Stop::Abandoned => stopped(),
        Stop::Folder => {
            let message = format!("`{}` is a folder: name a file", path.display());
            Failure::last("is_a_folder", message)
        }
        Stop::Io(error) => failure(path, &error),
    })
}

/// Why a file was not written.
enum Stop {
    Abandoned,
    Folder,
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn write(
    root: &Dir,
    path: &Path,
    content: &[u8],
    step: StepId,
    abandoned: &CancellationToken,
) -> Result<PathBuf, Stop> {
    let invalid = || Stop::Io(io::ErrorKind::InvalidInput.into());
    let name = path.file_name().ok_or_else(invalid)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => make_folder(root, folder)?,
        Some(_) | None => PathBuf::from("."),
    };
    let dir = root.open_dir(&folder)?;
    let old = dir.symlink_metadata(name).ok();
    if old.as_ref().is_some_and(|old| old.is_dir()) {
        return Err(Stop::Folder);
    }
    remove_unfinished(&dir, step)?;

    let unfinished = Unfinished::new(&dir, step);
    let mut file = dir.open_with(
        &unfinished.name,
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(PRIVATE),
    )?;
    file.write_all(content)?;
    if let Some(old) = old.filter(|old| old.is_file()) {
        file.set_permissions(old.permissions())?;
    }
    file.sync_all()?;
    if abandoned.is_cancelled() {
        return Err(Stop::Abandoned);
    }
    dir.rename(&unfinished.name, &dir, name)?;
    sync_folder(&dir, Path::new("."))?;
    Ok(if folder.as_os_str() == "." {
        name.into()
    } else {
        folder.join(name)
    })
}

/// Makes the folders on the path that are not there yet, on disk, and resolves links in it.
fn make_folder(root: &Dir, folder: &Path) -> io::Result<PathBuf> {
    let mut path = PathBuf::from(".");
    for name in folder {
        let parent = path.clone();
        path.push(name);
        match root.open_dir(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match root.create_dir(&path) {
                    // Another call made it; or a link leads nowhere, as opening it will tell.
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(error);
                    }
                    Ok(()) | Err(_) => root.open_dir(&path)?,
                };
                sync_folder(root, &parent)?;
            }
            Err(error) => return Err(error),
        }
    }
    root.canonicalize(folder)
}

fn sync_folder(dir: &Dir, path: &Path) -> io::Result<()> {
    // Opened for reading: the handle of a `Dir` is only good for resolving paths.
    dir.open(path)?.sync_all()
}

/// A file that is being written; removed again unless it was renamed.
struct Unfinished<'a> {
    dir: &'a Dir,
    name: String,
}

impl<'a> Unfinished<'a> {
    /// The name is new each time: what an abandoned try of the same step still writes is never
    /// what this one renames.
    fn new(dir: &'a Dir, step: StepId) -> Self {
        let name = format!("{UNFINISHED}{step}-{:016x}", rand::random::<u64>());
        under_way().insert(name.clone());
        Self { dir, name }
    }
}

/// The files that threads of this process write. A thread whose call was abandoned may begin only after
/// the next try of the call has: it must not take that one's file for what a crash left.
fn under_way() -> MutexGuard<'static, BTreeSet<String>> {
    static NAMES: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        // After the rename it is not there, and nothing else can be done about an error.
        let _ = self.dir.remove_file(&self.name);
        under_way().remove(&self.name);
    }
}

/// Removes the file of a try of the same step that crashed.
fn remove_unfinished(dir: &Dir, step: StepId) -> io::Result<()> {
    let prefix = format!("{UNFINISHED}{step}-");
    for entry in dir.entries()? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        if text.starts_with(&prefix) && !under_way().contains(&*text) {
            match dir.remove_file(&name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use cap_std::ambient_authority;

    use super::*;

    #[test]
    fn an_abandoned_try_leaves_the_file_of_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(folder.path(), ambient_authority()).unwrap();
        let (step, path) = (StepId(7), Path::new("a.txt"));
        let left_by_a_crash = format!("{UNFINISHED}{step}-0000000000000000");
        dir.write(&left_by_a_crash, "half").unwrap();
        let next = Unfinished::new(&dir, step);
        dir.write(&next.name, "whole").unwrap();
        let abandoned = CancellationToken::new();
        abandoned.cancel();
        assert!(write(&dir, path, b"late", step, &abandoned).is_err());
        assert_eq!(dir.read_to_string(&next.name).unwrap(), "whole");
        assert!(!dir.exists(&left_by_a_crash) && !dir.exists(path));
        drop(next);
        assert!(write(&dir, path, b"new", step, &CancellationToken::new()).is_ok());
        let names = dir
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["a.txt"]);
    }
}
