//! `search_files`: lines of the workspace's files that match a regular expression.

use std::path::{Path, PathBuf};

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    tool::{Effect, Resource, Resources, ToolContext, ToolOutput},
};
use cap_std::fs::Dir;
use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::workspace::{UNFINISHED, blocking, failure, folder_path, read_whole, stopped};

const MAX_PATTERN: usize = 4 * 1024;
/// The most memory of a compiled pattern, in bytes.
const MAX_COMPILED: usize = 1 << 20;
const DEFAULT_MATCHES: usize = 100;
const MAX_MATCHES: usize = 1000;
/// The largest file that is searched, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// The most bytes that are searched, of all files together.
const MAX_SEARCHED: u64 = 1 << 30;
/// The most files and folders that are looked at.
const MAX_SEEN: usize = 100_000;
/// A file with a NUL byte so early is not text.
const SNIFFED: usize = 8 * 1024;
/// Of a line, so much is shown on either side of where the match begins, in bytes.
const MAX_BEFORE: usize = 100;
const MAX_AFTER: usize = 200;
/// How many skipped files are told by name.
const MAX_TOLD: usize = 20;

pub(crate) struct SearchFiles(ToolSpec);

#[derive(Deserialize)]
struct Arguments {
    pattern: String,
    path: Option<String>,
    #[serde(default)]
    ignore_case: bool,
    max_matches: Option<usize>,
}

impl SearchFiles {
    pub(crate) fn new() -> Self {
        let description = "Searches the text files of the workspace, or of a folder of it, for a \
            regular expression (no look-around, no back-references). Each line that matches is \
            shown with its file and number.";
        let schema = json!({
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
            },
            "required": ["pattern"],
            "additionalProperties": false,
        });
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
            let regex = compile(&arguments)?;
            let start = folder_path(arguments.path.as_deref().unwrap_or("."))?;
            let max = arguments.max_matches.unwrap_or(DEFAULT_MATCHES);
            blocking(context, move |root, abandoned| {
                let mut search = Search {
                    root,
                    regex: &regex,
                    max,
                    abandoned,
                    matches: Vec::new(),
                    skipped: Vec::new(),
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

fn compile(arguments: &Arguments) -> Result<Regex, Failure> {
    let invalid = |problem: String| {
        Failure::last(
            "invalid_pattern",
            format!("the pattern cannot be used: {problem}"),
        )
    };
    let pattern = &arguments.pattern;
    if pattern.len() > MAX_PATTERN {
        let size = pattern.len();
        return Err(invalid(format!(
            "it has {size} bytes, and {MAX_PATTERN} is the limit"
        )));
    }
    RegexBuilder::new(pattern)
        .multi_line(true)
        .crlf(true)
        .case_insensitive(arguments.ignore_case)
        .size_limit(MAX_COMPILED)
        .dfa_size_limit(MAX_COMPILED)
        .build()
        .map_err(|error| invalid(error.to_string()))
}

struct Search<'a> {
    root: &'a Dir,
    regex: &'a Regex,
    max: usize,
    abandoned: &'a CancellationToken,
    matches: Vec<Value>,
    /// What was not searched, and why.
    skipped: Vec<Value>,
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
            let path = if folder.as_os_str() == "." {
                name.into()
            } else {
                folder.join(name)
            };
            let kind = entry.file_type()?;
            if kind.is_dir() {
                found.push((path, Kind::Folder));
            } else if kind.is_file() {
                found.push((path, Kind::File));
            }
        }
        found.sort();
        Ok(found)
    }

    fn file(&mut self, path: &Path) -> Result<(), Failure> {
        let content = read_whole(self.root, path, MAX_FILE)?;
        if content[..content.len().min(SNIFFED)].contains(&0) {
            self.skip(path, "is not text");
            return Ok(());
        }
        self.bytes += content.len() as u64;
        if self.bytes > MAX_SEARCHED {
            let limit = MAX_SEARCHED;
            self.cut = Some(format!(
                "more than {limit} bytes to search: search a folder"
            ));
            return Ok(());
        }
        self.files += 1;
        self.lines(path, &content);
        Ok(())
    }

    /// Adds the lines that match.
    fn lines(&mut self, path: &Path, content: &[u8]) {
        let (mut from, mut line, mut counted) = (0, 1, 0);
        while from <= content.len() && !self.abandoned.is_cancelled() {
            let Some(found) = self.regex.find_at(content, from) else {
                break;
            };
            let at = found.start();
            // What is empty at the end of the last line is no line of its own.
            if at == content.len() && (at == 0 || content[at - 1] == b'\n') {
                break;
            }
            if self.matches.len() == self.max {
                self.cut = Some(format!("there are more than {} matches", self.max));
                break;
            }
            line += newlines(&content[counted..at]);
            counted = at;
            let start = content[..at]
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |before| before + 1);
            let end = content[at..]
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(content.len(), |length| at + length);
            self.matches.push(json!({
                "path": path.to_string_lossy(),
                "line": line,
                "text": shown(content, start, at, end),
            }));
            // A match of several lines counts for the first of them.
            let last = found.end().saturating_sub(1).max(at);
            from = content[last..]
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(content.len(), |length| last + length)
                + 1;
        }
    }

    fn skip(&mut self, path: &Path, why: &str) {
        if self.skipped.len() < MAX_TOLD {
            self.skipped
                .push(json!({"path": path.to_string_lossy(), "why": why}));
        }
    }

    fn result(self) -> Value {
        let mut result = json!({
            "count": self.matches.len(),
            "files_searched": self.files,
            "matches": self.matches,
        });
        if let Some(cut) = self.cut {
            result["cut"] = cut.into();
        }
        if !self.skipped.is_empty() {
            result["skipped"] = self.skipped.into();
        }
        result
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    File,
    Folder,
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// A line, or the part of a long one that is around the match.
fn shown(content: &[u8], start: usize, at: usize, end: usize) -> String {
    let from = start.max(at.saturating_sub(MAX_BEFORE));
    let to = end.min(at + MAX_AFTER);
    let text = String::from_utf8_lossy(&content[from..to]);
    let text = text.trim_end_matches('\r');
    let before = if from > start { "..." } else { "" };
    let after = if to < end { "..." } else { "" };
    format!("{before}{text}{after}")
}
