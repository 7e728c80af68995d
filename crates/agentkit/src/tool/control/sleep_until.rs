//! `sleep_until`: waits for a point in time.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{FollowUp, Seconds};
use crate::{
    BoxFuture, Tool, ToolSpec,
    event::{CallWait, Failure},
    time,
    tool::{Effect, Resources, ToolContext, ToolOutput},
};

/// Waits for a point in time.
pub struct SleepUntil(ToolSpec);

#[derive(Deserialize)]
struct Arguments {
    until: Option<String>,
    seconds: Option<Seconds>,
}

impl SleepUntil {
    /// The tool.
    #[must_use]
    pub fn new() -> Self {
        let description = "Waits until a point in time, or for a number of seconds, and tells the \
            time then. It may wait for days. Give one of the two.";
        let schema = json!({
            "type": "object",
            "properties": {
                "until": {"type": "string", "description": "RFC 3339, for instance 2026-01-31T09:00:00Z"},
                "seconds": Seconds::schema("How long to wait"),
            },
            "additionalProperties": false,
        });
        // Pure: the time is waited for by the run, not by the call.
        Self(ToolSpec::new("sleep_until", description, schema).effect(Effect::Pure))
    }
}

impl Default for SleepUntil {
    fn default() -> Self {
        Self::new()
    }
}

impl Tool for SleepUntil {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn resources(&self, _: &Value) -> Resources {
        Resources::none()
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move {
            let now = context.now_micros;
            let (until_micros, length_micros) = match super::arguments(arguments)? {
                Arguments {
                    until: Some(text),
                    seconds: None,
                } => match time::parse_rfc3339(&text) {
                    Some(until) => (until, None),
                    None => {
                        let text: String = text.chars().take(64).collect();
                        let message = format!(
                            "`{text}` is not a point in time like {}",
                            time::rfc3339(now)
                        );
                        return Err(Failure::last("invalid_time", message));
                    }
                },
                Arguments {
                    until: None,
                    seconds: Some(seconds),
                } => (seconds.after(now), Some(seconds.micros())),
                Arguments { .. } => {
                    let message = "give either `until` or `seconds`";
                    return Err(Failure::last("invalid_arguments", message));
                }
            };
            Ok(FollowUp::Wait(CallWait::Time {
                until_micros,
                length_micros,
            })
            .into())
        })
    }
}
