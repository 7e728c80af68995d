//! A tool whose definition has changed since the run began.

use std::sync::Arc;

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    tool::{ToolContext, ToolOutput},
};
use serde_json::Value;

/// Replaces a tool whose definition has changed under a run. The present tool is not the tool that the
/// model was told of, and that a person may have approved.
pub(super) struct Held(ToolSpec);

impl Held {
    pub(super) fn of(tool: &Arc<dyn Tool>) -> Arc<dyn Tool> {
        Arc::new(Self(tool.spec().clone()))
    }
}

impl Tool for Held {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        _: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        let message = format!(
            "the definition of the tool `{}` has changed since this run began, so it was not called; go \
             on without it",
            self.0.name
        );
        Box::pin(std::future::ready(Err(Failure::last(
            "tool_changed",
            message,
        ))))
    }
}
