//! Which workspaces belong to one tree of tasks, as folders beside the workspaces.
//!
//! A task knows its parent and no older task. So each child is entered when its run begins: with an empty
//! file in the folder of its tree, and with a link to that folder, where its own children look for the tree.
//! Parents begin before their children, so the chain is whole.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use agentkit::tool::TreeWorkspaces;
use ops_core::TaskId;

/// The folder of all trees. No task has such an id.
const TREES: &str = ".trees";

/// Enters a task, and gives the workspaces of its tree.
///
/// # Errors
/// If the entry cannot be written.
pub(crate) fn enter(
    all: &Path,
    task: TaskId,
    parent: Option<TaskId>,
) -> io::Result<TreeWorkspaces> {
    let trees = all.join(TREES);
    let first = match parent {
        None => task.to_string(),
        Some(parent) => {
            let (task, parent) = (task.to_string(), parent.to_string());
            let first = first_of(&trees, &parent)?.unwrap_or(parent);
            let members = trees.join(&first);
            fs::create_dir_all(&members)?;
            fs::File::create(members.join(&task))?;
            match symlink(&first, trees.join(&task)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => first,
            }
        }
    };
    let all = all.to_owned();
    Ok(TreeWorkspaces::new(move || members(&all, &first)))
}

/// Removes the entry of a task that was deleted; the last task of a tree takes the tree's folder along.
pub(crate) fn leave(all: &Path, task: TaskId) -> io::Result<()> {
    let trees = all.join(TREES);
    let task = task.to_string();
    let gone = |done: io::Result<()>| match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    };
    if let Some(first) = first_of(&trees, &task)? {
        gone(fs::remove_file(trees.join(&first).join(&task)))?;
        gone(fs::remove_file(trees.join(&task)))?;
        // Others may be entered still.
        let _ = fs::remove_dir(trees.join(first));
    }
    Ok(())
}

/// The first task of a child's tree; `None` for a task that is not entered as a child.
fn first_of(trees: &Path, task: &str) -> io::Result<Option<String>> {
    match fs::read_link(trees.join(task)) {
        Ok(first) => Ok(first.into_os_string().into_string().ok()),
        // Nothing is there, or the folder of the tree that the task is the first of.
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => Ok(None),
            _ => Err(error),
        },
    }
}

fn members(all: &Path, first: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(all.join(TREES).join(first));
    let children = entries.into_iter().flatten().flatten();
    let children = children.map(|entry| all.join(entry.file_name()));
    std::iter::once(all.join(first)).chain(children).collect()
}

#[cfg(test)]
mod tests {
    use ops_core::Micros;

    use super::*;

    #[test]
    fn children_of_every_generation_are_of_one_tree() {
        let dir = tempfile::tempdir().unwrap();
        let all = dir.path();
        let [first, child, grandchild, other] =
            [1, 2, 3, 4].map(|n| TaskId::new(Micros(n), [0; 10]));
        let names = |tree: &TreeWorkspaces| {
            let mut paths = tree.paths();
            assert_eq!(paths.remove(0), all.join(first.to_string()));
            paths.sort();
            paths
        };
        let of = |task: TaskId| all.join(task.to_string());

        let tree = enter(all, first, None).unwrap();
        assert!(names(&tree).is_empty());
        assert!(!all.join(TREES).exists(), "a task alone leaves no entry");
        enter(all, child, Some(first)).unwrap();
        let below = enter(all, grandchild, Some(child)).unwrap();
        // A run that goes on is entered again.
        enter(all, child, Some(first)).unwrap();
        let alone = enter(all, other, None).unwrap();
        assert_eq!(alone.paths(), [of(other)]);
        assert_eq!(names(&tree), [of(child), of(grandchild)]);
        assert_eq!(names(&below), names(&tree));

        leave(all, first).unwrap();
        leave(all, child).unwrap();
        assert_eq!(names(&tree), [of(grandchild)]);
        leave(all, grandchild).unwrap();
        leave(all, grandchild).unwrap();
        assert_eq!(fs::read_dir(all.join(TREES)).unwrap().count(), 0);
    }
}
