//! `ask_human`: puts a question to a person and waits for the answer.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{FollowUp, Seconds};
use crate::{
    BoxFuture, Tool, ToolSpec,
    event::{CallWait, Failure},
    tool::{Effect, Resources, ToolContext, ToolOutput},
};

/// Puts a question to a person and waits for the answer.
///
/// The answer is the payload of the signal `human.` and the call's id, for instance `human.call_7`:
/// a run may have asked several questions, and each has a name of its own.
pub struct AskHuman(ToolSpec);

#[derive(Deserialize)]
struct Arguments {
    question: String,
    options: Option<Vec<String>>,
    timeout_seconds: Option<Seconds>,
}

impl AskHuman {
    /// The tool.
    #[must_use]
    pub fn new() -> Self {
        let description = "Asks a person and waits for the answer, which may take days. Use it when \
            only a person can know or decide.";
        let schema = json!({
            "type": "object",
            "properties": {
                "question": {
                    "type": "string", "minLength": 1, "maxLength": 4_000,
                    "description": "The question, with all that is needed to answer it",
                },
                "options": {
                    "type": "array", "minItems": 2, "maxItems": 20,
                    "items": {"type": "string", "minLength": 1, "maxLength": 200},
                    "description": "Answers to choose from; without them any text",
                },
                "timeout_seconds": Seconds::schema(
                    "How long to wait at the most; until the task's deadline",
                ),
            },
            "required": ["question"],
            "additionalProperties": false,
        });
        // Pure: the question is put by the log that holds it, not by the call.
        Self(ToolSpec::new("ask_human", description, schema).effect(Effect::Pure))
    }
}

impl Default for AskHuman {
    fn default() -> Self {
        Self::new()
    }
}

impl Tool for AskHuman {
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
            let Arguments {
                question,
                options,
                timeout_seconds,
            } = super::arguments(arguments)?;
            let prompt = match options {
                Some(options) => json!({"question": question, "options": options}),
                None => json!({"question": question}),
            };
            let wait = CallWait::Signal {
                name: format!("human.{}", context.step),
                prompt: Some(prompt),
                until_micros: timeout_seconds.map(|timeout| timeout.after(context.now_micros)),
                resume: None,
            };
            Ok(FollowUp::Wait(wait).into())
        })
    }
}
