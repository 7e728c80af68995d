//! Reads the body of an answer as its bytes come in. It does no I/O.

use serde_json::{Deserializer, value::RawValue};

use super::{
    builder::{AnswerBuilder, Decode, DecodeError},
    classify,
    fields::{self, Fields},
    report::Report,
    sse::{self, Sse},
};
use crate::model::{DeltaSink, Request};

/// The longest answer, in bytes on the wire.
const MAX_ANSWER: usize = 32 << 20;
/// How gzip begins, and nothing else.
const PACKED: u8 = 0x1f;

const EARLY: DecodeError = DecodeError::Malformed("ended before it was complete");
const NO_JSON: DecodeError = DecodeError::Malformed("is not valid JSON");

/// Reads the body of an answer as it comes in.
///
/// What is in it, its first byte tells, not the content type, which gateways get wrong: `{` begins
/// a whole answer, `<` a page that is none, and anything else a stream of events.
pub(super) struct Reader<'a> {
    shape: Shape,
    whole: Vec<u8>,
    sse: Sse,
    documents: Documents<'a>,
    request: &'a Request,
    received: usize,
}

enum Shape {
    Unknown,
    Json,
    Events,
}

/// Documents as they come, and what was read of them.
struct Documents<'a> {
    decoder: Box<dyn Decode>,
    builder: AnswerBuilder<'a>,
    /// How many arrived, readable or not.
    count: usize,
    /// Whether any of them was a JSON object.
    is_json: bool,
    /// A message outside of any answer: the reason, should no answer come.
    stray: Option<Report>,
    /// The document that ended the answer.
    end: Vec<u8>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        decoder: Box<dyn Decode>,
        deltas: &'a dyn DeltaSink,
        request: &'a Request,
    ) -> Self {
        Self {
            shape: Shape::Unknown,
            whole: Vec::new(),
            sse: Sse::default(),
            documents: Documents {
                decoder,
                builder: AnswerBuilder::new(deltas),
                count: 0,
                is_json: false,
                stray: None,
                end: Vec::new(),
            },
            request,
            received: 0,
        }
    }

    /// Takes more bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        self.received = self.received.saturating_add(bytes.len());
        if self.received > MAX_ANSWER {
            return Err(DecodeError::Malformed("is larger than 32 MiB"));
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
                    Some(b'<') => return Err(DecodeError::Malformed("is an HTML page")),
                    Some(&PACKED) => return Err(DecodeError::PACKED),
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

    fn events(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let Self { sse, documents, .. } = self;
        sse.push(bytes, &mut |event| documents.event(event))
    }

    /// Whether any byte came.
    pub(super) fn has_begun(&self) -> bool {
        self.received > 0
    }

    /// Whether the stream said that nothing more comes.
    pub(super) fn is_done(&self) -> bool {
        self.documents.builder.done
    }

    /// Whether the answer is whole, even if the connection breaks now.
    pub(super) fn is_complete(&self) -> bool {
        self.documents.builder.is_complete()
    }

    /// Whether all that may come is an account of the tokens.
    pub(super) fn is_over(&self) -> bool {
        self.documents.builder.is_over()
    }

    /// Whether the model produced something that the provider may charge.
    pub(super) fn has_output(&self) -> bool {
        self.documents.builder.answered
    }

    /// The body is at its end.
    pub(super) fn finish(mut self) -> Result<AnswerBuilder<'a>, DecodeError> {
        match self.shape {
            Shape::Unknown => return Err(DecodeError::Malformed("is empty")),
            Shape::Json => self.json()?,
            Shape::Events => self.last_events()?,
        }
        let Documents {
            mut decoder,
            mut builder,
            ..
        } = self.documents;
        builder.settle(&mut *decoder, self.request)?;
        Ok(builder)
    }

    /// A whole answer; or the documents of a stream as a list, or one after the other.
    fn json(&mut self) -> Result<(), DecodeError> {
        let whole = std::mem::take(&mut self.whole);
        let text = String::from_utf8_lossy(&whole);
        let values = Deserializer::from_str(&text).into_iter::<&RawValue>();
        let values: Vec<&RawValue> = match values.collect::<Result<_, _>>() {
            Ok(values) => values,
            Err(error) if error.is_eof() => return Err(EARLY),
            Err(_) => return Err(NO_JSON),
        };
        let documents = match &*values {
            [whole] if whole.get().starts_with('{') => return self.documents.whole(whole.get()),
            [list] => fields::items(list),
            _ => values,
        };
        for document in documents {
            self.documents.event(sse::Event {
                data: document.get().as_bytes(),
                is_error: false,
            })?;
        }
        self.documents.end()
    }

    fn last_events(&mut self) -> Result<(), DecodeError> {
        let Self { sse, documents, .. } = self;
        let rest = sse.finish(&mut |event| documents.event(event));
        match rest {
            Err(reported @ DecodeError::Reported(_)) => Err(reported),
            // What is left over of a stream that broke off need not be readable.
            Ok(()) | Err(DecodeError::Malformed(_)) => documents.end(),
        }
    }
}

