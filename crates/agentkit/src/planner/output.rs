//! Answers that are JSON of a given schema: instructions for the model, and the reading of its answers.

use bounded::schema::{self, CheckError, Schema, SchemaError};
use serde_json::Value;

use super::{
    Reading,
    lenient::{self, Unread},
};
use crate::{
    event::Failure,
    model::ResponseSchema,
    run::{OutputConfig, Run},
    values::MAX_VALUES,
};

/// The code of an answer that does not match.
const MISMATCH: &str = "output_mismatch";
/// The code of an answer that cannot be read as the requested kind.
pub(super) const UNREADABLE: &str = "unreadable_answer";

/// A schema that no answer can be held to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The schema is not valid, or refers outside of itself.
    #[error("the output schema is not a valid JSON Schema: {0}")]
    Invalid(SchemaError),
    /// The schema is larger than a schema may be.
    #[error("the output schema cannot be used: {0}")]
    TooLarge(SchemaError),
    /// A keyword is misspelt, or the schema has no keyword.
    #[error("the output schema does not say what it seems to{}: {message}", location(.at))]
    Meaningless {
        /// Where, as a JSON Pointer.
        at: String,
        /// The mistake at that location.
        message: String,
    },
}

impl OutputError {
    /// The stable code: `invalid_schema` or `schema_too_large`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(error) | Self::TooLarge(error) => error.code(),
            Self::Meaningless { .. } => "invalid_schema",
        }
    }
}

fn location(at: &str) -> String {
    match at {
        "" => String::new(),
        at => format!(" at `{at}`"),
    }
}

/// Whether answers can be held to a schema. The check fetches no document: a `$ref` may only point into the
/// schema.
///
/// # Errors
/// [`OutputError`] names the mistake.
pub fn check_schema(schema: &Value) -> Result<(), OutputError> {
    if !schema.is_object() {
        return Err(OutputError::Invalid(SchemaError::Invalid {
            at: String::new(),
            reason: "it must be an object".to_owned(),
        }));
    }
    Schema::compile(schema)
        .map(drop)
        .map_err(|error| match error {
            SchemaError::TooLarge { .. } => OutputError::TooLarge(error),
            SchemaError::Invalid { .. } | SchemaError::Circle => OutputError::Invalid(error),
        })
}

/// As [`check_schema`], and refuses a schema that constrains less than its author means: a schema with a
/// misspelt keyword, or with no keyword at all, takes any JSON for an answer.
///
/// # Errors
/// As [`check_schema`].
pub fn check_new_schema(schema: &Value) -> Result<(), OutputError> {
    check_schema(schema)?;
    match schema::meaningless(schema) {
        Some((at, message)) => Err(OutputError::Meaningless { at, message }),
        None => Ok(()),
    }
}

fn config(run: &Run) -> Option<&OutputConfig> {
    run.config()?.output.as_ref()
}

/// The schema as a provider is sent it.
pub(super) fn response_schema(run: &Run) -> Option<ResponseSchema> {
    config(run).map(|output| ResponseSchema {
        name: "answer".to_owned(),
        schema: output.schema.clone(),
    })
}

/// The schema as instructions, for a model that cannot be held to a schema.
pub(crate) fn as_instructions(schema: &ResponseSchema) -> String {
    format!(
        "Once you need no more tools, your whole answer must be one JSON value that matches this \
         JSON Schema, without any other text: {}",
        schema.schema
    )
}

/// The answer of a run: text as written, or JSON where the run has a schema. [`held`] checks the schema.
pub(super) fn read(run: &Run, text: &str) -> Reading {
    let Some(output) = config(run) else {
        return Reading::Answer(Value::String(text.to_owned()));
    };
    let wanted = |value: &Value| match output.schema.get("type").and_then(Value::as_str) {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some(_) | None => true,
    };
    let wrong = match lenient::whole(text, wanted) {
        Ok(value) => return Reading::Answer(value),
        Err(Unread::Nothing) => "is not JSON",
        Err(Unread::TooMany) => {
            let wrong = format!("holds more than {MAX_VALUES} JSON values; answer with fewer");
            return Reading::Refused(Failure::last(MISMATCH, wrong));
        }
        Err(Unread::Several) => {
            "holds several JSON values that differ, so none of them is the answer"
        }
    };
    Reading::Refused(Failure::last(MISMATCH, wrong))
}

/// The reading of an answer once the answer is held to the schema of the run, if the run has a schema.
pub(crate) async fn held(run: &Run, reading: Reading) -> Reading {
    let (value, output) = match (reading, config(run)) {
        (Reading::Answer(value), Some(output)) => (value, output),
        (reading, _) => return reading,
    };
    let schema = match Schema::prepare(&output.schema).await {
        Ok(schema) => schema,
        Err(error) => {
            let message = format!("has no valid schema: {error}");
            return Reading::Refused(Failure::last(MISMATCH, message));
        }
    };
    let (value, checked) = schema.accept(value).await;
    match checked {
        Ok(()) => Reading::Answer(value),
        Err(CheckError::Violations(violations)) => {
            let message = format!("does not match its JSON Schema: {violations}");
            Reading::Refused(Failure::last(MISMATCH, message))
        }
        Err(error @ CheckError::TooCostly) => {
            let message = format!("cannot be checked: {error}");
            Reading::Refused(Failure::last(error.code(), message))
        }
    }
}

/// Whether an answer was refused for the schema of the run.
fn is_of_schema(error: &Failure) -> bool {
    error.code == MISMATCH || error.code == CheckError::TooCostly.code()
}

/// The message to the model about its last answer, if the answer was unusable.
pub(crate) fn refusal(run: &Run) -> Option<String> {
    let error = &run.refused()?.error;
    let output = config(run).filter(|_| is_of_schema(error));
    Some(match output {
        Some(output) => format!(
            "Your last answer {}. Answer again, with one JSON value that matches this JSON Schema, \
             and nothing else: {}",
            error.message, output.schema
        ),
        None => format!("Your last answer {}.", error.message),
    })
}

/// Why the model is not asked once more, if it has given too many answers that cannot be used.
pub(crate) fn too_many_refusals(run: &Run) -> Option<Failure> {
    let refused = run.refused()?;
    let output = config(run).filter(|_| is_of_schema(&refused.error));
    let most = match output {
        Some(output) => output.max_reasks,
        None => run.config()?.limits.max_repairs,
    };
    if refused.count <= most {
        return None;
    }
    let (count, wrong) = (refused.count, &refused.error.message);
    Some(match output {
        Some(_) => Failure::last(
            &refused.error.code,
            format!(
                "the model gave {count} answers that cannot be used; the last one {wrong}. Correct \
                 the output schema if no answer can match it, raise the number of re-asks, or use \
                 another model"
            ),
        ),
        None => Failure::last(
            "model_unusable",
            format!(
                "the model gave {count} answers that cannot be used; the last one {wrong}. Use \
                 another model or planner"
            ),
        ),
    })
}
