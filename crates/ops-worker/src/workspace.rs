//! A task's folder: made when it is needed, and filled from the blob store where files are missing.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    path::{Component, Path, PathBuf},
};

use ops_core::{
    TaskId, TenantId,
    ports::{Fut, RunStore, StoreError, Workspaces},
};

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
/// If it is empty, absolute, or has a part that is not a plain name.
pub fn checked_path(workspace: &Path, path: &str) -> Result<PathBuf, WorkspaceError> {
    let relative = Path::new(path);
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if path.is_empty() || path.contains('\0') || !relative.components().all(plain) {
        return Err(WorkspaceError::Path(path.chars().take(200).collect()));
    }
    Ok(workspace.join(relative))
}

/// The folders of tasks, each under its task's id.
#[derive(Debug, Clone)]
pub struct Folders {
    /// Where they are.
    pub dir: PathBuf,
}

impl Workspaces for Folders {
    fn remove(&self, task: TaskId) -> Fut<'_, ()> {
        let folder = self.dir.join(task.to_string());
        Box::pin(async move {
            let shown = folder.display().to_string();
            let removed =
                tokio::task::spawn_blocking(move || std::fs::remove_dir_all(folder)).await;
            match removed.unwrap_or_else(|_| Err(io::Error::other("it was broken off"))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, folder = shown, "the folder of a deleted task stays");
                }
                Ok(()) | Err(_) => {}
            }
        })
    }
}

/// Writes the files that a task begins with, unless they are there.
pub(crate) async fn seed(
    workspace: &Path,
    files: BTreeMap<String, String>,
) -> Result<(), WorkspaceError> {
    for (path, content) in files {
        let target = checked_path(workspace, &path)?;
        if !target.exists() {
            write(target, path, content.into_bytes()).await?;
        }
    }
    Ok(())
}

/// Brings back the files that the run's tools wrote and that are not there: the workspace follows
/// the task.
pub(crate) async fn materialise(
    store: &dyn RunStore,
    tenant: TenantId,
    workspace: &Path,
    files: &BTreeMap<String, Option<String>>,
) -> Result<(), WorkspaceError> {
    for (path, digest) in files {
        let target = checked_path(workspace, path)?;
        match digest {
            Some(digest) if !target.exists() => {
                let bytes = store.value(tenant, digest, 0, u64::MAX).await?;
                write(target, path.clone(), bytes).await?;
            }
            None if target.exists() => {
                std::fs::remove_file(&target).map_err(|source| failed(path, source))?;
            }
            Some(_) | None => {}
        }
    }
    Ok(())
}

/// Writes a file so that it is there as a whole or not at all, and stays there after a power loss.
async fn write(target: PathBuf, path: String, bytes: Vec<u8>) -> Result<(), WorkspaceError> {
    let written = tokio::task::spawn_blocking(move || {
        let folder = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
        std::fs::create_dir_all(folder)?;
        // The names that begin so are kept for unfinished files, also by the tools.
        let name = format!(".opspawn-unfinished-seed-{}", std::process::id());
        let unfinished = folder.join(name);
        let mut file = std::fs::File::create(&unfinished)?;
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
    use super::*;

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
