//! `list_files`: the content of a folder of the workspace.

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

use crate::{
    globs::{self, Filter, Globs},
    workspace::{UNFINISHED, blocking, failure, folder_path, stopped},
};

/// The most entries that are listed.
const MAX_LISTED: usize = 10_000;
/// The most entries that are looked at to find the first entries.
const MAX_SEEN: usize = 1_000_000;

pub(crate) struct ListFiles(ToolSpec);

#[derive(Deserialize)]
struct Arguments {
    path: Option<String>,
    #[serde(default)]
    recursive: bool,
    max_entries: Option<usize>,
    after: Option<String>,
    #[serde(flatten)]
    globs: Globs,
}

impl ListFiles {
    pub(crate) fn new() -> Self {
        let description = "Lists the files and folders of a folder of the workspace, sorted by \
            path, with the sizes of the files. Where there are more, go on with `after` set to \
            `next`.";
        let mut schema = json!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "Relative to the workspace; ."},
                "recursive": {"type": "boolean", "description": "Also what is below; false"},
                "max_entries": {
                    "type": "integer", "minimum": 1, "maximum": MAX_LISTED,
                    "description": format!("The most entries to list; {MAX_LISTED}"),
                },
                "after": {"type": "string", "description": "Go on after this path"},
            },
            "additionalProperties": false,
        });
        globs::describe(&mut schema);
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
            let arguments: Arguments = crate::arguments(arguments)?;
            let path = folder_path(arguments.path.as_deref().unwrap_or("."))?;
            let depth = if arguments.recursive {
                Depth::All
            } else {
                Depth::One
            };
            let listing = Listing {
                max: arguments.max_entries.unwrap_or(MAX_LISTED),
                after: arguments.after,
                filter: arguments.globs.compile()?,
                entries: BTreeMap::new(),
                seen: 0,
                count: 0,
                unreadable: Vec::new(),
            };
            blocking(context, move |root, abandoned| {
                listing.walk(root, path, depth, abandoned)
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
struct Listing {
    max: usize,
    after: Option<String>,
    filter: Filter,
    entries: BTreeMap<String, Value>,
    seen: usize,
    /// Of those that are wanted, how many come after where the list goes on.
    count: usize,
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
            match self.list(root, &folder, depth, abandoned) {
                Ok(below) => folders.extend(below),
                Err(_) if abandoned.is_cancelled() => return Err(stopped()),
                Err(error) if folder == path => return Err(failure(&path, &error)),
                // It went away meanwhile, or is not ours to read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => self.unreadable.push(folder.to_string_lossy().into_owned()),
            }
        }
        Ok(self.result())
    }

    /// Lists one folder and returns the folders in it that are listed as well.
    fn list(
        &mut self,
        root: &Dir,
        folder: &Path,
        depth: Depth,
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
            let path = globs::below(folder, name);
            let kind = entry.file_type()?;
            let wanted = if kind.is_dir() {
                self.filter.takes_folder(&path)
            } else {
                self.filter.takes_file(&path)
            };
            if wanted {
                self.add(path.to_string_lossy().into_owned(), &entry, kind);
            }
            if kind.is_dir() && depth == Depth::All && self.filter.enters(&path) {
                below.push(path);
            }
        }
        Ok(below)
    }

    fn add(&mut self, path: String, entry: &DirEntry, kind: FileType) {
        if self.after.as_ref().is_some_and(|after| path <= *after) {
            return;
        }
        self.count += 1;
        if self.entries.len() == self.max
            && self
                .entries
                .last_key_value()
                .is_some_and(|last| path > *last.0)
        {
            return;
        }
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
        if self.entries.len() > self.max {
            self.entries.pop_last();
        }
    }

    fn result(self) -> Value {
        let mut result = json!({ "count": self.count });
        let first = self.entries.len();
        if self.seen == MAX_SEEN {
            result["cut"] = format!(
                "these are the first {first} of the {MAX_SEEN} files and folders that were looked \
                 at: list the folders one by one"
            )
            .into();
        } else if self.count > first {
            result["cut"] = format!("these are the first {first} of {}", self.count).into();
            if let Some((last, _)) = self.entries.last_key_value() {
                result["next"] = last.as_str().into();
            }
        }
        self.filter.tell(&mut result);
        if !self.unreadable.is_empty() {
            result["unreadable"] = self.unreadable.into();
        }
        result["entries"] = self.entries.into_values().collect();
        result
    }
}
