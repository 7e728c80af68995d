//! `list_files`: what is in a folder of the workspace.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    tool::{Effect, Resource, Resources, ToolContext, ToolOutput},
};
use cap_std::fs::{Dir, DirEntry, FileType};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::workspace::{UNFINISHED, blocking, failure, folder_path, stopped};

/// The most entries that are listed.
const MAX_LISTED: usize = 10_000;
/// The most entries that are looked at to find the first ones.
const MAX_SEEN: usize = 1_000_000;

pub(crate) struct ListFiles(ToolSpec);

#[derive(Deserialize)]
struct Arguments {
    path: Option<String>,
    #[serde(default)]
    recursive: bool,
}

impl ListFiles {
    pub(crate) fn new() -> Self {
        let description = "Lists the files and folders of a folder of the workspace, sorted by \
            path, with the sizes of the files.";
        let schema = json!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "Relative to the workspace; ."},
                "recursive": {"type": "boolean", "description": "Also what is below; false"},
            },
            "additionalProperties": false,
        });
        Self(ToolSpec::new("list_files", description, schema).effect(Effect::Pure))
    }
}

impl Tool for ListFiles {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn resources(&self, arguments: &Value) -> Resources {
        let path = crate::folder(arguments);
        Resources::reads([match arguments["recursive"] {
            Value::Bool(true) => Resource::tree(path),
            _ => Resource::folder(path),
        }])
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move {
            let Arguments { path, recursive } = crate::arguments(arguments)?;
            let path = folder_path(path.as_deref().unwrap_or("."))?;
            let depth = if recursive { Depth::All } else { Depth::One };
            blocking(context, move |root, abandoned| {
                Listing::default().walk(root, path, depth, abandoned)
            })
            .await
            .map(ToolOutput::from)
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    One,
    All,
}

/// The first entries by path, of those seen so far.
#[derive(Default)]
struct Listing {
    entries: BTreeMap<String, Value>,
    seen: usize,
    unreadable: Vec<String>,
}

impl Listing {
    fn walk(
        mut self,
        root: &Dir,
        path: PathBuf,
        depth: Depth,
        abandoned: &CancellationToken,
    ) -> Result<Value, Failure> {
        let mut folders = vec![path.clone()];
        while let Some(folder) = folders.pop() {
            match self.list(root, &folder, abandoned) {
                Ok(below) if depth == Depth::All => folders.extend(below),
                Ok(_) => {}
                Err(_) if abandoned.is_cancelled() => return Err(stopped()),
                Err(error) if folder == path => return Err(failure(&path, &error)),
                // It went away meanwhile, or is not ours to read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => self.unreadable.push(folder.to_string_lossy().into_owned()),
            }
        }
        Ok(self.result())
    }

    /// Lists one folder and returns the folders in it.
    fn list(
        &mut self,
        root: &Dir,
        folder: &Path,
        abandoned: &CancellationToken,
    ) -> io::Result<Vec<PathBuf>> {
        let mut below = Vec::new();
        for entry in root.read_dir(folder)? {
            if abandoned.is_cancelled() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if self.seen == MAX_SEEN {
                break;
            }
            let entry = entry?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(UNFINISHED) {
                continue;
            }
            self.seen += 1;
            let path = if folder.as_os_str() == "." {
                name.into()
            } else {
                folder.join(name)
            };
            let kind = entry.file_type()?;
            self.add(path.to_string_lossy().into_owned(), &entry, kind);
            if kind.is_dir() {
                below.push(path);
            }
        }
        Ok(below)
    }

    fn add(&mut self, path: String, entry: &DirEntry, kind: FileType) {
        let listed = if kind.is_file() {
            let bytes = entry.metadata().map(|metadata| metadata.len()).ok();
            json!({"path": path, "type": "file", "bytes": bytes})
        } else if kind.is_dir() {
            json!({"path": path, "type": "folder"})
        } else if kind.is_symlink() {
            json!({"path": path, "type": "symlink"})
        } else {
            json!({"path": path, "type": "special"})
        };
        self.entries.insert(path, listed);
        if self.entries.len() > MAX_LISTED {
            self.entries.pop_last();
        }
    }

    fn result(self) -> Value {
        let mut result = json!({ "count": self.seen });
        if self.seen > self.entries.len() {
            let more = if self.seen == MAX_SEEN {
                " or more"
            } else {
                ""
            };
            let first = self.entries.len();
            result["cut"] = format!(
                "these are the first {first} of {}{more}: list the folders one by one",
                self.seen
            )
            .into();
        }
        if !self.unreadable.is_empty() {
            result["unreadable"] = self.unreadable.into();
        }
        result["entries"] = self.entries.into_values().collect();
        result
    }
}
