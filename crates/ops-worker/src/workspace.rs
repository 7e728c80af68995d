//! A task's folder: made on demand, and filled from the blob store where files are missing.

pub(crate) mod trees;

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Component, Path, PathBuf},
};

use ops_core::{
    TaskId, TenantId,
    ports::{Fut, RunStore, StoreError, Workspaces},
};

use crate::session::LeaseGuard;

/// Why a workspace could not be made.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// A path leads out of the workspace.
    #[error("`{0}` is not a path inside the workspace: use relative paths without `..`")]
    Path(String),
    /// The file system refused.
    #[error("cannot write `{path}` in the workspace: {source}")]
    Io {
        /// The path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The path of a file in a workspace.
///
/// # Errors
/// If the path is empty, absolute, or has a part that is not a plain name.
pub fn checked_path(workspace: &Path, path: &str) -> Result<PathBuf, WorkspaceError> {
    let relative = Path::new(path);
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if path.is_empty() || path.contains('\0') || !relative.components().all(plain) {
        return Err(WorkspaceError::Path(path.chars().take(200).collect()));
    }
    Ok(workspace.join(relative))
}

/// Makes the folder of all workspaces, for its owner alone, as the database is. A folder that an older
/// release opened to all users is closed.
///
/// # Errors
/// If the folder cannot be made or closed.
pub fn private_folder(dir: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(dir)?;
    let mode = std::fs::metadata(dir)?.permissions().mode();
    if mode & 0o077 != 0 {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// The folders of tasks, each under its task's id.
#[derive(Debug, Clone)]
pub struct Folders {
    /// Where they are.
    pub dir: PathBuf,
}

impl Workspaces for Folders {
    fn remove(&self, task: TaskId) -> Fut<'_, ()> {
        let all = self.dir.clone();
        Box::pin(async move {
            let folder = all.join(task.to_string());
            let shown = folder.display().to_string();
            let remove = move || {
                if let Err(error) = trees::leave(&all, task) {
                    tracing::warn!(%error, %task, "the entry of a deleted task in its tree stays");
                }
                std::fs::remove_dir_all(folder)
            };
            let removed = tokio::task::spawn_blocking(remove).await;
            match removed.unwrap_or_else(|_| Err(io::Error::other("it was broken off"))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, folder = shown, "the folder of a deleted task stays");
                }
                Ok(()) | Err(_) => {}
            }
        })
    }
}

/// How far a workspace was filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    /// Every file is there.
    Whole,
    /// The time of the run is over. Its next step says so.
    TimeOver,
    /// The lease is over, the task is cancelled or paused, or the worker stops.
    Interrupted,
}

/// Conditions that end the filling of a workspace between two files. Thousands of files take minutes on a
/// slow disk.
pub(crate) struct Watch<'a> {
    pub(crate) lease_guard: &'a LeaseGuard,
    /// The run's deadline, in UTC microseconds.
    pub(crate) deadline: Option<i64>,
}

impl Watch<'_> {
    fn end(&self) -> Option<Filled> {
        if self.lease_guard.check().is_err() && !units::mutant!("ops-worker.files_to_the_end") {
            return Some(Filled::Interrupted);
        }
        let now = self.lease_guard.clock.now().0;
        let over = self.deadline.is_some_and(|deadline| deadline <= now);
        over.then_some(Filled::TimeOver)
    }
}

/// Writes the files that a task begins with, unless they are there.
pub(crate) async fn seed(
    workspace: &Path,
    files: BTreeMap<String, String>,
    watch: &Watch<'_>,
) -> Result<Filled, WorkspaceError> {
    for (path, content) in files {
        let target = checked_path(workspace, &path)?;
        if target.exists() {
            continue;
        }
        if let Some(end) = watch.end() {
            return Ok(end);
        }
        write(target, path, content.into_bytes()).await?;
    }
    Ok(Filled::Whole)
}

/// Brings back the files that the run's tools wrote and that are not there: the workspace follows
/// the task.
pub(crate) async fn materialise(
    store: &dyn RunStore,
    tenant: TenantId,
    workspace: &Path,
    files: &BTreeMap<String, Option<String>>,
    watch: &Watch<'_>,
) -> Result<Filled, WorkspaceError> {
    for (path, digest) in files {
        let target = checked_path(workspace, path)?;
        if target.exists() == digest.is_some() {
            continue;
        }
        if let Some(end) = watch.end() {
            return Ok(end);
        }
        match digest {
            Some(_) if units::mutant!("ops-worker.a_lost_file_stays_lost") => {}
            Some(digest) => {
                let bytes = store.value(tenant, digest, 0, u64::MAX).await?;
                write(target, path.clone(), bytes).await?;
            }
            None => std::fs::remove_file(&target).map_err(|source| failed(path, source))?,
        }
    }
    Ok(Filled::Whole)
}