impl Documents<'_> {
    /// Takes an event.
    fn event(&mut self, event: sse::Event<'_>) -> Result<(), DecodeError> {
        let data = event.data.trim_ascii();
        // After the provider's own end only a count of tokens matters.
        let is_again = self.builder.complete && data == self.end;
        if data.is_empty() || self.builder.done || is_again {
            return Ok(());
        }
        self.count += 1;
        if data == b"[DONE]" {
            self.builder.done = true;
            self.decoder.done(&mut self.builder);
            return Ok(());
        }
        let was_complete = self.builder.is_complete();
        let taken = self.document(&String::from_utf8_lossy(data), event.is_error);
        if was_complete {
            return Ok(());
        }
        if self.builder.complete {
            self.end = data.to_vec();
        }
        taken
    }

    fn document(&mut self, text: &str, is_error: bool) -> Result<(), DecodeError> {
        let Some(document) = Fields::read(text) else {
            return match is_error {
                true => Err(Report::read(text.as_bytes()).into()),
                // A cut object may hold a piece of the answer. `null` and plain text hold none.
                false if text.starts_with('{') => Err(NO_JSON),
                false => Ok(()),
            };
        };
        self.is_json = true;
        if is_error || classify::is_failure(&document) {
            return Err(Report::read(text.as_bytes()).into());
        }
        self.decoder.take(&document, &mut self.builder)?;
        let says = ["message", "msg", "detail"]
            .iter()
            .any(|name| document.raw(name).is_some());
        if says && !self.builder.answered && self.stray.is_none() {
            let report = Report::read(text.as_bytes());
            self.stray = report.message.is_some().then_some(report);
        }
        Ok(())
    }

    /// Takes a whole answer.
    fn whole(&mut self, text: &str) -> Result<(), DecodeError> {
        self.document(text, false)?;
        match (self.builder.answered, self.stray.take()) {
            // The first line of a stream that has one document on each.
            (true, _) if self.builder.in_pieces && !self.builder.complete => Err(EARLY),
            (true, _) => Ok(()),
            // Some gateways report failures in shapes of their own.
            (false, Some(report)) => Err(report.into()),
            (false, None) => Err(DecodeError::Malformed("holds no answer")),
        }
    }

    /// No other document comes.
    fn end(&mut self) -> Result<(), DecodeError> {
        if self.builder.is_complete() {
            return Ok(());
        }
        Err(match (self.stray.take(), self.count) {
            (Some(report), _) if !self.builder.answered => report.into(),
            (_, 0) => DecodeError::Malformed("is neither JSON nor a stream of events"),
            _ if !self.is_json && !self.builder.done => NO_JSON,
            _ => EARLY,
        })
    }
}

#[cfg(test)]
mod tests;
