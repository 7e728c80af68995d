//! `calculator`: exact arithmetic with fractions.
//!
//! `0.1 + 0.2` is `0.3`, and `1/3*3` is `1`. A value without an exact form, such as `sqrt(2)`, is carried
//! with a bound of its error, and the result says how many of its digits are right. What is too
//! large, or so small that only zero would be left of it, is an error.

mod function;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod near;
mod number;
mod parser;
mod show;

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    tool::{Effect, Resources, ToolContext, ToolOutput},
};
use dashu_ratio::RBig;
use serde::Deserialize;
use serde_json::{Value, json};

use self::show::Shown;
use crate::workspace::stopped;

/// The longest expression, in bytes.
const MAX_LENGTH: usize = 64 * 1024;
/// The longest expression that is evaluated where it is asked for, in bytes.
const QUICK_LENGTH: usize = 256;

pub(crate) struct Calculator(ToolSpec);

#[derive(Deserialize)]
struct Arguments {
    expression: String,
}

impl Calculator {
    pub(crate) fn new() -> Self {
        let description = "Calculates exactly, with fractions of any size; `exact` says whether the \
            result is the exact value, and `digits` how many of its digits are right if not. \
            Operators: + - * / (also × ÷ −), ^ or ** (also ² ³), √, and %: 50% is 0.5, but before a \
            number, a name or ( it is the remainder, 7 % 3. Functions: sum, avg, min, max (any \
            number of values), abs, sqrt, floor, ceil, round(x, places) (halves away from zero), \
            mod, pow, exp, ln, log10, log2, log(x, base); constants pi and e. Write numbers like \
            1234.5 or 1.2e3, without thousands separators, and a space after each comma.";
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
            let shown = if is_quick(&expression) {
                evaluate(&expression)?
            } else {
                // A long one takes a second or two.
                let work = tokio::task::spawn_blocking(move || evaluate(&expression));
                work.await.map_err(|_| stopped())??
            };
            let mut result = json!({"result": shown.text, "exact": shown.digits.is_none()});
            if let Some(digits) = shown.digits {
                result["digits"] = digits.into();
            }
            Ok(result.into())
        })
    }
}

/// A fraction as it is shown: exactly, or with the digits that fit.
pub(crate) fn shown(value: RBig) -> String {
    show::show(&number::Number::Exact(value)).text
}

/// Whether an expression takes microseconds: short, with numbers that are written out and the four basic
/// operations only. Such an expression is not worth another thread, whose wakeups cost more than the work.
fn is_quick(expression: &str) -> bool {
    let is_basic = |byte: u8| byte.is_ascii_digit() || b".+-*/() ".contains(&byte);
    expression.len() <= QUICK_LENGTH
        && !expression.contains("**")
        && expression.bytes().all(is_basic)
}

/// The value of an expression, as it is shown.
fn evaluate(expression: &str) -> Result<Shown, Failure> {
    if expression.len() > MAX_LENGTH {
        let message = format!(
            "the expression has {} bytes, and {MAX_LENGTH} is the limit",
            expression.len()
        );
        return Err(Failure::last("invalid_expression", message));
    }
    parser::evaluate(expression)
        .map(|value| show::show(&value))
        .map_err(|error| {
            let column = expression[..error.at].chars().count() + 1;
            Failure::last(
                error.problem.code(),
                format!("{} at column {column}", error.problem),
            )
        })
}

/// A mistake of an expression, and its place.
#[derive(Debug)]
struct Located {
    /// The byte at which it is.
    at: usize,
    problem: Problem,
}

/// A mistake of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Problem {
    /// The expression cannot be read.
    Syntax(String),
    DivisionByZero,
    TooLarge,
    TooSmall,
    /// The expression takes too much work.
    TooLong,
    /// A function or operator has no value there.
    Undefined(&'static str),
}

impl Problem {
    fn code(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "invalid_expression",
            Self::DivisionByZero => "division_by_zero",
            Self::TooLarge | Self::TooSmall => "overflow",
            Self::TooLong => "too_expensive",
            Self::Undefined(_) => "undefined",
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Syntax(problem) => f.write_str(problem),
            Self::DivisionByZero => f.write_str("division by zero"),
            Self::TooLarge => f.write_str("the value is too large: the limit is 1e10000"),
            Self::TooSmall => f.write_str("the value is too small: the limit is 1e-10000"),
            Self::TooLong => {
                f.write_str("the calculation takes too long: split it or round on the way")
            }
            Self::Undefined(problem) => f.write_str(problem),
        }
    }
}

#[cfg(test)]
mod tests;
