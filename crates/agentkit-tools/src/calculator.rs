//! `calculator`: exact decimal arithmetic.
//!
//! Numbers are decimals of up to 28 digits, so that `0.1 + 0.2` is `0.3`. What does not fit, such
//! as `1/3`, is rounded to the nearest; what is too large, or so small that only zero would be left
//! of it, is an error.

mod number;
mod parser;

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    tool::{Effect, Resources, ToolContext, ToolOutput},
};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

/// The longest expression, in bytes.
const MAX_LENGTH: usize = 64 * 1024;

pub(crate) struct Calculator(ToolSpec);

#[derive(Deserialize)]
struct Arguments {
    expression: String,
}

impl Calculator {
    pub(crate) fn new() -> Self {
        let description = "Calculates exactly, with decimals of 28 digits. Operators: + - * / % \
            (remainder, with the sign of the dividend) and ^ (or **, whole exponents, binds \
            tighter than minus, from the right). Functions: sum, avg, min, max (any number of \
            values), abs, sqrt, floor, ceil, round(x, places) (halves away from zero). Write \
            numbers like 1234.5 or 1.2e3, without thousands separators.";
        let schema = json!({
            "type": "object",
            "properties": {
                "expression": {
                    "type": "string",
                    "description": "For instance round(sum(12.5, 7) * 1.19, 2)",
                },
            },
            "required": ["expression"],
            "additionalProperties": false,
        });
        Self(ToolSpec::new("calculator", description, schema).effect(Effect::Pure))
    }
}

impl Tool for Calculator {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn resources(&self, _: &Value) -> Resources {
        Resources::none()
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move {
            let Arguments { expression } = crate::arguments(arguments)?;
            let result = evaluate(&expression)?;
            Ok(json!({"result": result.to_string()}).into())
        })
    }
}

/// The value of an expression, without trailing zeros.
fn evaluate(expression: &str) -> Result<Decimal, Failure> {
    if expression.len() > MAX_LENGTH {
        let message = format!(
            "the expression has {} bytes, and {MAX_LENGTH} is the limit",
            expression.len()
        );
        return Err(Failure::last("invalid_expression", message));
    }
    parser::evaluate(expression)
        .map(|value| value.normalize())
        .map_err(|error| {
            let column = expression[..error.at].chars().count() + 1;
            Failure::last(
                error.problem.code(),
                format!("{} at column {column}", error.problem),
            )
        })
}

/// What is wrong with an expression, and where.
#[derive(Debug)]
struct Located {
    /// The byte at which it is.
    at: usize,
    problem: Problem,
}

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Problem {
    /// It cannot be read.
    Syntax(String),
    DivisionByZero,
    TooLarge,
    TooSmall,
    /// A function or operator has no value there.
    Undefined(&'static str),
}

impl Problem {
    fn code(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "invalid_expression",
            Self::DivisionByZero => "division_by_zero",
            Self::TooLarge | Self::TooSmall => "overflow",
            Self::Undefined(_) => "undefined",
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Syntax(problem) => f.write_str(problem),
            Self::DivisionByZero => f.write_str("division by zero"),
            Self::TooLarge => f.write_str("the value is too large: the limit is about 7.9e28"),
            Self::TooSmall => f.write_str("the value is too small: it would round to zero"),
            Self::Undefined(problem) => f.write_str(problem),
        }
    }
}

#[cfg(test)]
mod tests;
