//! `write_file`: writes a file of the workspace as a whole.
//!
//! A reader sees the old content or the new, never a part, and a call that is repeated leaves the
//! same state.

use std::sync::Arc;

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    tool::{Effect, Resource, Resources, ToolContext, ToolOutput},
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    quota::Quota,
    replace::{Destination, replace},
    workspace::{blocking, file_path},
};

pub(crate) struct WriteFile {
    spec: ToolSpec,
    quota: Arc<Quota>,
}

#[derive(Deserialize)]
struct Arguments {
    path: String,
    content: String,
}

impl WriteFile {
    pub(crate) fn new(quota: &Arc<Quota>) -> Self {
        let description = "Writes a text file of the workspace, replacing it if it is there. \
            Folders on its path are made.";
        let schema = json!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "Relative to the workspace"},
                "content": {"type": "string", "description": "The whole content"},
            },
            "required": ["path", "content"],
            "additionalProperties": false,
        });
        Self {
            spec: ToolSpec::new("write_file", description, schema).effect(Effect::Idempotent),
            quota: Arc::clone(quota),
        }
    }
}

impl Tool for WriteFile {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn resources(&self, arguments: &Value) -> Resources {
        Resources::writes([Resource::file(crate::text(arguments, "path"))])
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move {
            let Arguments { path, content } = crate::arguments(arguments)?;
            let path = file_path(&path)?;
            let content = Bytes::from(content);
            let bytes = content.clone();
            let destination = Destination::of(context, &self.quota);
            let path = blocking(context, move |root, abandoned| {
                replace(root, &path, &bytes, &destination, abandoned)
            })
            .await?;
            let path = path.to_string_lossy().into_owned();
            Ok(ToolOutput {
                content: json!({"path": path, "bytes": content.len()}),
                files: vec![(path, Some(content))],
                parts: Vec::new(),
                follow_up: None,
            })
        })
    }
}
