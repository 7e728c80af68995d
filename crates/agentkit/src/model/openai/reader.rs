//! Reads the body of an answer as its bytes come in. It does no I/O.

use super::{
    answer::{Answer, Trouble},
    completion::Completion,
    report::Report,
    sse::Sse,
};
use crate::model::DeltaSink;

/// The longest answer, in bytes on the wire.
const MAX_ANSWER: usize = 32 << 20;

/// Reads the body of an answer as it comes in.
///
/// What is in it, its first byte tells, not the content type, which gateways get wrong: `{` begins
/// a whole answer, `<` a page that is none, and anything else a stream of events.
pub(super) struct Reader<'a> {
    shape: Shape,
    whole: Vec<u8>,
    sse: Sse,
    answer: Answer,
    received: usize,
    deltas: &'a dyn DeltaSink,
}

enum Shape {
    Unknown,
    Json,
    Events,
}

impl<'a> Reader<'a> {
    pub(super) fn new(deltas: &'a dyn DeltaSink) -> Self {
        Self {
            shape: Shape::Unknown,
            whole: Vec::new(),
            sse: Sse::default(),
            answer: Answer::default(),
            received: 0,
            deltas,
        }
    }

    /// Takes more bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.received = self.received.saturating_add(bytes.len());
        if self.received > MAX_ANSWER {
            return Err(Trouble::Malformed("is larger than 32 MiB"));
        }
        match self.shape {
            Shape::Json => self.whole.extend_from_slice(bytes),
            Shape::Events => self.events(bytes)?,
            Shape::Unknown => {
                // White space and the byte order mark say nothing yet.
                let start = bytes.iter().position(|byte| {
                    !byte.is_ascii_whitespace() && !matches!(byte, 0xEF | 0xBB | 0xBF)
                });
                let bytes = start.map_or(&b""[..], |start| &bytes[start..]);
                match bytes.first() {
                    None => {}
                    Some(b'<') => return Err(Trouble::Malformed("is an HTML page")),
                    Some(b'{' | b'[') => {
                        self.shape = Shape::Json;
                        self.whole.extend_from_slice(bytes);
                    }
                    Some(_) => {
                        self.shape = Shape::Events;
                        self.events(bytes)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn events(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let Self {
            sse,
            answer,
            deltas,
            ..
        } = self;
        sse.push(bytes, &mut |data| answer.event(data, *deltas))
    }

    /// Whether any byte came.
    pub(super) fn has_begun(&self) -> bool {
        self.received > 0
    }

    /// Whether the stream said that nothing more comes.
    pub(super) fn is_done(&self) -> bool {
        self.answer.done
    }

    /// Whether the answer is whole, even if the connection breaks now.
    pub(super) fn is_complete(&self) -> bool {
        self.answer.is_complete()
    }

    /// Whether the model produced something that the provider may charge.
    pub(super) fn has_output(&self) -> bool {
        self.answer.answered
    }

    /// The body is at its end.
    pub(super) fn finish(mut self) -> Result<Answer, Trouble> {
        const EARLY: Trouble = Trouble::Malformed("ended before it was complete");
        match self.shape {
            Shape::Unknown => Err(Trouble::Malformed("is empty")),
            Shape::Json => {
                let malformed = match serde_json::from_slice::<Completion>(&self.whole) {
                    Ok(completion) => {
                        self.answer.add(completion, self.deltas)?;
                        if self.answer.answered {
                            return Ok(self.answer);
                        }
                        "has no choices"
                    }
                    Err(error) if error.is_eof() => return Err(EARLY),
                    Err(_) => "is not valid JSON",
                };
                // Some gateways report failures in shapes of their own.
                match Report::read(&self.whole) {
                    report if report.message.is_some() => Err(Trouble::Reported(report)),
                    _ => Err(Trouble::Malformed(malformed)),
                }
            }
            Shape::Events => {
                let Self {
                    sse,
                    answer,
                    deltas,
                    ..
                } = &mut self;
                let rest = sse.finish(&mut |data| answer.event(data, *deltas));
                if let Err(reported @ Trouble::Reported(_)) = rest {
                    Err(reported)
                } else if self.answer.is_complete() {
                    Ok(self.answer)
                } else if self.answer.events > 0 {
                    // What is left over of a stream that broke off need not be readable.
                    Err(EARLY)
                } else {
                    Err(Trouble::Malformed("is neither JSON nor a stream of events"))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
