//! Limits on the files that tools keep in workspaces: bytes and files of one task, bytes of a tree of tasks, and bytes of all
//! tasks together.

use std::{
    collections::BTreeMap,
    fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use agentkit::{event::Failure, tool::TreeWorkspaces};
use cap_std::fs::Dir;

use crate::walk::{Found, MAX_DEPTH, walk};

/// Workspaces of several tasks are counted anew this often, and when a write would not fit, at most this often.
const RECOUNT: Duration = Duration::from_secs(60);
const RECOUNT_FULL: Duration = Duration::from_secs(1);
/// Trees whose count is kept.
const TREES: usize = 256;

/// Most bytes and files that tools may keep in workspaces; `u64::MAX` for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaLimits {
    /// Bytes in the workspace of one task.
    pub task_bytes: u64,
    /// Files in the workspace of one task.
    pub task_files: u64,
    /// Bytes in the workspaces of a task, its children and theirs.
    pub tree_bytes: u64,
    /// Bytes in the workspaces of all tasks: in the folder that holds them.
    pub total_bytes: u64,
}

impl Default for QuotaLimits {
    fn default() -> Self {
        Self {
            task_bytes: u64::MAX,
            task_files: u64::MAX,
            tree_bytes: u64::MAX,
            total_bytes: u64::MAX,
        }
    }
}

/// Counters of quotas, since the process started.
#[derive(Debug, Default)]
pub struct QuotaCounts {
    /// Writes that were refused.
    pub refused: AtomicU64,
    /// Bytes of the files that were let in.
    pub bytes: AtomicU64,
}

/// The limits, and the known use of workspaces.
#[derive(Debug, Default)]
pub struct Quota {
    limits: QuotaLimits,
    counts: Arc<QuotaCounts>,
    total: Mutex<Option<Count>>,
    /// By the workspace of the tree's first task.
    trees: Mutex<BTreeMap<PathBuf, Count>>,
}

/// Bytes of several workspaces when they were counted, and bytes that were let in since.
#[derive(Debug, Clone, Copy)]
struct Count {
    bytes: u64,
    at: Instant,
}

impl Count {
    fn of(folders: &[PathBuf]) -> Self {
        let bytes = folders.iter().map(|folder| bytes_below(folder));
        Self {
            bytes: bytes.fold(0, u64::saturating_add),
            at: Instant::now(),
        }
    }

    /// The count with a write of so many bytes in place of old bytes.
    fn with(self, old: u64, size: u64) -> Self {
        let bytes = self.bytes.saturating_sub(old).saturating_add(size);
        Self { bytes, ..self }
    }

    /// Lets a write in if it fits, and counts it; else says how many bytes there are. Folders are counted anew
    /// where the count is old, or would refuse the write.
    fn admit(
        known: &mut Option<Self>,
        folders: &[PathBuf],
        (old, size): (u64, u64),
        most: u64,
    ) -> Result<(), u64> {
        let fits = |count: &Self| count.with(old, size).bytes <= most;
        let count = match *known {
            Some(count) if count.at.elapsed() <= RECOUNT_FULL => count,
            Some(count) if fits(&count) && count.at.elapsed() <= RECOUNT => count,
            Some(_) | None => Self::of(folders),
        };
        let fits = fits(&count);
        *known = Some(if fits { count.with(old, size) } else { count });
        if fits { Ok(()) } else { Err(count.bytes) }
    }
}

/// Files in a folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Used {
    bytes: u64,
    files: u64,
}

/// A write that asks for room.
pub(crate) struct NewFile<'a> {
    /// The opened workspace, and its path.
    pub(crate) root: &'a Dir,
    pub(crate) workspace: &'a Path,
    /// Workspaces of the task's tree.
    pub(crate) tree: &'a TreeWorkspaces,
    /// The file, and its size once it is written.
    pub(crate) path: &'a Path,
    pub(crate) size: u64,
}

