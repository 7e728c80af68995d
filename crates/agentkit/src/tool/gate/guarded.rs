//! Limits of calls and guards on results, as the gate applies them.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, TryAcquireError};

use crate::{
    event::Failure,
    policy::{CallLimit, ResultGuards},
    tool::{Effect, OutputPart, ToolContext, ToolOutput, gate::doubt},
};

/// A result of more bytes is looked at beside the other work.
const AT_ONCE: usize = 64 << 10;

/// Waits for the places of a call. The wait does not count against the time of the call.
pub(super) async fn places(
    name: &str,
    limits: &[CallLimit],
    context: &ToolContext,
) -> Result<Vec<OwnedSemaphorePermit>, Failure> {
    let mut places = Vec::new();
    // In the order of the policy, which is the same for all calls: no two calls wait for one another.
    for semaphore in limits.iter().filter_map(|limit| limit.places.as_ref()) {
        let place = match Arc::clone(semaphore).try_acquire_owned() {
            Ok(place) => place,
            Err(TryAcquireError::NoPermits) => tokio::select! {
                place = Arc::clone(semaphore).acquire_owned() => place.map_err(|_| cancelled(name))?,
                () = context.cancel.cancelled() => return Err(cancelled(name)),
            },
            Err(TryAcquireError::Closed) => return Err(cancelled(name)),
        };
        places.push(place);
    }
    Ok(places)
}

fn cancelled(name: &str) -> Failure {
    let message = format!("the run was cancelled while tool `{name}` waited for its turn");
    Failure::last("cancelled", message)
}

/// The outcome of a call as the model may be told it.
pub(super) async fn output(
    name: &str,
    guards: ResultGuards,
    outcome: Result<ToolOutput, Failure>,
    effect: Effect,
) -> Result<ToolOutput, Failure> {
    if guards.is_empty() {
        return outcome;
    }
    let looked_at = match outcome {
        Ok(output) if size(&output.content) + parts_size(&output.parts) > AT_ONCE => {
            bounded::pool::run(move |_| guarded(&guards, output)).await
        }
        Ok(output) => guarded(&guards, output),
        Err(mut failure) => {
            // The message of a failure is a text of the tool as well.
            failure.message = match guards.text(failure.message) {
                Ok(message) => message,
                Err(why) => format!("tool `{name}` failed, and its message is withheld: {why}"),
            };
            return Err(failure);
        }
    };
    looked_at.map_err(|why| withheld(name, &why, effect))
}

/// The failure of a call whose result the model must not be told.
pub(super) fn withheld(name: &str, why: &str, effect: Effect) -> Failure {
    let message = format!(
        "tool `{name}` ran, and its result is withheld: {why}{}",
        doubt(effect)
    );
    Failure::last("result_withheld", message)
}

fn guarded(guards: &ResultGuards, mut output: ToolOutput) -> Result<ToolOutput, String> {
    output.content = guards.value(output.content)?;
    let parts = output.parts.into_iter().map(|part| {
        Ok(match part {
            OutputPart::Text(text) => OutputPart::Text(guards.text(text)?),
            OutputPart::Structured(value) => OutputPart::Structured(guards.value(value)?),
            other => other,
        })
    });
    output.parts = parts.collect::<Result<_, String>>()?;
    Ok(output)
}

fn parts_size(parts: &[OutputPart]) -> usize {
    let sizes = parts.iter().map(|part| match part {
        OutputPart::Text(text) => text.len(),
        OutputPart::Structured(value) => size(value),
        OutputPart::Image(_) | OutputPart::Audio { .. } | OutputPart::ResourceLink { .. } => 0,
    });
    sizes.sum()
}

/// About the bytes of a value.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| name.len() + size(value))
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}
