//! `search_files`: lines of the workspace's files that match a regular expression.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    tool::{Effect, Resource, Resources, ToolContext, ToolOutput},
};
use cap_std::fs::Dir;
use encoding_rs::Encoding;
use regex::bytes::Regex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    encoding,
    globs::{self, Filter, Globs},
    grep,
    workspace::{UNFINISHED, blocking, failure, folder_path, read_whole, stopped},
};

const DEFAULT_MATCHES: usize = 100;
const MAX_MATCHES: usize = 1000;
/// The largest file that is searched, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// The most bytes that are searched, of all files together.
const MAX_SEARCHED: u64 = 1 << 30;
/// The most files and folders that are looked at.
const MAX_SEEN: usize = 100_000;
/// How many files of one kind are told by name.
const MAX_LISTED: usize = 20;

pub(crate) struct SearchFiles(ToolSpec);

#[derive(Deserialize)]
struct Arguments {
    pattern: String,
    path: Option<String>,
    #[serde(default)]
    ignore_case: bool,
    max_matches: Option<usize>,
    max_per_file: Option<usize>,
    after: Option<String>,
    encoding: Option<String>,
    #[serde(flatten)]
    globs: Globs,
}

/// Where a search goes on: behind this line of this file.
struct After {
    path: PathBuf,
    line: usize,
}

impl SearchFiles {
    pub(crate) fn new() -> Self {
        let description = "Searches the text files of the workspace, or of a folder of it, for a \
            regular expression (no look-around, no back-references). Each line that matches is \
            shown with its file and number; read_file shows what is around it. Where there are \
            more, go on with `after` set to `next`.";
        let mut schema = json!({
            "type": "object",
            "properties": {
                "pattern": {
                    "type": "string", "minLength": 1,
                    "description": "For instance fn \\w+\\(; ^ and $ match at lines",
                },
                "path": {"type": "string", "description": "A folder or file; ."},
                "ignore_case": {"type": "boolean", "description": "false"},
                "max_matches": {
                    "type": "integer", "minimum": 1, "maximum": MAX_MATCHES,
                    "description": format!("The most lines to show; {DEFAULT_MATCHES}"),
                },
                "max_per_file": {
                    "type": "integer", "minimum": 1, "maximum": MAX_MATCHES,
                    "description": "The most lines to show of one file",
                },
                "after": {"type": "string", "description": "Go on after this: `next` of a result"},
                "encoding": {
                    "type": "string",
                    "description": "Of all files, for instance windows-1251; found out for each",
                },
            },
            "required": ["pattern"],
            "additionalProperties": false,
        });
        globs::describe(&mut schema);
        // It only reads.
        Self(ToolSpec::new("search_files", description, schema).effect(Effect::Pure))
    }
}

impl Tool for SearchFiles {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn resources(&self, arguments: &Value) -> Resources {
        Resources::reads([Resource::tree(crate::folder(arguments))])
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move {
            let arguments: Arguments = crate::arguments(arguments)?;
            let regex = grep::compile(&arguments.pattern, arguments.ignore_case)?;
            let start = folder_path(arguments.path.as_deref().unwrap_or("."))?;
            let max = arguments.max_matches.unwrap_or(DEFAULT_MATCHES);
            let max_per_file = arguments.max_per_file.unwrap_or(usize::MAX);
            let filter = arguments.globs.compile()?;
            let after = arguments.after.as_deref().map(After::read).transpose()?;
            let encoding = arguments.encoding.as_deref();
            let encoding = encoding.map(encoding::named).transpose()?;
            blocking(context, move |root, abandoned| {
                let mut search = Search {
                    root,
                    regex: &regex,
                    max,
                    max_per_file,
                    filter,
                    after,
                    encoding,
                    abandoned,
                    matches: Vec::new(),
                    skipped: Told::default(),
                    encodings: Told::default(),
                    capped: Told::default(),
                    files: 0,
                    bytes: 0,
                    seen: 0,
                    cut: None,
                };
                search.start(&start)?;
                Ok(search.result())
            })
            .await
            .map(ToolOutput::from)
        })
    }
}

impl After {
    fn read(text: &str) -> Result<Self, Failure> {
        let (path, line) = text
            .rsplit_once(':')
            .and_then(|(path, line)| Some((path, line.parse().ok()?)))
            .ok_or_else(|| {
                let message = "`after` is the `next` of an earlier result, like data/a.txt:12";
                Failure::last("invalid_arguments", message)
            })?;
        let path = folder_path(path)?;
        Ok(Self { path, line })
    }
}

/// Files that something is told of: the first of them, and how many there are.
#[derive(Default)]
struct Told {
    first: Vec<Value>,
    count: usize,
}

impl Told {
    fn add(&mut self, value: impl FnOnce() -> Value) {
        self.count += 1;
        if self.first.len() < MAX_LISTED {
            self.first.push(value());
        }
    }

    fn put(self, name: &str, result: &mut Value) {
        if self.count > self.first.len() {
            result[format!("{name}_count")] = self.count.into();
        }
        if self.count > 0 {
            result[name] = self.first.into();
        }
    }
}

