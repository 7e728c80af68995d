//! A walk through a folder that needs few descriptors, however many folders there are.
//!
//! A walk that opens every folder when it is listed takes all descriptors of the server where a program has made some
//! thousand folders beside one another. This walk keeps open the folders from the root to where it is, and no other.

use std::{ffi::OsString, io, ops::ControlFlow, path::PathBuf};

use cap_std::fs::{Dir, DirEntry};

/// The most folders within one another, each of which is a descriptor.
pub(crate) const MAX_DEPTH: usize = 100;

/// What a walk comes to.
pub(crate) enum Found<'a> {
    /// A file, a link or whatever else is no folder.
    Entry(&'a DirEntry),
    /// A folder, before it is entered.
    Folder,
    /// A folder that cannot be read.
    Closed(io::Error),
    /// A folder below [`MAX_DEPTH`] others, which is not entered.
    TooDeep,
}

/// Goes through everything below a folder, until `each` breaks off. Links are not followed.
pub(crate) fn walk<B>(
    root: &Dir,
    mut each: impl FnMut(PathBuf, Found<'_>) -> ControlFlow<B>,
) -> io::Result<ControlFlow<B>> {
    // Each open folder, with its folders that are still to be entered.
    let mut open: Vec<(Dir, PathBuf, Vec<OsString>)> = Vec::new();
    let mut next = Some((root.try_clone()?, PathBuf::new()));
    loop {
        if let Some((folder, path)) = next.take() {
            let mut folders = Vec::new();
            match folder.entries() {
                Err(error) if open.is_empty() => return Err(error),
                Err(error) => {
                    if let ControlFlow::Break(end) = each(path.clone(), Found::Closed(error)) {
                        return Ok(ControlFlow::Break(end));
                    }
                }
                Ok(entries) => {
                    for entry in entries.flatten() {
                        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                        let name = entry.file_name();
                        let found = match is_folder {
                            true => Found::Folder,
                            false => Found::Entry(&entry),
                        };
                        if let ControlFlow::Break(end) = each(path.join(&name), found) {
                            return Ok(ControlFlow::Break(end));
                        }
                        if is_folder {
                            folders.push(name);
                        }
                    }
                }
            }
            open.push((folder, path, folders));
        }
        let depth = open.len();
        let Some((folder, path, folders)) = open.last_mut() else {
            return Ok(ControlFlow::Continue(()));
        };
        let Some(name) = folders.pop() else {
            open.pop();
            continue;
        };
        let path = path.join(&name);
        let ended = match folder.open_dir(&name) {
            _ if depth >= MAX_DEPTH => each(path, Found::TooDeep),
            Ok(inner) => {
                next = Some((inner, path));
                ControlFlow::Continue(())
            }
            Err(error) => each(path, Found::Closed(error)),
        };
        if ended.is_break() {
            return Ok(ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use cap_std::ambient_authority;

    use super::*;

    /// How many descriptors of this process are below a folder.
    fn open_below(folder: &std::path::Path) -> usize {
        let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let links = links.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        links.filter(|link| link.starts_with(folder)).count()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn folders_beside_one_another_take_no_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        for at in 0..300 {
            std::fs::create_dir(path.join(at.to_string())).unwrap();
            std::fs::write(path.join(format!("{at}/file")), "x").unwrap();
        }
        let root = Dir::open_ambient_dir(&path, ambient_authority()).unwrap();
        let (mut files, mut folders, mut most) = (0, 0, 0);
        let ended = walk::<()>(&root, |_, found| {
            match found {
                Found::Entry(_) => files += 1,
                Found::Folder => folders += 1,
                Found::Closed(error) => panic!("{error}"),
                Found::TooDeep => panic!("not deep"),
            }
            most = most.max(open_below(&path));
            ControlFlow::Continue(())
        });
        assert!(ended.unwrap().is_continue());
        assert_eq!((files, folders), (300, 300));
        // Of the folder and the one in it, each with its listing.
        assert!(most <= 6, "{most} descriptors");
    }

    #[test]
    fn folders_within_one_another_have_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let deep: PathBuf = (0..MAX_DEPTH + 5).map(|_| "d").collect();
        std::fs::create_dir_all(dir.path().join(deep)).unwrap();
        let root = Dir::open_ambient_dir(dir.path(), ambient_authority()).unwrap();
        let ended = walk(&root, |path, found| match found {
            Found::TooDeep => ControlFlow::Break(path.components().count()),
            Found::Entry(_) | Found::Folder | Found::Closed(_) => ControlFlow::Continue(()),
        });
        assert_eq!(ended.unwrap(), ControlFlow::Break(MAX_DEPTH));
    }
}
