//! Patterns of `match` and `search` (RFC 9485), and the cost of a match.

use regex::{Regex, RegexBuilder};

use super::query::{Extent, Operand};
use crate::json::Node;

/// How large a compiled pattern may be, in bytes, and how many steps 64 bytes of text then cost. A
/// class like `\w` has hundreds of ranges, so that `\w{1,64}` is a few megabytes.
const SIZES: [(usize, usize); 3] = [(64 << 10, 1), (1 << 20, 8), (10 << 20, 64)];
/// The longest text that is matched, in bytes: one match cannot be stopped.
pub(super) const MAX_TEXT: usize = 4 << 20;

/// The second argument of `match` and `search`.
#[derive(Debug)]
pub(super) enum Pattern {
    Literal(Compiled),
    /// It is a value of the document, or no text.
    Computed(Operand),
}

/// A pattern that is ready, and how many steps 64 bytes of text cost.
#[derive(Debug, Clone)]
pub(super) struct Compiled {
    pub(super) regex: Regex,
    pub(super) weight: usize,
}

impl Pattern {
    /// The pattern that an argument is; why it cannot be used, if that is known already.
    pub(super) fn new(argument: Operand, extent: Extent) -> Result<Self, String> {
        match argument {
            Operand::Literal(Node::String(text)) => {
                Compiled::new(&text, extent, SIZES.len()).map(Self::Literal)
            }
            other => Ok(Self::Computed(other)),
        }
    }
}

impl Compiled {
    /// A pattern that a document holds: there may be many, so each has to be small.
    pub(super) fn of_document(pattern: &str, extent: Extent) -> Result<Self, String> {
        Self::new(pattern, extent, 1)
    }

    fn new(pattern: &str, extent: Extent, sizes: usize) -> Result<Self, String> {
        let mut last = None;
        for (size, weight) in &SIZES[..sizes] {
            match compile(pattern, extent, *size) {
                Ok(regex) => {
                    let weight = *weight;
                    return Ok(Self { regex, weight });
                }
                Err(error @ regex::Error::CompiledTooBig(_)) => last = Some(error),
                Err(error) => return Err(unusable(pattern, &error)),
            }
        }
        let error = last.expect("there is at least one size");
        Err(unusable(pattern, &error))
    }
}

fn compile(pattern: &str, extent: Extent, size: usize) -> Result<Regex, regex::Error> {
    let build = |pattern: &str| {
        RegexBuilder::new(pattern)
            // `.` is neither of the two characters that end a line.
            .crlf(true)
            .size_limit(size)
            .dfa_size_limit(size.max(1 << 20))
            .build()
    };
    let part = build(pattern)?;
    match extent {
        Extent::Part => Ok(part),
        // That it is a pattern by itself is known now, so these parentheses are a pair.
        Extent::Whole => build(&format!(r"\A(?:{pattern})\z")),
    }
}

fn unusable(pattern: &str, error: &regex::Error) -> String {
    let shown: String = pattern.chars().take(100).collect();
    match error {
        regex::Error::CompiledTooBig(limit) => format!(
            "the pattern {shown:?} is too large: compiled it takes more than {limit} bytes; \
             repeat less, or use [0-9A-Za-z_] instead of \\w"
        ),
        error => {
            // Its last line says what is wrong; those before draw where.
            let text = error.to_string();
            let why = text.lines().last().unwrap_or_default().trim();
            let why = why.strip_prefix("error: ").unwrap_or(why);
            format!("the pattern {shown:?} cannot be used: {why}")
        }
    }
}
