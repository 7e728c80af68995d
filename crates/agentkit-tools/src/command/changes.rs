//! The files of the workspace that a program changed, which follow the task.
//!
//! The folder is looked at before and after the call. A file counts as changed by its inode, size and times, so that a
//! program that sets a time back is noticed by the change time, which it cannot set.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read as _},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use agentkit::event::Failure;
use bytes::Bytes;
use cap_std::fs::{Dir, MetadataExt as _, OpenOptions, OpenOptionsExt as _};
use tokio_util::sync::CancellationToken;

use crate::{
    walk::{Found, MAX_DEPTH, walk},
    workspace::{UNFINISHED, failure, stopped},
};

/// The most files of a workspace that are looked at.
const MAX_FILES: usize = 100_000;
/// The most that one call may change and have kept.
const MAX_CHANGED_FILES: usize = 1_000;
const MAX_CHANGED_BYTES: u64 = 32 << 20;

/// How a file looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// How the files of a workspace looked.
#[derive(Debug, Default)]
pub(super) struct Snapshot(BTreeMap<PathBuf, Look>);

/// A changed file with its content; `None` for a removed file.
pub(super) type Changed = (String, Option<Bytes>);

/// Looks at every regular file below a folder. Links are not followed: their targets are no files of the workspace.
pub(super) fn snapshot(root: &Dir, abandoned: &CancellationToken) -> Result<Snapshot, Failure> {
    let (mut found, mut folders) = (Snapshot::default(), 0);
    let too_many = |message: String| ControlFlow::Break(Failure::last("disk_quota", message));
    let walked = walk(root, |path, entry| {
        if abandoned.is_cancelled() {
            return ControlFlow::Break(stopped());
        }
        let entry = match entry {
            Found::Entry(entry) => entry,
            Found::Folder => {
                folders += 1;
                if folders > MAX_FILES {
                    return too_many(format!("the workspace has more than {MAX_FILES} folders"));
                }
                return ControlFlow::Continue(());
            }
            // The program made such a folder for itself: it holds nothing that could be kept.
            Found::Closed(error) if error.kind() == ErrorKind::PermissionDenied => {
                return ControlFlow::Continue(());
            }
            // Files in it would be lost without a word.
            Found::Closed(error) => return ControlFlow::Break(failure(&path, &error)),
            Found::TooDeep => {
                return too_many(format!(
                    "the workspace has folders more than {MAX_DEPTH} deep"
                ));
            }
        };
        let (Ok(kind), name) = (entry.file_type(), entry.file_name()) else {
            return ControlFlow::Continue(());
        };
        if !kind.is_file() || name.to_string_lossy().starts_with(UNFINISHED) {
            return ControlFlow::Continue(());
        }
        let Ok(metadata) = entry.metadata() else {
            return ControlFlow::Continue(());
        };
        if found.0.len() >= MAX_FILES {
            return too_many(format!("the workspace has more than {MAX_FILES} files"));
        }
        found.0.insert(
            path,
            Look {
                inode: metadata.ino(),
                size: metadata.len(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            },
        );
        ControlFlow::Continue(())
    });
    match walked.map_err(|error| failure(Path::new("."), &error))? {
        ControlFlow::Continue(()) => Ok(found),
        ControlFlow::Break(failure) => Err(failure),
    }
}

/// The files that changed since a snapshot, with their contents.
///
/// # Errors
/// `too_much_written` if there is more than can be kept; the files stay in the folder.
pub(super) fn since(
    before: &Snapshot,
    root: &Dir,
    abandoned: &CancellationToken,
) -> Result<Vec<Changed>, Failure> {
    let after = snapshot(root, abandoned)?;
    let is_changed = |(path, look): &(&PathBuf, &Look)| before.0.get(*path) != Some(look);
    let changed: Vec<_> = after.0.iter().filter(is_changed).collect();
    let removed: Vec<_> = before
        .0
        .keys()
        .filter(|path| !after.0.contains_key(*path))
        .collect();
    let bytes = changed
        .iter()
        .fold(0_u64, |sum, (_, look)| sum.saturating_add(look.size));
    let files = changed.len() + removed.len();
    if files > MAX_CHANGED_FILES || bytes > MAX_CHANGED_BYTES {
        let message = format!(
            "the program ran, but it changed {files} files with {bytes} bytes, and {MAX_CHANGED_FILES} files with \
             {MAX_CHANGED_BYTES} bytes can be kept with the task: write less, or in more calls"
        );
        return Err(Failure::last("too_much_written", message));
    }
    let mut kept = Vec::with_capacity(files);
    for (path, look) in changed {
        let content = read(root, path, look.size).map_err(|error| failure(path, &error))?;
        kept.push((name(path)?, Some(content)));
    }
    for path in removed {
        kept.push((name(path)?, None));
    }
    Ok(kept)
}

fn read(root: &Dir, path: &Path, size: u64) -> std::io::Result<Bytes> {
    let mut options = OpenOptions::new();
    // A pipe or a link that took the file's place is not waited for, and not followed.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
    options.read(true).custom_flags(flags.bits().cast_signed());
    let file = root.open_with(path, &options)?;
    let mut content = Vec::new();
    file.take(size).read_to_end(&mut content)?;
    Ok(content.into())
}

fn name(path: &Path) -> Result<String, Failure> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        let message = format!("the program ran, but the name of its file {path:?} is not UTF-8");
        Failure::last("invalid_path", message)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use cap_std::ambient_authority;

    use super::*;

    #[test]
    fn files_that_changed_are_found_by_more_than_their_times() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let root = Dir::open_ambient_dir(dir.path(), ambient_authority()).unwrap();
        let token = CancellationToken::new();
        fs::create_dir(path("a")).unwrap();
        for name in ["a/same", "a/longer", "a/reset", "gone", "replaced"] {
            fs::write(path(name), "1234").unwrap();
        }
        let before = snapshot(&root, &token).unwrap();
        assert!(since(&before, &root, &token).unwrap().is_empty());
        let time = fs::metadata(path("a/reset")).unwrap().modified().unwrap();
        fs::write(path("a/longer"), "12345").unwrap();
        fs::write(path("a/reset"), "4321").unwrap();
        let reset = fs::File::options()
            .write(true)
            .open(path("a/reset"))
            .unwrap();
        reset.set_modified(time).unwrap();
        fs::remove_file(path("gone")).unwrap();
        fs::write(path("new"), "new").unwrap();
        fs::rename(path("new"), path("replaced")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path("link")).unwrap();
        let changed = since(&before, &root, &token).unwrap();
        let changed: Vec<_> = changed
            .iter()
            .map(|(path, content)| (path.as_str(), content.as_deref()))
            .collect();
        let expected = [
            ("a/longer", Some(&b"12345"[..])),
            ("a/reset", Some(b"4321")),
            ("replaced", Some(b"new")),
            ("gone", None),
        ];
        assert_eq!(changed, expected);
    }

    #[test]
    fn folders_that_are_too_deep_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let deep: PathBuf = (0..=MAX_DEPTH).map(|_| "d").collect();
        fs::create_dir_all(dir.path().join(deep)).unwrap();
        let root = Dir::open_ambient_dir(dir.path(), ambient_authority()).unwrap();
        let error = snapshot(&root, &CancellationToken::new()).unwrap_err();
        assert_eq!(error.code, "disk_quota");
        assert!(error.message.contains("100 deep"), "{error:?}");
    }

    #[test]
    fn more_than_can_be_kept_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let root = Dir::open_ambient_dir(dir.path(), ambient_authority()).unwrap();
        let token = CancellationToken::new();
        let before = snapshot(&root, &token).unwrap();
        let file = fs::File::create(dir.path().join("big")).unwrap();
        file.set_len(MAX_CHANGED_BYTES + 1).unwrap();
        let error = since(&before, &root, &token).unwrap_err();
        assert_eq!(error.code, "too_much_written");
    }
}
