//! Reads the body of an answer as its bytes come in. It does no I/O.

use serde::de::IgnoredAny;

use super::{
    draft::{Decode, Draft, Trouble},
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
    /// Events that came, whatever was in them.
    events: usize,
    decoder: Box<dyn Decode>,
    draft: Draft<'a>,
    received: usize,
}

enum Shape {
    Unknown,
    Json,
    Events,
}

impl<'a> Reader<'a> {
    pub(super) fn new(decoder: Box<dyn Decode>, deltas: &'a dyn DeltaSink) -> Self {
        Self {
            shape: Shape::Unknown,
            whole: Vec::new(),
            sse: Sse::default(),
            events: 0,
            decoder,
            draft: Draft::new(deltas),
            received: 0,
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
            events,
            decoder,
            draft,
            ..
        } = self;
        sse.push(bytes, &mut |data| take(data, events, &mut **decoder, draft))
    }

    /// Whether any byte came.
    pub(super) fn has_begun(&self) -> bool {
        self.received > 0
    }

    /// Whether the stream said that nothing more comes.
    pub(super) fn is_done(&self) -> bool {
        self.draft.done
    }

    /// Whether the answer is whole, even if the connection breaks now.
    pub(super) fn is_complete(&self) -> bool {
        self.draft.is_complete()
    }

    /// Whether the model produced something that the provider may charge.
    pub(super) fn has_output(&self) -> bool {
        self.draft.answered
    }

    /// The body is at its end.
    pub(super) fn finish(mut self) -> Result<Draft<'a>, Trouble> {
        match self.shape {
            Shape::Unknown => return Err(Trouble::Malformed("is empty")),
            Shape::Json => self.whole()?,
            Shape::Events => self.last_events()?,
        }
        self.decoder.finish(&mut self.draft);
        Ok(self.draft)
    }

    fn whole(&mut self) -> Result<(), Trouble> {
        if let Err(error) = serde_json::from_slice::<IgnoredAny>(&self.whole) {
            return Err(if error.is_eof() {
                EARLY
            } else {
                Trouble::Malformed("is not valid JSON")
            });
        }
        let taken = self.decoder.take(&self.whole, &mut self.draft);
        if let Err(reported @ Trouble::Reported(_)) = taken {
            return Err(reported);
        }
        if taken.is_ok() && self.draft.answered {
            return Ok(());
        }
        // Some gateways report failures in shapes of their own.
        let report = Report::read(&self.whole);
        if report.message.is_some() {
            return Err(report.into());
        }
        Err(Trouble::Malformed("holds no answer"))
    }

    fn last_events(&mut self) -> Result<(), Trouble> {
        let Self {
            sse,
            events,
            decoder,
            draft,
            ..
        } = self;
        let rest = sse.finish(&mut |data| take(data, events, &mut **decoder, draft));
        if let Err(reported @ Trouble::Reported(_)) = rest {
            Err(reported)
        } else if self.draft.is_complete() {
            Ok(())
        } else if self.events > 0 {
            // What is left over of a stream that broke off need not be readable.
            Err(EARLY)
        } else {
            Err(Trouble::Malformed("is neither JSON nor a stream of events"))
        }
    }
}

const EARLY: Trouble = Trouble::Malformed("ended before it was complete");

/// Takes the data of one event.
fn take(
    data: &[u8],
    events: &mut usize,
    decoder: &mut dyn Decode,
    draft: &mut Draft<'_>,
) -> Result<(), Trouble> {
    let data = data.trim_ascii();
    if data.is_empty() || draft.done {
        return Ok(());
    }
    *events += 1;
    decoder.take(data, draft)
}

#[cfg(test)]
mod tests;