struct Search<'a> {
    root: &'a Dir,
    regex: &'a Regex,
    max: usize,
    max_per_file: usize,
    filter: Filter,
    after: Option<After>,
    encoding: Option<&'static Encoding>,
    abandoned: &'a CancellationToken,
    matches: Vec<Value>,
    /// Files that were not searched, and why.
    skipped: Told,
    /// Files whose encoding was found out.
    encodings: Told,
    /// Files of which not all lines that match are shown.
    capped: Told,
    files: usize,
    bytes: u64,
    seen: usize,
    /// Why there may be more matches.
    cut: Option<String>,
}

impl Search<'_> {
    /// Searches a folder or one file.
    fn start(&mut self, start: &Path) -> Result<(), Failure> {
        let metadata = self
            .root
            .metadata(start)
            .map_err(|error| failure(start, &error))?;
        if !metadata.is_dir() {
            return self.file(start);
        }
        // Names of one folder are taken in their order, and a folder as a whole.
        let mut waiting = vec![(start.to_owned(), Kind::Folder)];
        while let Some((path, kind)) = waiting.pop() {
            if self.abandoned.is_cancelled() {
                return Err(stopped());
            }
            if self.cut.is_some() {
                break;
            }
            match kind {
                Kind::File => match self.file(&path) {
                    // It went away meanwhile.
                    Err(error) if error.code == "not_found" => {}
                    Err(error) => self.skip(&path, &error.message),
                    Ok(()) => {}
                },
                Kind::Folder => match self.folder(&path) {
                    Ok(below) => waiting.extend(below.into_iter().rev()),
                    Err(error) if path == start => return Err(failure(&path, &error)),
                    Err(error) => self.skip(&path, &error.to_string()),
                },
            }
        }
        Ok(())
    }

    /// The files and folders in a folder, by name. Links are not followed.
    fn folder(&mut self, folder: &Path) -> std::io::Result<Vec<(PathBuf, Kind)>> {
        let mut found = Vec::new();
        for entry in self.root.read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(UNFINISHED) {
                continue;
            }
            self.seen += 1;
            if self.seen > MAX_SEEN {
                self.cut = Some(format!(
                    "more than {MAX_SEEN} files and folders: search a folder"
                ));
                break;
            }
            let path = globs::below(folder, name);
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if !self.is_behind(&path) && self.filter.enters(&path) {
                    found.push((path, Kind::Folder));
                }
            } else if kind.is_file() && !self.is_behind(&path) && self.filter.takes_file(&path) {
                found.push((path, Kind::File));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Whether all of it comes before where the search goes on. Paths are searched in their order.
    fn is_behind(&self, path: &Path) -> bool {
        let after = self.after.as_ref();
        after.is_some_and(|after| path < after.path && !after.path.starts_with(path))
    }

    fn file(&mut self, path: &Path) -> Result<(), Failure> {
        let content = read_whole(self.root, path, MAX_FILE)?;
        self.bytes += content.len() as u64;
        if self.bytes > MAX_SEARCHED {
            let limit = MAX_SEARCHED;
            self.cut = Some(format!(
                "more than {limit} bytes to search: search a folder"
            ));
            return Ok(());
        }
        let Some(text) = encoding::decode(content, self.encoding) else {
            self.skip(path, "is not text");
            return Ok(());
        };
        self.files += 1;
        if self.encoding.is_none()
            && let Some(encoding) = text.how.told()
        {
            self.encodings
                .add(|| json!({"path": path.to_string_lossy(), "encoding": encoding}));
        }
        self.lines(path, text.content.as_bytes());
        Ok(())
    }

    /// Adds the lines that match.
    fn lines(&mut self, path: &Path, content: &[u8]) {
        let after = match &self.after {
            Some(after) if after.path == path => after.line,
            Some(_) | None => 0,
        };
        let mut here = 0;
        grep::lines(self.regex, content, |hit| {
            if self.abandoned.is_cancelled() {
                return ControlFlow::Break(());
            }
            if hit.line <= after {
                return ControlFlow::Continue(());
            }
            if self.matches.len() == self.max {
                self.cut = Some(format!("there are more than {} matches", self.max));
                return ControlFlow::Break(());
            }
            if here == self.max_per_file {
                self.capped.add(|| path.to_string_lossy().into());
                return ControlFlow::Break(());
            }
            here += 1;
            self.matches.push(json!({
                "path": path.to_string_lossy(),
                "line": hit.line,
                "text": hit.text,
            }));
            ControlFlow::Continue(())
        });
    }

    fn skip(&mut self, path: &Path, why: &str) {
        self.skipped
            .add(|| json!({"path": path.to_string_lossy(), "why": why}));
    }

    fn result(self) -> Value {
        let next = self.matches.last().map(|last| {
            let path = last["path"].as_str().unwrap_or_default();
            format!("{path}:{}", last["line"])
        });
        let mut result = json!({
            "count": self.matches.len(),
            "files_searched": self.files,
            "matches": self.matches,
        });
        if let Some(cut) = self.cut {
            result["cut"] = cut.into();
            if let Some(next) = next {
                result["next"] = next.into();
            }
        }
        self.skipped.put("skipped", &mut result);
        self.encodings.put("encodings", &mut result);
        self.capped.put("capped", &mut result);
        self.filter.tell(&mut result);
        result
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    File,
    Folder,
}
