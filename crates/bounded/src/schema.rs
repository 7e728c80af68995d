//! JSON Schemas that cannot be made to cost more than a bound, and the values checked against them.
//!
//! Every schema of the product is compiled here and every value is checked here: arguments of tools,
//! their results, answers, arguments that a person edits, and checks of evaluations.
//!
//! # What is bounded
//! - A schema: its bytes, its depth, its subschemas, and what its patterns weigh, all before anything
//!   is built. [`SchemaError::code`] tells a schema that is too large from an invalid schema.
//! - A check: its steps. Each subschema is asked about each part of a value once at most, so that an
//!   ordinary schema and an ordinary value stay far below the bound; what goes over it is refused
//!   with [`CheckError::TooCostly`].
//! - A description of what is wrong: a few places, found without building what is not told.
//!
//! # Where it runs
//! A check of some thousand steps runs where it is asked for. A larger one runs on the
//! [`pool`], with a stack of its own; so does the compilation of a schema that is large
//! or has costly patterns, if [`Schema::prepare`] is used. Compiled schemas are kept, up to a bound.
//!
//! ```
//! use bounded::schema::Schema;
//! use serde_json::json;
//!
//! let schema = Schema::compile(&json!({
//!     "type": "object",
//!     "properties": {"path": {"type": "string"}},
//!     "required": ["path"],
//! }))?;
//! assert!(schema.check_blocking(&json!({"path": "a.txt"})).is_ok());
//! let wrong = schema.check_blocking(&json!({"path": 5})).unwrap_err();
//! assert_eq!(wrong.to_string(), r#"at `/path`: 5 is not of type "string""#);
//! # Ok::<(), bounded::schema::SchemaError>(())
//! ```

mod cache;
mod compile;
mod document;
mod evaluate;
mod explain;
mod keyword;
mod lint;
mod mend;
mod patterns;
mod values;

use std::{fmt, sync::Arc};

use serde_json::Value;

use self::{
    evaluate::{Budget, Evaluator, FULL, INLINE_BUDGET, NO_RESOURCE, Spent},
    keyword::Compiled,
};
pub use self::{
    explain::{Violation, Violations},
    lint::{meaningless, unwrapped},
};
use crate::pool::{self, Stop};

/// A schema of fewer bytes than this is compiled where it stands, unless its patterns are costly.
const LIGHT_BYTES: u64 = 32 * 1024;
/// Patterns of fewer bytes than this, all together, are not costly.
const LIGHT_PATTERNS: usize = 512;

/// A compiled JSON Schema: drafts 4, 6, 7, 2019-09 and 2020-12, formats checked. A clone is cheap.
#[derive(Clone)]
pub struct Schema {
    compiled: Arc<Compiled>,
}

/// A schema that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The schema is not valid, or refers outside of itself.
    #[error("{}{reason}", place(.at))]
    Invalid {
        /// Where, as a JSON Pointer.
        at: String,
        /// The mistake there, in a sentence.
        reason: String,
    },
    /// The schema is larger than a schema may be.
    #[error("it is too large: {limit}")]
    TooLarge {
        /// The limit that it is over.
        limit: Limit,
    },
    /// The schema refers to itself without looking at a part of the value.
    #[error(
        "a `$ref` leads back to itself on the same value, so that no check would end; let it stand \
         under `properties` or `items`"
    )]
    Circle,
}

/// Bound of a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// Its text.
    #[error("it has more than {} KiB; leave out descriptions, or split it", compile::MAX_BYTES / 1024)]
    Bytes,
    /// Depth of nesting.
    #[error(
        "it nests deeper than {} levels; use `$defs` and `$ref`",
        compile::MAX_DEPTH
    )]
    Depth,
    /// Its subschemas.
    #[error(
        "it has more than {} subschemas; use `$defs` and `$ref`",
        compile::MAX_NODES
    )]
    Subschemas,
    /// Keywords that are costly to prepare.
    #[error("it has too many keywords `{0}`; leave some out")]
    Keywords(&'static str),
    /// Its patterns.
    #[error(
        "the pattern at `{at}` would take its patterns over {} bytes or {} states; use smaller counts \
         and classes, or `maxLength` in place of a count",
        patterns::MAX_LENGTH,
        patterns::MAX_WEIGHT
    )]
    Patterns {
        /// Where the pattern stands, as a JSON Pointer.
        at: String,
    },
}

/// Why a value was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// The value does not match.
    #[error("{0}")]
    Violations(Violations),
    /// Checking the value would take too long.
    #[error(
        "whether it matches the schema takes more than {} million steps to find out; send a smaller \
         value, or use a schema with fewer alternatives and simpler patterns",
        FULL.steps / 1_000_000
    )]
    TooCostly,
}

fn place(at: &str) -> String {
    match at {
        "" => String::new(),
        at => {
            let end = at.floor_char_boundary(200);
            format!("at `{}`: ", &at[..end])
        }
    }
}

impl SchemaError {
    /// The stable code: `invalid_schema` or `schema_too_large`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } | Self::Circle => "invalid_schema",
            Self::TooLarge { .. } => "schema_too_large",
        }
    }
}

impl CheckError {
    /// The stable code: `schema_violation` or `schema_too_costly`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Violations(_) => "schema_violation",
            Self::TooCostly => "schema_too_costly",
        }
    }

    /// The places that are wrong; one for the value as a whole if it was too costly.
    #[must_use]
    pub fn violations(self) -> Vec<Violation> {
        match self {
            Self::Violations(violations) => violations.list,
            Self::TooCostly => vec![Violation {
                at: String::new(),
                message: self.to_string(),
            }],
        }
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema")
            .field("subschemas", &self.compiled.nodes.len())
            .finish_non_exhaustive()
    }
}

