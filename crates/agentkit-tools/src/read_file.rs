//! `read_file`: a text file of the workspace, in pages.
//!
//! Files of a few megabytes are read whole for each page, so that their encoding is found out from
//! all of it and lines are known by their numbers. Of larger ones only the page is read.

use std::{
    io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    model::Image,
    tool::{Effect, OutputPart, Resource, Resources, ToolContext, ToolOutput},
};
use cap_std::fs::File;
use encoding_rs::Encoding;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    encoding,
    page::{Lines, MAX_LIMIT, Window, describe_lines, of_text},
    workspace::{blocking, failure, file_path, open_file, read_whole, stopped},
};

/// The largest file that is read whole, in bytes.
const MAX_WHOLE: u64 = 16 << 20;
const BOM: &[u8] = b"\xef\xbb\xbf";

pub(crate) struct ReadFile(ToolSpec);

#[derive(Deserialize)]
struct Arguments {
    path: String,
    offset: Option<u64>,
    limit: Option<u64>,
    line: Option<u64>,
    lines: Option<u64>,
    encoding: Option<String>,
}

impl ReadFile {
    pub(crate) fn new() -> Self {
        let description = "Reads a text file of the workspace, or shows an image (PNG, JPEG, GIF, \
            WebP). A long text comes in pages: go on at \
            `next_offset` until that is null. Offsets are bytes of the text as UTF-8. With `line` \
            and `lines` it reads what is around a match of search_files.";
        let mut schema = json!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "Relative to the workspace"},
                "offset": {"type": "integer", "minimum": 0, "description": "Where to start; 0"},
                "limit": {
                    "type": "integer", "minimum": 1, "maximum": MAX_LIMIT,
                    "description": format!("The most bytes to read; {MAX_LIMIT}"),
                },
                "encoding": {
                    "type": "string",
                    "description": "Of the file, for instance windows-1251; found out",
                },
            },
            "required": ["path"],
            "additionalProperties": false,
        });
        describe_lines(&mut schema);
        Self(ToolSpec::new("read_file", description, schema).effect(Effect::Pure))
    }
}

impl Tool for ReadFile {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn resources(&self, arguments: &Value) -> Resources {
        Resources::reads([Resource::file(crate::text(arguments, "path"))])
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move {
            let Arguments {
                path,
                offset,
                limit,
                line,
                lines,
                encoding,
            } = crate::arguments(arguments)?;
            let path = file_path(&path)?;
            let window = Window::new(offset, limit, MAX_LIMIT);
            let lines = Lines::asked(line, lines, offset)?;
            let encoding = encoding.as_deref().map(encoding::named).transpose()?;
            blocking(context, move |root, abandoned| {
                let (file, size) = open_file(root, &path)?;
                if size <= MAX_WHOLE || encoding.is_some() {
                    let bytes = read_whole(root, &path, MAX_WHOLE)?;
                    return match Image::kind_of(&bytes).filter(|_| encoding.is_none()) {
                        Some(kind) => Ok(image(kind, bytes)),
                        None => whole(&path, bytes, window, lines, encoding).map(ToolOutput::from),
                    };
                }
                let mut large = Large {
                    path: &path,
                    file,
                    size,
                };
                large.page(window, lines, abandoned).map(ToolOutput::from)
            })
            .await
        })
    }
}

/// An image, beside its description.
fn image(kind: &str, bytes: Vec<u8>) -> ToolOutput {
    ToolOutput {
        content: json!({"media_type": kind, "bytes": bytes.len()}),
        parts: vec![OutputPart::Image(bytes.into())],
        ..ToolOutput::default()
    }
}

fn whole(
    path: &Path,
    bytes: Vec<u8>,
    window: Window,
    lines: Option<Lines>,
    encoding: Option<&'static Encoding>,
) -> Result<Value, Failure> {
    let text = encoding::decode(bytes, encoding).ok_or_else(|| {
        let message = format!(
            "`{}` is not text: it holds zero bytes or control characters",
            path.display()
        );
        Failure::last("not_text", message)
    })?;
    let mut page = of_text(&text.content, window, lines)?;
    if let Some(told) = text.how.told() {
        page["encoding"] = told.into();
    }
    Ok(page)
}

/// A file that is too large to be read whole; it has to be UTF-8.
struct Large<'a> {
    path: &'a Path,
    file: File,
    size: u64,
}

impl Large<'_> {
    fn page(
        &mut self,
        mut window: Window,
        lines: Option<Lines>,
        abandoned: &CancellationToken,
    ) -> Result<Value, Failure> {
        if let Some(lines) = lines {
            window.offset = self.line(lines.first, abandoned)?;
        }
        let mut bytes = self.read(window)?;
        let mut total = self.size;
        if (bytes.len() as u64) < window.limit {
            // This is the end, even if the file was longer or shorter a moment ago.
            total = window.offset + bytes.len() as u64;
        }
        if window.offset == 0 && bytes.starts_with(BOM) {
            bytes.drain(..BOM.len());
            window.offset = BOM.len() as u64;
        }
        if let Some(lines) = lines {
            bytes.truncate(lines.end(&bytes));
        }
        let mut page = window.page(&bytes, total)?;
        if let Some(lines) = lines {
            lines.tell(&mut page);
        }
        Ok(page)
    }

    fn read(&mut self, window: Window) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        if window.offset < self.size {
            let path = self.path;
            self.file
                .seek(SeekFrom::Start(window.offset))
                .and_then(|_| {
                    let mut part = std::io::Read::by_ref(&mut self.file).take(window.limit);
                    part.read_to_end(&mut bytes)
                })
                .map_err(|error| failure(path, &error))?;
        }
        Ok(bytes)
    }

    /// Where a line begins, or the end if there are not so many.
    fn line(&mut self, line: u64, abandoned: &CancellationToken) -> Result<u64, Failure> {
        let mut reader = BufReader::with_capacity(1 << 20, &mut self.file);
        let (mut offset, mut left) = (0, line - 1);
        while left > 0 {
            if abandoned.is_cancelled() {
                return Err(stopped());
            }
            let buffer = reader
                .fill_buf()
                .map_err(|error| failure(self.path, &error))?;
            if buffer.is_empty() {
                break;
            }
            let mut used = buffer.len();
            for (at, _) in buffer
                .iter()
                .enumerate()
                .filter(|(_, byte)| **byte == b'\n')
            {
                left -= 1;
                if left == 0 {
                    used = at + 1;
                    break;
                }
            }
            reader.consume(used);
            offset += used as u64;
        }
        Ok(offset)
    }
}
