//! An answer in the making, whatever surface it comes from.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    Config, arguments,
    content::Content,
    fields::Fields,
    report::Report,
    sse::TooLong,
    text::{Joined, Text},
    written,
};
use crate::{
    event::{FinishReason, Usage},
    model::{DeltaSink, Request, Response, ResponseCall, catalog, parts},
};

/// Reads the documents of one surface into a draft. It does no I/O.
pub(super) trait Decode: Send {
    /// Takes a document: a whole answer, or an event of a stream. Unknown events and fields change
    /// nothing: providers add them, and gateways drop others.
    fn take(
        &mut self,
        document: &Fields<'_>,
        builder: &mut AnswerBuilder<'_>,
    ) -> Result<(), DecodeError>;

    /// Takes `[DONE]`, which only some surfaces have.
    fn done(&mut self, _: &mut AnswerBuilder<'_>) {}

    /// Adds the calls that are complete only at the end of the answer.
    fn finish(&mut self, _: &mut AnswerBuilder<'_>) -> Result<(), DecodeError> {
        Ok(())
    }

    /// The JSON of the parts that have to go back to the model. The calls of the draft are in order.
    fn parts(&mut self, builder: &AnswerBuilder<'_>) -> Option<String>;
}

/// Why an answer with HTTP status 200 is none.
#[derive(Debug)]
pub(super) enum DecodeError {
    /// The provider says that it failed.
    Reported(Box<Report>),
    /// It cannot be read; continues "the answer ...".
    Malformed(&'static str),
}

impl DecodeError {
    pub(super) const PACKED: Self =
        Self::Malformed("is compressed, although no compression was asked for");
}

impl From<TooLong> for DecodeError {
    fn from(_: TooLong) -> Self {
        Self::Malformed("has a line of more than 8 MiB")
    }
}

impl From<Report> for DecodeError {
    fn from(report: Report) -> Self {
        Self::Reported(Box::new(report))
    }
}

/// An answer in the making.
pub(super) struct AnswerBuilder<'a> {
    content: Content<'a>,
    pub(super) calls: Vec<Call>,
    /// The text before calls that stood in the text.
    text_before_calls: Option<String>,
    /// Why the answer is not a whole one; none if it is.
    pub(super) finish: Option<FinishReason>,
    pub(super) usage: Option<Counted>,
    pub(super) model: Option<String>,
    pub(super) id: Option<String>,
    /// The JSON of opaque parts.
    parts: Option<String>,
    /// The model began to answer, be it with nothing.
    pub(super) answered: bool,
    /// The answer arrives in pieces, and is incomplete before its end.
    pub(super) in_pieces: bool,
    /// The provider's own end of the answer was seen.
    pub(super) complete: bool,
    /// Text came after that end, so the server marks every piece as the last one.
    goes_on: bool,
    /// Nothing more comes.
    pub(super) done: bool,
}

/// A call in the making. Pieces with the same `index` belong together.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) index: Option<u64>,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: Joined,
    /// A field of the call that has to go back to the model.
    pub(super) extra: Option<Box<RawValue>>,
}

/// What the provider counted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    /// Its price is 0 here.
    pub(super) usage: Usage,
    /// Of the input tokens, those that the provider put into its cache.
    pub(super) written: u64,
    /// The price, where the provider tells it.
    pub(super) cost_micros: Option<u64>,
}

impl<'a> AnswerBuilder<'a> {
    pub(super) fn new(deltas: &'a dyn DeltaSink) -> Self {
        Self {
            content: Content::new(deltas),
            calls: Vec::new(),
            text_before_calls: None,
            finish: None,
            usage: None,
            model: None,
            id: None,
            parts: None,
            answered: false,
            in_pieces: false,
            complete: false,
            goes_on: false,
            done: false,
        }
    }

    /// More words of the answer.
    pub(super) fn push_text(&mut self, piece: &Text<'_>) {
        self.goes_on |= self.complete && !piece.is_empty();
        self.content.push(piece);
    }

