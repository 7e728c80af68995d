//! Answers that are JSON of a given schema: what the model is told, and how its words are read.

use jsonschema::Validator;
use serde_json::Value;

use super::{Reading, lenient};
use crate::{
    event::Failure,
    model::ResponseSchema,
    run::{OutputConfig, Run},
    tool::violations,
};

/// The code of an answer that does not match.
const MISMATCH: &str = "output_mismatch";
/// The code of an answer that cannot be read as what was asked for.
pub(super) const UNREADABLE: &str = "unreadable_answer";

/// A schema that no answer can be held to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the output schema is not a valid JSON Schema: {reason}")]
pub struct OutputError {
    reason: String,
}

/// Whether answers can be held to a schema. Nothing is fetched: a `$ref` may only point into it.
///
/// # Errors
/// [`OutputError`] says what is wrong with it.
pub fn check_schema(schema: &Value) -> Result<(), OutputError> {
    let wrong = |reason: String| OutputError { reason };
    if !schema.is_object() {
        return Err(wrong("it must be an object".to_owned()));
    }
    validator(schema).map(drop).map_err(wrong)
}

fn validator(schema: &Value) -> Result<Validator, String> {
    let built = jsonschema::options().offline().build(schema);
    built.map_err(|error| match error.instance_path().as_str() {
        "" => error.to_string(),
        pointer => format!("at `{pointer}`: {error}"),
    })
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

/// What a model is told that cannot be held to a schema.
pub(crate) fn in_words(schema: &ResponseSchema) -> String {
    format!(
        "Once you need no more tools, your whole answer must be one JSON value that matches this \
         JSON Schema, without any other text: {}",
        schema.schema
    )
}

/// The answer of a run: text as it is, or JSON where there is a schema.
pub(super) fn read(run: &Run, text: &str) -> Reading {
    let Some(output) = config(run) else {
        return Reading::Answer(Value::String(text.to_owned()));
    };
    let wrong = match (lenient::whole(text), validator(&output.schema)) {
        (None, _) => "is not JSON".to_owned(),
        (Some(_), Err(reason)) => format!("has no valid schema: {reason}"),
        (Some(value), Ok(validator)) => match violations(&validator, &value) {
            None => return Reading::Answer(value),
            Some(wrong) => format!("does not match its JSON Schema: {wrong}"),
        },
    };
    Reading::Refused(Failure::last(MISMATCH, wrong))
}

/// What the model is told of its last answer, if that cannot be used.
pub(crate) fn refusal(run: &Run) -> Option<String> {
    let error = &run.refused()?.error;
    let output = config(run).filter(|_| error.code == MISMATCH);
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
    let output = config(run).filter(|_| refused.error.code == MISMATCH);
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
            MISMATCH,
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