impl Schema {
    /// Compiles a schema, unless the schema was used lately. A large one takes up to some tenths
    /// of a second: inside an async runtime, [`Schema::prepare`] keeps its threads free.
    ///
    /// # Errors
    /// The reason why the schema cannot be used. A `$ref` may only point into the schema itself, or to a draft's own
    /// schema: no document is ever fetched.
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        if let Some(compiled) = cache::get(schema) {
            return Ok(Self { compiled });
        }
        let compiled = Arc::new(compile::compile(schema)?);
        cache::put(schema, &compiled);
        Ok(Self { compiled })
    }

    /// Compiles a schema: here if that costs little, else on the pool.
    ///
    /// # Errors
    /// As [`Schema::compile`].
    pub async fn prepare(schema: &Value) -> Result<Self, SchemaError> {
        if is_light(schema)? {
            return Self::compile(schema);
        }
        if let Some(compiled) = cache::get(schema) {
            return Ok(Self { compiled });
        }
        let schema = schema.clone();
        pool::run(move |_| Self::compile(&schema)).await
    }

    /// Checks a value: here if that costs little, else on the pool. Dropping the future ends the check.
    ///
    /// # Errors
    /// The mistakes of the value.
    pub async fn check(&self, value: &Value) -> Result<(), CheckError> {
        if let Ok(checked) = self.attempt(value, INLINE_BUDGET, None) {
            return checked;
        }
        let (schema, value) = (self.clone(), value.clone());
        pool::run(move |stop| schema.finish(&value, Some(stop))).await
    }

    /// Checks a value and waits for it, on a large stack if need be: for programs without an async
    /// runtime.
    ///
    /// # Errors
    /// As [`Schema::check`].
    pub fn check_blocking(&self, value: &Value) -> Result<(), CheckError> {
        match self.attempt(value, INLINE_BUDGET, None) {
            Ok(checked) => checked,
            Err(_) => pool::on_large_stack(|| self.finish(value, None)),
        }
    }

    /// Makes a value as a model writes it into the one that it means, and checks that: a whole number
    /// written as `3.0` where an integer is wanted becomes `3`, and `null` for a property that may be
    /// missing and does not take `null` is left out.
    ///
    /// # Errors
    /// As [`Schema::check`]; the value that was checked comes along.
    pub async fn accept(&self, mut value: Value) -> (Value, Result<(), CheckError>) {
        if !mend::may_need_edits(&value) {
            let checked = self.check(&value).await;
            return (value, checked);
        }
        match self.mended(&mut value, INLINE_BUDGET, None) {
            Ok(()) => {
                let checked = self.check(&value).await;
                (value, checked)
            }
            Err(_) => {
                let schema = self.clone();
                pool::run(move |stop| {
                    // Without the steps to mend it, it is checked as it is.
                    let _ = schema.mended(&mut value, FULL, Some(stop));
                    let checked = schema.finish(&value, Some(stop));
                    (value, checked)
                })
                .await
            }
        }
    }

    fn mended(&self, value: &mut Value, budget: Budget, stop: Option<&Stop>) -> Result<(), Spent> {
        let mut evaluator = Evaluator::new(&self.compiled, budget, stop);
        let edits = evaluator.edits(self.compiled.root, value, NO_RESOURCE)?;
        edits.apply(value);
        Ok(())
    }

    fn attempt(
        &self,
        value: &Value,
        budget: Budget,
        stop: Option<&Stop>,
    ) -> Result<Result<(), CheckError>, Spent> {
        let root = self.compiled.root;
        let mut evaluator = Evaluator::new(&self.compiled, budget, stop);
        if evaluator.holds(root, value, NO_RESOURCE)? {
            return Ok(Ok(()));
        }
        let violations = evaluator.violations(root, value, NO_RESOURCE);
        Ok(Err(CheckError::Violations(violations)))
    }

    fn finish(&self, value: &Value, stop: Option<&Stop>) -> Result<(), CheckError> {
        // Nobody hears the answer of a check that was stopped.
        let checked = self.attempt(value, FULL, stop);
        checked.unwrap_or(Err(CheckError::TooCostly))
    }
}

/// Whether compiling a schema costs little.
fn is_light(schema: &Value) -> Result<bool, SchemaError> {
    let bytes = compile::measure(schema)?;
    Ok(bytes <= LIGHT_BYTES && pattern_bytes(schema) <= LIGHT_PATTERNS)
}

/// Bytes of possible patterns. A count such as `{100}` makes much of little, so that each counts
/// for more.
fn pattern_bytes(value: &Value) -> usize {
    let of = |pattern: &str| {
        let costly = pattern.contains("\\p") || pattern.contains('{');
        pattern.len() * if costly { 8 } else { 1 }
    };
    match value {
        Value::Object(map) => map.iter().fold(0, |sum, (key, inner)| {
            sum + match (key.as_str(), inner) {
                ("pattern", Value::String(pattern)) => of(pattern),
                ("patternProperties", Value::Object(patterns)) => {
                    let own: usize = patterns.keys().map(|pattern| of(pattern)).sum();
                    own + pattern_bytes(inner)
                }
                _ => pattern_bytes(inner),
            }
        }),
        Value::Array(items) => items.iter().map(pattern_bytes).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests;
