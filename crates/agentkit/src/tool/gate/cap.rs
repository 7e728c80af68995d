//! Keeps results within bounds: small results are shown, large results stored apart with a preview.

use std::{
    io::{self, Write},
    path::{Component, Path},
};

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    GateLimits, Outcome,
    parts::{self, StoredParts},
};
use crate::{
    event::{Failure, FileDelta, Handle, StepId},
    tool::{ToolOutput, digest_hex},
};

/// How much of a large result is shown, in bytes of JSON.
const PREVIEW: usize = 4 * 1024;
/// How much of a tool's error message is kept, in bytes.
const MAX_MESSAGE: usize = 4 * 1024;

/// The longest prefix of at most `max` bytes, cut between characters.
pub(super) fn prefix(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// The longest prefix that takes at most `max` bytes as a JSON string, quotes not counted.
///
/// Escaping makes a text up to six times as long, so a page that is to fit into a result has to be
/// measured like this.
#[must_use]
pub fn json_prefix(text: &str, max: usize) -> &str {
    let mut size = 0;
    for (at, c) in text.char_indices() {
        size += match c {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            '\0'..='\u{1f}' => 6,
            other => other.len_utf8(),
        };
        if size > max {
            return &text[..at];
        }
    }
    text
}

/// A tool's own failure, with a message that fits into a log.
pub(super) fn failure(mut failure: Failure) -> Failure {
    let kept = prefix(&failure.message, MAX_MESSAGE).len();
    if kept < failure.message.len() {
        failure.message.truncate(kept);
        failure.message.push_str("...");
    }
    failure
}

/// Caps a tool's output.
pub(super) fn output(
    name: &str,
    output: ToolOutput,
    step: StepId,
    limits: GateLimits,
) -> Result<Outcome, Failure> {
    let too_large = |what: &str| {
        let max = limits.max_result;
        let message = format!(
            "tool `{name}` ran, but {what} has more than {max} bytes, the limit `max_result`"
        );
        Failure::last("result_too_large", message)
    };
    let files = output
        .files
        .into_iter()
        .map(|(path, content)| {
            if content
                .as_ref()
                .is_some_and(|content| content.len() > limits.max_result)
            {
                return Err(too_large(&format!("the file `{path}`")));
            }
            Ok((delta(name, path, content.as_ref())?, content))
        })
        .collect::<Result<_, _>>()?;

    let mut kept = parts::keep(output.parts);
    let content = kept.content(output.content);
    let shown = |output: Value, kept: StoredParts| Outcome {
        output,
        handle: None,
        parts: kept.parts,
        blobs: kept.blobs,
        files: Vec::new(),
        follow_up: None,
    };
    let text = match content {
        Value::String(text) if text.len() > limits.max_result => {
            return Err(too_large("its result"));
        }
        Value::String(text) if text.len() > limits.inline_limit => text,
        Value::String(text) => {
            return Ok(Outcome {
                files,
                follow_up: output.follow_up,
                ..shown(text.into(), kept)
            });
        }
        content => {
            let size =
                json_size(&content, limits.max_result).ok_or_else(|| too_large("its result"))?;
            if size <= limits.inline_limit {
                return Ok(Outcome {
                    files,
                    follow_up: output.follow_up,
                    ..shown(content, kept)
                });
            }
            json_text(&content, size)
        }
    };
    // What is too large to show is not recorded a second time as a part.
    kept.forget_text();
    let handle = Handle {
        digest: digest_hex(text.as_bytes()),
        bytes: text.len() as u64,
    };
    let preview = json_prefix(&text, PREVIEW);
    let start = json!({
        "preview": preview,
        "handle": step.to_string(),
        "bytes": handle.bytes,
        "next_offset": preview.len(),
        "note": "use read_result with this handle to read the rest",
    });
    Ok(Outcome {
        handle: Some((handle, Bytes::from(text))),
        files,
        follow_up: output.follow_up,
        ..shown(start, kept)
    })
}

/// How many bytes the value takes as JSON, unless that is more than `max`.
fn json_size(value: &Value, max: usize) -> Option<usize> {
    struct Counter {
        size: usize,
        max: usize,
    }
    impl Write for Counter {
        fn write(&mut self, part: &[u8]) -> io::Result<usize> {
            if part.len() > self.max - self.size {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            self.size += part.len();
            Ok(part.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter { size: 0, max };
    serde_json::to_writer(&mut counter, value).ok()?;
    Some(counter.size)
}

/// The value as JSON of that size, made without ever holding more.
fn json_text(value: &Value, size: usize) -> String {
    let mut bytes = Vec::with_capacity(size);
    serde_json::to_writer(&mut bytes, value).expect("a value was written once already");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// The record of a written file. Its path is checked, as it names a place in every later workspace.
fn delta(name: &str, path: String, content: Option<&Bytes>) -> Result<FileDelta, Failure> {
    let inside = !path.is_empty()
        && Path::new(&path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
    if !inside {
        let message = format!(
            "tool `{name}` ran, but reported the file `{path}`, which is not in the workspace"
        );
        return Err(Failure::last("invalid_output", message));
    }
    Ok(FileDelta {
        path,
        digest: content.map(|content| digest_hex(content)),
        bytes: content.map_or(0, |content| content.len() as u64),
    })
}