    /// Whether the model has said something, be it a call.
    pub(super) fn has_content(&self) -> bool {
        !self.content.is_empty() || !self.calls.is_empty()
    }

    /// The text so far.
    pub(super) fn text(&self) -> &str {
        self.content.all()
    }

    /// Whether nothing of a stream is missing.
    pub(super) fn is_complete(&self) -> bool {
        self.answered && self.complete
    }

    /// Whether only a count of tokens can follow.
    pub(super) fn is_over(&self) -> bool {
        self.is_complete() && !self.goes_on
    }

    /// Keeps the first name of model and request that is one.
    pub(super) fn named(&mut self, model: Option<Cow<'_, str>>, id: Option<Cow<'_, str>>) {
        let keep = |slot: &mut Option<String>, name: Option<Cow<'_, str>>| {
            if slot.is_none() {
                *slot = name.map(Cow::into_owned);
            }
        };
        keep(&mut self.model, model);
        keep(&mut self.id, id);
    }

    /// Ends the answer: sorts the calls, and finds calls within the text.
    pub(super) fn settle(
        &mut self,
        decoder: &mut dyn Decode,
        request: &Request,
    ) -> Result<(), DecodeError> {
        self.content.end();
        decoder.finish(self)?;
        self.calls.sort_by_key(|call| call.index);
        if self.calls.is_empty()
            && self.finish.is_none()
            && let Some((text, calls)) = written::calls(self.content.answer(), request)
        {
            (self.text_before_calls, self.calls) = (Some(text), calls);
        }
        self.parts = decoder.parts(self);
        Ok(())
    }

    /// The answer for the run.
    ///
    /// `sent` is about how many tokens the request has: what the provider does not count is
    /// estimated, at four bytes a token, so that a budget holds there too.
    pub(super) fn response(
        self,
        sent: u64,
        config: &Config,
        request_id: Option<String>,
    ) -> Response {
        let finish = match self.finish {
            Some(finish) => finish,
            // Some servers say `stop` where they mean calls, or have reasons of their own.
            None if self.calls.is_empty() => FinishReason::Stop,
            None => FinishReason::ToolCalls,
        };
        let mut received = self.content.all().len();
        // Models that want to see their thoughts again look for them beside their calls.
        let content = match self.text_before_calls {
            Some(text) => text,
            None if self.calls.is_empty() => self.content.answer().to_owned(),
            None => self.content.all().to_owned(),
        };
        let calls: Vec<ResponseCall> = self
            .calls
            .into_iter()
            .map(|call| {
                let arguments = arguments::unwrapped(call.arguments.finish());
                received += call.name.len() + arguments.len();
                // Some servers mean "no arguments"; cut off by the limit it means nothing.
                let none = arguments.is_empty() && finish == FinishReason::ToolCalls;
                ResponseCall {
                    provider_id: call.id,
                    name: call.name,
                    arguments: if none { "{}".to_owned() } else { arguments },
                }
            })
            .collect();
        let mut counted = self.usage.unwrap_or_default();
        // No prompt has no tokens: some servers write 0 for what they do not count.
        let usage = &mut counted.usage;
        if usage.input_tokens == 0 {
            usage.input_tokens = sent;
        }
        if usage.output_tokens == 0 {
            usage.output_tokens = (received / 4) as u64;
        }
        let cost = counted
            .cost_micros
            .or_else(|| catalog::cost_micros(&config.info.prices, &counted.usage, counted.written));
        Response {
            content,
            calls,
            usage: Usage {
                cost_micros: cost.unwrap_or(0),
                ..counted.usage
            },
            finish,
            model: self.model.unwrap_or_else(|| config.model.clone()),
            parts: self.parts.map(|json| parts::keep(&config.name(), json)),
            request_id: request_id.or(self.id),
        }
    }
}