/// Writes a file so that it is there as a whole or not at all, and stays there after a power loss.
async fn write(target: PathBuf, path: String, bytes: Vec<u8>) -> Result<(), WorkspaceError> {
    let written = tokio::task::spawn_blocking(move || {
        let folder = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
        std::fs::create_dir_all(folder)?;
        // The names that begin so are kept for unfinished files, also by the tools.
        let name = format!(".opspawn-unfinished-seed-{}", std::process::id());
        let unfinished = folder.join(name);
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, &target)?;
        std::fs::File::open(folder)?.sync_all()
    })
    .await;
    written
        .unwrap_or_else(|_| Err(io::Error::other("writing was broken off")))
        .map_err(|source| failed(&path, source))
}

fn failed(path: &str, source: io::Error) -> WorkspaceError {
    WorkspaceError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::session::WorkerSession;

    /// A clock that stands still.
    struct FixedClock;

    impl ops_core::ports::Clock for FixedClock {
        fn now(&self) -> ops_core::Micros {
            ops_core::Micros(1_000)
        }

        fn boot_micros(&self) -> i64 {
            1_000
        }
    }

    fn leased() -> (Arc<WorkerSession>, LeaseGuard) {
        let id = ops_core::SessionId::from_bytes([1; 16]);
        let session = Arc::new(WorkerSession::new(id));
        session.extend(2_000);
        let task = TaskId::new(ops_core::Micros(1), [0; 10]);
        let lease_guard = session.enter(task, 1, Arc::new(FixedClock));
        (session, lease_guard)
    }

    // Files of the input that are written outside of cancel, deadline and shutdown.
    #[tokio::test]
    async fn files_of_the_input_are_written_as_long_as_the_run_may_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let files = || -> BTreeMap<String, String> {
            (0..20)
                .map(|n| (format!("{n}.txt"), "text".into()))
                .collect()
        };
        let count = || std::fs::read_dir(dir.path()).unwrap().count();
        let (session, lease_guard) = leased();
        let watch = |deadline| Watch {
            lease_guard: &lease_guard,
            deadline,
        };
        let filled = async |deadline| seed(dir.path(), files(), &watch(deadline)).await.unwrap();
        assert_eq!((filled(Some(1_000)).await, count()), (Filled::TimeOver, 0));
        // A file that is there already is none that it takes time to write.
        let one = files().into_iter().take(1).collect();
        let begun = seed(dir.path(), one, &watch(Some(1_001))).await.unwrap();
        assert_eq!((begun, count()), (Filled::Whole, 1));
        session.stop();
        assert_eq!((filled(None).await, count()), (Filled::Interrupted, 1));
        let (session, lease_guard) = leased();
        session.cancel(TaskId::new(ops_core::Micros(1), [0; 10]));
        let watch = Watch {
            lease_guard: &lease_guard,
            deadline: None,
        };
        let cancelled = seed(dir.path(), files(), &watch).await.unwrap();
        assert_eq!((cancelled, count()), (Filled::Interrupted, 1));
    }

    // security/S9: workspaces that everybody reads, beside a database that only its owner does.
    #[tokio::test]
    async fn a_workspace_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let all = dir.path().join("data/workspaces");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        std::fs::create_dir_all(&all).unwrap();
        std::fs::set_permissions(&all, std::fs::Permissions::from_mode(0o755)).unwrap();
        private_folder(&all).unwrap();
        assert_eq!(mode(&all), 0o700);
        let files = BTreeMap::from([("a/b.txt".to_owned(), "text".to_owned())]);
        let (session, lease_guard) = leased();
        let watch = Watch {
            lease_guard: &lease_guard,
            deadline: None,
        };
        let filled = seed(&all.join("task_1"), files, &watch).await.unwrap();
        assert_eq!(filled, Filled::Whole);
        drop(session);
        assert_eq!(mode(&all.join("task_1/a/b.txt")), 0o600);
    }

    #[test]
    fn no_path_leads_out() {
        let folder = Path::new("/w");
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "./../x",
            "a\0b",
            ".",
        ] {
            assert!(checked_path(folder, bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            checked_path(folder, "data/a.csv").unwrap(),
            Path::new("/w/data/a.csv")
        );
    }
}
