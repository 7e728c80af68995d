//! The jail of the file tools: a task's own folder.
//!
//! A path is checked as text for a clear message, and then resolved beneath the folder by cap-std,
//! which on Linux leaves it to the kernel (`openat2` with `RESOLVE_BENEATH`): no symbolic link and
//! no race with another process leads outside.

use std::{
    io::{self, Read as _},
    path::{Component, Path, PathBuf},
};

use agentkit::{event::Failure, tool::ToolContext};
use cap_std::{
    ambient_authority,
    fs::{Dir, File, OpenOptions, OpenOptionsExt as _},
};
use rustix::{fs::OFlags, io::Errno};
use tokio_util::sync::CancellationToken;

/// Names that begin like this are files that a write has not finished. They are hidden from tools.
pub(crate) const UNFINISHED: &str = ".opspawn-unfinished-";

const MAX_PATH: usize = 4000;
const MAX_NAME: usize = 255;

/// Does blocking work in the workspace, off the async threads.
///
/// The token that the work gets fires once nobody waits for it any more: the gate drops the future
/// of a call whose time is over, and that alone stops no thread.
pub(crate) async fn blocking<T: Send + 'static>(
    context: &ToolContext,
    work: impl FnOnce(&Dir, &CancellationToken) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let abandoned = context.cancel.child_token();
    let _guard = abandoned.clone().drop_guard();
    let folder = context.workspace.clone();
    let task = tokio::task::spawn_blocking(move || {
        let root = Dir::open_ambient_dir(folder, ambient_authority()).map_err(|error| {
            let message = format!("the workspace of this task cannot be opened: {error}");
            Failure::passing("workspace_unavailable", message)
        })?;
        work(&root, &abandoned)
    });
    match task.await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(stopped()),
    }
}

/// The failure of work that was abandoned.
pub(crate) fn stopped() -> Failure {
    Failure::passing("cancelled", "the call was stopped before it was done")
}

/// The path of a file, relative to the workspace.
pub(crate) fn file_path(text: &str) -> Result<PathBuf, Failure> {
    let path = folder_path(text)?;
    if path == Path::new(".") || text.ends_with('/') || text.ends_with("/.") {
        return Err(invalid(text, "names a folder: name a file in it"));
    }
    Ok(path)
}

/// The path of a folder (or file), relative to the workspace; `.` for the workspace itself.
pub(crate) fn folder_path(text: &str) -> Result<PathBuf, Failure> {
    if text.is_empty() {
        return Err(invalid(text, "is empty"));
    }
    if text.contains('\0') {
        return Err(invalid(text, "contains a NUL byte"));
    }
    if text.len() > MAX_PATH {
        return Err(invalid(text, &format!("is longer than {MAX_PATH} bytes")));
    }
    let mut path = PathBuf::new();
    for component in Path::new(text).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) if name.len() > MAX_NAME => {
                return Err(invalid(
                    text,
                    &format!("has a name longer than {MAX_NAME} bytes"),
                ));
            }
            Component::Normal(name) if name.to_string_lossy().starts_with(UNFINISHED) => {
                return Err(invalid(
                    text,
                    &format!("has a name that begins with `{UNFINISHED}`"),
                ));
            }
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                return Err(invalid(
                    text,
                    "contains `..`: give it from the workspace down",
                ));
            }
            Component::RootDir | Component::Prefix(_) => {
                return Err(invalid(
                    text,
                    "is absolute: give it relative to the workspace",
                ));
            }
        }
    }
    if path.as_os_str().is_empty() {
        path.push(".");
    }
    Ok(path)
}

fn invalid(path: &str, problem: &str) -> Failure {
    let shown: String = path.chars().take(100).collect();
    let dots = if shown.len() < path.len() { "..." } else { "" };
    Failure::last("invalid_path", format!("path {shown:?}{dots} {problem}"))
}

/// A regular file, open for reading, and its size.
pub(crate) fn open_file(root: &Dir, path: &Path) -> Result<(File, u64), Failure> {
    let failed = |error| failure(path, &error);
    // Opening a FIFO would wait for its other end.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags.bits().cast_signed());
    let file = root.open_with(path, &options).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        let message = format!("`{}` is a folder; use list_files", path.display());
        return Err(Failure::last("is_a_folder", message));
    }
    if !metadata.is_file() {
        let message = format!("`{}` is not a regular file", path.display());
        return Err(Failure::last("not_a_file", message));
    }
    Ok((file, metadata.len()))
}

/// The whole content of a file of at most `max` bytes.
pub(crate) fn read_whole(root: &Dir, path: &Path, max: u64) -> Result<Vec<u8>, Failure> {
    let (file, size) = open_file(root, path)?;
    let mut bytes = Vec::new();
    // It may grow while it is read.
    if size <= max {
        let mut limited = file.take(max + 1);
        limited
            .read_to_end(&mut bytes)
            .map_err(|error| failure(path, &error))?;
    }
    if size.max(bytes.len() as u64) > max {
        let message = format!("`{}` has more than {max} bytes, the limit", path.display());
        return Err(Failure::last("file_too_large", message));
    }
    Ok(bytes)
}

/// The failure of the file system, with a stable code.
pub(crate) fn failure(path: &Path, error: &io::Error) -> Failure {
    let path = path.display();
    let last = |code, message: &str| Failure::last(code, format!("`{path}` {message}"));
    match error.kind() {
        io::ErrorKind::NotFound => last("not_found", "does not exist; list_files tells what does"),
        io::ErrorKind::IsADirectory => last("is_a_folder", "is a folder"),
        io::ErrorKind::NotADirectory => last("not_a_folder", "is not a folder, or is below a file"),
        // cap-std's own refusal carries no error number of the system.
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => {
            last("outside_workspace", "leads outside the workspace")
        }
        io::ErrorKind::PermissionDenied => last("permission_denied", "is not permitted"),
        _ if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
            last("not_a_file", "is not a regular file")
        }
        _ => Failure::passing("io_error", format!("`{path}`: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_paths_from_the_workspace_down() {
        for (text, expected) in [
            ("a", "a"),
            ("a/b.txt", "a/b.txt"),
            ("./a//b", "a/b"),
            ("a/./b", "a/b"),
            ("...", "..."),
        ] {
            assert_eq!(file_path(text).unwrap(), Path::new(expected), "{text}");
        }
        for text in [".", "./", "./."] {
            assert_eq!(folder_path(text).unwrap(), Path::new("."), "{text}");
        }
        assert_eq!(folder_path("a/").unwrap(), Path::new("a"));
    }

    #[test]
    fn refuses_paths_that_cannot_be_inside() {
        let long_name = "n".repeat(256);
        let long_path = "a/".repeat(2001);
        for (text, problem) in [
            ("", "is empty"),
            ("a\0b", "NUL"),
            ("/etc/passwd", "is absolute"),
            ("..", "contains `..`"),
            ("a/../../b", "contains `..`"),
            ("a/..", "contains `..`"),
            (".", "names a folder"),
            ("a/", "names a folder"),
            ("a/.", "names a folder"),
            (long_name.as_str(), "longer than 255 bytes"),
            (long_path.as_str(), "longer than 4000 bytes"),
            ("a/.opspawn-unfinished-call_1-0", "begins with"),
        ] {
            let error = file_path(text).unwrap_err();
            assert_eq!(error.code, "invalid_path");
            assert!(error.message.contains(problem), "{}", error.message);
            assert!(error.message.len() < 200);
        }
    }
}
