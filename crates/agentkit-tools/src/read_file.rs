//! `read_file`: a text file of the workspace, in pages.

use std::{
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
};

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    tool::{Effect, Resource, Resources, ToolContext, ToolOutput},
};
use cap_std::fs::Dir;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    page::{MAX_LIMIT, Window},
    workspace::{blocking, failure, file_path, open_file},
};

pub(crate) struct ReadFile(ToolSpec);

#[derive(Deserialize)]
struct Arguments {
    path: String,
    offset: Option<u64>,
    limit: Option<u64>,
}

impl ReadFile {
    pub(crate) fn new() -> Self {
        let description = "Reads a UTF-8 text file of the workspace. A long one comes in pages: \
            go on at `next_offset` until that is null. Offsets are bytes.";
        let schema = json!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "Relative to the workspace"},
                "offset": {"type": "integer", "minimum": 0, "description": "Where to start; 0"},
                "limit": {
                    "type": "integer", "minimum": 1, "maximum": MAX_LIMIT,
                    "description": format!("The most bytes to read; {MAX_LIMIT}"),
                },
            },
            "required": ["path"],
            "additionalProperties": false,
        });
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
            } = crate::arguments(arguments)?;
            let path = file_path(&path)?;
            let window = Window::new(offset, limit, MAX_LIMIT);
            blocking(context, move |root, _| read(root, &path, window))
                .await
                .map(ToolOutput::from)
        })
    }
}

fn read(root: &Dir, path: &Path, window: Window) -> Result<Value, Failure> {
    let failed = |error| failure(path, &error);
    let (mut file, mut total) = open_file(root, path)?;
    let mut bytes = Vec::new();
    if window.offset < total {
        file.seek(SeekFrom::Start(window.offset)).map_err(failed)?;
        let read = file
            .take(window.limit)
            .read_to_end(&mut bytes)
            .map_err(failed)? as u64;
        if read < window.limit {
            // This is the end, even if the file was longer or shorter a moment ago.
            total = window.offset + read;
        }
    }
    window.page(&bytes, total)
}
