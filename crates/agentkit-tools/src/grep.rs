//! Lines of a text that match a regular expression.

use std::ops::ControlFlow;

use agentkit::event::Failure;
use regex::bytes::{Regex, RegexBuilder};

const MAX_PATTERN: usize = 4 * 1024;
/// The most memory of a compiled pattern, in bytes.
const MAX_COMPILED: usize = 10 << 20;
/// The most bytes that a pattern keeps while it searches.
const MAX_CACHE: usize = 4 << 20;
/// Of a line, so much is shown on either side of where the match begins, in bytes.
const MAX_BEFORE: usize = 100;
const MAX_AFTER: usize = 200;

/// A line that matches.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    /// From 1.
    pub(crate) line: usize,
    /// Where the match begins, in bytes.
    pub(crate) offset: usize,
    /// The line, or the part of a long line that is around the match.
    pub(crate) text: String,
}

/// A pattern for lines: `^` and `$` match at them.
pub(crate) fn compile(pattern: &str, ignore_case: bool) -> Result<Regex, Failure> {
    let invalid = |problem: String| {
        Failure::last(
            "invalid_pattern",
            format!("the pattern cannot be used: {problem}"),
        )
    };
    if pattern.len() > MAX_PATTERN {
        let size = pattern.len();
        return Err(invalid(format!(
            "it has {size} bytes, and {MAX_PATTERN} is the limit"
        )));
    }
    RegexBuilder::new(pattern)
        .multi_line(true)
        .crlf(true)
        .case_insensitive(ignore_case)
        .size_limit(MAX_COMPILED)
        .dfa_size_limit(MAX_CACHE)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => invalid(format!(
                "compiled it takes more than {limit} bytes; repeat less, or use [0-9A-Za-z_] \
                 instead of \\w"
            )),
            error => invalid(error.to_string()),
        })
}

/// Gives each line that matches, until it is told to stop.
pub(crate) fn lines(regex: &Regex, content: &[u8], mut each: impl FnMut(Hit) -> ControlFlow<()>) {
    let (mut from, mut line, mut counted) = (0, 1, 0);
    while from <= content.len() {
        let Some(found) = regex.find_at(content, from) else {
            return;
        };
        let at = found.start();
        // What is empty at the end of the last line is no line of its own.
        if at == content.len() && (at == 0 || content[at - 1] == b'\n') {
            return;
        }
        line += newlines(&content[counted..at]);
        counted = at;
        let start = content[..at]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |before| before + 1);
        let end = content[at..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(content.len(), |length| at + length);
        let hit = Hit {
            line,
            offset: at,
            text: shown(content, start, at, end),
        };
        if each(hit).is_break() {
            return;
        }
        // A match of several lines counts for the first of them.
        let last = found.end().saturating_sub(1).max(at);
        from = content[last..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(content.len(), |length| last + length)
            + 1;
    }
}

pub(crate) fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// A line, or the part of a long line that is around the match.
fn shown(content: &[u8], start: usize, at: usize, end: usize) -> String {
    let from = start.max(at.saturating_sub(MAX_BEFORE));
    let to = end.min(at + MAX_AFTER);
    let text = String::from_utf8_lossy(&content[from..to]);
    let text = text.trim_end_matches('\r');
    let before = if from > start { "..." } else { "" };
    let after = if to < end { "..." } else { "" };
    format!("{before}{text}{after}")
}
