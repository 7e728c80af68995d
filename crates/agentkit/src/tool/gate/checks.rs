//! Checks of what a tool has returned.

use bounded::schema::CheckError;

use super::doubt;
use crate::{
    event::Failure,
    tool::{ToolContext, ToolOutput, registry::Entry},
};

/// Checks a result against the tool's schema of results.
pub(super) async fn check_output(
    entry: &Entry,
    output: &ToolOutput,
    context: &ToolContext,
) -> Result<(), Failure> {
    let Some(schema) = &entry.output else {
        return Ok(());
    };
    let name = &entry.spec.name;
    let checked = tokio::select! {
        biased;
        checked = schema.check(&output.content) => checked,
        () = context.cancel.cancelled() => {
            let message = format!(
                "the run was cancelled before the result of tool `{name}` was checked{}",
                doubt(entry.spec.effect),
            );
            return Err(Failure::last("cancelled", message));
        }
    };
    checked.map_err(|error| match error {
        CheckError::Violations(violations) => Failure::last(
            "invalid_output",
            format!(
                "tool `{name}` ran, but its result does not match its output_schema: {violations}"
            ),
        ),
        CheckError::TooCostly => Failure::last(
            error.code(),
            format!("tool `{name}` ran, but its result cannot be checked: {error}"),
        ),
    })
}

/// A tool that waits returns no result yet.
pub(super) fn check_wait(entry: &Entry, output: &ToolOutput) -> Result<(), Failure> {
    if output.content.is_null() && output.parts.is_empty() && output.files.is_empty() {
        return Ok(());
    }
    let message = format!(
        "tool `{}` ran, but returned a result although it waits for one",
        entry.spec.name,
    );
    Err(Failure::last("invalid_output", message))
}