impl Quota {
    /// A quota that adds to counters of the process.
    #[must_use]
    pub fn new(limits: QuotaLimits, counts: Arc<QuotaCounts>) -> Self {
        Self {
            limits,
            counts,
            ..Self::default()
        }
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> QuotaLimits {
        self.limits
    }

    /// Refuses a file that does not fit.
    ///
    /// Two calls that write at the same time may both find room for one file: a call is let in by the files
    /// before it.
    ///
    /// # Errors
    /// `disk_quota`, with the use, the room and the setting that says so.
    pub(crate) fn check(&self, asked: &NewFile<'_>) -> Result<(), Failure> {
        let old = asked.root.symlink_metadata(asked.path).ok();
        let old_size = old.as_ref().map_or(0, cap_std::fs::Metadata::len);
        let sizes = (old_size, asked.size);
        let checked = self
            .check_task(asked, old.is_none(), sizes)
            .and_then(|()| self.check_tree(&asked.tree.paths(), sizes))
            .and_then(|()| self.check_total(asked.workspace, sizes));
        let (counter, more) = match &checked {
            Ok(()) => (&self.counts.bytes, asked.size),
            Err(_) => (&self.counts.refused, 1),
        };
        counter.fetch_add(more, Ordering::Relaxed);
        checked
    }

    /// The most bytes that a program may have in its workspace.
    ///
    /// # Errors
    /// `disk_quota` where all workspaces together are over a limit already.
    pub(crate) fn room(&self, workspace: &Path, tree: &TreeWorkspaces) -> Result<u64, Failure> {
        let own = bytes_below(workspace);
        let rest = |bytes: u64, limit: u64| limit.saturating_sub(bytes.saturating_sub(own));
        let (mut most, limits) = (self.limits.task_bytes, self.limits);
        // Programs write uncounted, so that the folders are counted anew.
        if limits.tree_bytes != u64::MAX {
            let bytes = Count::of(&tree.paths()).bytes;
            if bytes > limits.tree_bytes {
                return Err(self.tree_is_full(bytes));
            }
            most = most.min(rest(bytes, limits.tree_bytes));
        }
        if limits.total_bytes != u64::MAX {
            let bytes = workspace.parent().map_or(0, bytes_below);
            if bytes > limits.total_bytes {
                return Err(self.all_is_full(bytes));
            }
            most = most.min(rest(bytes, limits.total_bytes));
        }
        Ok(most)
    }

    fn check_task(
        &self,
        asked: &NewFile<'_>,
        is_new: bool,
        (old, size): (u64, u64),
    ) -> Result<(), Failure> {
        let (most, most_files) = (self.limits.task_bytes, self.limits.task_files);
        if most == u64::MAX && most_files == u64::MAX {
            return Ok(());
        }
        let used = used(asked.root, most_files).map_err(|error| {
            let message = format!("the workspace of this task cannot be read: {error}");
            Failure::passing("workspace_unavailable", message)
        })?;
        let others = used.bytes.saturating_sub(old);
        let fits = others.saturating_add(size) <= most;
        if !fits && !units::mutant!("agentkit-tools.no_quota") {
            let left = most.saturating_sub(others);
            return Err(refused(format!(
                "`{}` would have {size} bytes, and the workspace of this task has room for {left}: its \
                 files may have {most} bytes together. Write less, or shorten other files with \
                 write_file; an administrator may raise `quota.task_bytes`",
                asked.path.display()
            )));
        }
        if is_new && used.files >= most_files {
            return Err(refused(format!(
                "the workspace of this task has {} files and may have {most_files}. Write to a file that is \
                 there; an administrator may raise `quota.task_files`",
                used.files
            )));
        }
        Ok(())
    }

    fn check_tree(&self, tree: &[PathBuf], sizes: (u64, u64)) -> Result<(), Failure> {
        let most = self.limits.tree_bytes;
        let Some(first) = tree.first().filter(|_| most != u64::MAX) else {
            return Ok(());
        };
        // A task alone is bounded by its own limit.
        if tree.len() == 1 && self.limits.task_bytes <= most {
            return Ok(());
        }
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        if trees.len() >= TREES {
            trees.retain(|_, count| count.at.elapsed() <= RECOUNT);
        }
        let mut known = trees.get(first).copied();
        let admitted = Count::admit(&mut known, tree, sizes, most);
        // A count that is not kept is made again.
        if let Some(count) = known.filter(|_| trees.len() < TREES || trees.contains_key(first)) {
            trees.insert(first.clone(), count);
        }
        admitted.map_err(|used| self.tree_is_full(used))
    }

    fn tree_is_full(&self, used: u64) -> Failure {
        let most = self.limits.tree_bytes;
        refused(format!(
            "the workspaces of this task, its parents and all their children have {used} bytes and may have \
             {most} together. Write less, or shorten other files with write_file; an administrator may raise \
             `quota.tree_bytes`"
        ))
    }

    fn check_total(&self, workspace: &Path, sizes: (u64, u64)) -> Result<(), Failure> {
        let most = self.limits.total_bytes;
        let Some(folder) = workspace.parent().filter(|_| most != u64::MAX) else {
            return Ok(());
        };
        let mut total = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = Count::admit(&mut total, &[folder.to_owned()], sizes, most);
        admitted.map_err(|used| self.all_is_full(used))
    }

    fn all_is_full(&self, used: u64) -> Failure {
        let most = self.limits.total_bytes;
        refused(format!(
            "the workspaces of all tasks have {used} bytes and may have {most} together. An administrator has \
             to raise `quota.total_bytes`, or delete old tasks with `opspawn retention run`"
        ))
    }
}

fn refused(message: String) -> Failure {
    Failure::last("disk_quota", message)
}

/// The files below a folder. More than `most` are not counted.
fn used(root: &Dir, most: u64) -> io::Result<Used> {
    let mut used = Used::default();
    let walked = walk(root, |_, found| {
        match found {
            Found::Entry(entry) => {
                // One that is gone by now has no bytes.
                used.bytes += entry.metadata().map_or(0, |metadata| metadata.len());
                used.files += 1;
            }
            Found::Folder => {}
            Found::Closed(error) => return ControlFlow::Break(Some(error)),
            Found::TooDeep => {
                let message = format!("it has folders more than {MAX_DEPTH} deep");
                return ControlFlow::Break(Some(io::Error::other(message)));
            }
        }
        match used.files > most.saturating_add(1) {
            true => ControlFlow::Break(None),
            false => ControlFlow::Continue(()),
        }
    });
    match walked? {
        ControlFlow::Break(Some(error)) => Err(error),
        ControlFlow::Break(None) | ControlFlow::Continue(()) => Ok(used),
    }
}

/// The bytes of the files below a folder; a folder that cannot be read has no bytes.
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
mod tests;
