//! The text of a script, read and checked.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde::Deserialize;
use toml::Spanned;

use super::{
    compile::{RawCase, cases},
    template::{Arguments, Condition, Templates, Text},
};
use crate::{event::FinishReason, model::ModelErrorKind};

/// What a script that says nothing of summaries answers when it is asked for one.
const SUMMARY: &str = "This model follows a script, and keeps no notes of what it leaves behind.";

/// The longest script, in bytes.
const MAX_BYTES: usize = 1024 * 1024;

/// A checked script; the module's documentation tells its format.
#[derive(Debug)]
pub struct Script {
    name: String,
    turns: Vec<Vec<Case>>,
    summary: Vec<Case>,
    /// Index of the turn that follows the last one.
    repeat_from: Option<usize>,
    pub(super) templates: Templates,
}

/// What is wrong with a script, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("script, line {line}: {message}")]
pub struct ScriptError {
    /// The line; the first is 1.
    pub line: usize,
    /// What is wrong there.
    pub message: String,
}

/// One way that a turn can go.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) when: Option<Condition>,
    pub(super) latency: Duration,
    pub(super) act: Act,
}

#[derive(Debug)]
pub(super) enum Act {
    Say(Say),
    Fail(Fault),
    Falter(Falter),
}

#[derive(Debug)]
pub(super) struct Say {
    pub(super) content: Text,
    pub(super) calls: Vec<Call>,
    pub(super) finish: FinishReason,
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) tool: String,
    pub(super) arguments: Arguments,
}

#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: ModelErrorKind,
    pub(super) retry_after: Option<Duration>,
}

/// Fails a few times first.
#[derive(Debug)]
pub(super) struct Falter {
    pub(super) fault: Fault,
    pub(super) left: AtomicU32,
    pub(super) say: Say,
}

impl Falter {
    pub(super) fn fails(&self) -> bool {
        let take = |left: u32| left.checked_sub(1);
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }
}

impl Script {
    /// Reads a script and compiles its templates.
    ///
    /// # Errors
    /// [`ScriptError`] names the line, and what to write there.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        if text.len() > MAX_BYTES {
            let message = format!("it has more than {MAX_BYTES} bytes; write fewer turns");
            return Err(ScriptError { line: 1, message });
        }
        let line = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        let raw: RawScript = toml::from_str(text).map_err(|error| ScriptError {
            line: line(error.span().map_or(0, |span| span.start)),
            message: error.message().trim().replace('\n', " "),
        })?;
        let count = raw.turn.len();
        let wrong = |message: String| ScriptError { line: 1, message };
        if count == 0 {
            return Err(wrong(
                "there is no turn; add a [[turn]] with an `answer`".to_owned(),
            ));
        }
        let repeat_from = match raw.repeat_from {
            Some(turn) if (1..=count).contains(&turn) => Some(turn - 1),
            Some(turn) => {
                let message =
                    format!("`repeat_from = {turn}` is no turn; use one from 1 to {count}");
                return Err(wrong(message));
            }
            None => None,
        };
        let mut templates = Templates::new();
        let mut turns = Vec::with_capacity(count);
        let placed = |(at, message)| ScriptError {
            line: line(at),
            message,
        };
        for turn in raw.turn {
            turns.push(cases(turn, raw.latency_ms, &mut templates).map_err(placed)?);
        }
        let summary = raw
            .summary
            .unwrap_or_else(|| Spanned::new(0..0, RawCase::answer(SUMMARY)));
        let summary = cases(summary, raw.latency_ms, &mut templates).map_err(placed)?;
        templates.complete();
        let name = raw.name.unwrap_or_else(|| "script".to_owned());
        Ok(Self {
            name,
            turns,
            summary,
            repeat_from,
            templates,
        })
    }

    /// The script's name; `script` if it gives none.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many turns are written down.
    pub(super) fn len(&self) -> usize {
        self.turns.len()
    }

    /// The cases of a summary of what no longer fits the context.
    pub(super) fn summary(&self) -> &[Case] {
        &self.summary
    }

    /// The cases of a turn of a run; the first turn is 1.
    pub(super) fn cases(&self, turn: usize) -> Option<&[Case]> {
        let index = turn - 1;
        let index = match self.repeat_from {
            Some(from) if index >= self.turns.len() => {
                from + (index - self.turns.len()) % (self.turns.len() - from)
            }
            Some(_) | None => index,
        };
        self.turns.get(index).map(Vec::as_slice)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScript {
    name: Option<String>,
    #[serde(default)]
    latency_ms: u64,
    repeat_from: Option<usize>,
    summary: Option<Spanned<RawCase>>,
    #[serde(default)]
    turn: Vec<Spanned<RawCase>>,
}
