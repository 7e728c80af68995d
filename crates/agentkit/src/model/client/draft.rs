//! An answer in the making, whatever surface it comes from.

use serde::Deserialize;
use serde_json::Value;

use super::{Config, report::Report, sse::TooLong};
use crate::{
    event::{FinishReason, Usage},
    model::{DeltaSink, Response, ResponseCall, catalog, parts},
};

/// Reads the documents of one surface into a draft. It does no I/O.
pub(super) trait Decode: Send {
    /// Takes a JSON document: a whole answer, or an event of a stream.
    fn take(&mut self, document: &[u8], draft: &mut Draft<'_>) -> Result<(), Trouble>;

    /// The answer is whole: writes down what could not be before.
    fn finish(&mut self, draft: &mut Draft<'_>);
}

/// Why an answer with HTTP status 200 is none.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The provider says that it failed.
    Reported(Box<Report>),
    /// It cannot be read; continues "the answer ...".
    Malformed(&'static str),
}

impl From<TooLong> for Trouble {
    fn from(_: TooLong) -> Self {
        Self::Malformed("has a line of more than 8 MiB")
    }
}

impl From<Report> for Trouble {
    fn from(report: Report) -> Self {
        Self::Reported(Box::new(report))
    }
}

/// Reads a document of a known shape.
pub(super) fn parse<'a, T: Deserialize<'a>>(document: &'a [u8]) -> Result<T, Trouble> {
    serde_json::from_slice(document).map_err(|_| Trouble::Malformed("is not valid JSON"))
}

/// The failure that a document reports.
pub(super) fn reported(error: &Value) -> Trouble {
    Report::from_json(error).into()
}

/// An answer in the making.
pub(super) struct Draft<'a> {
    deltas: &'a dyn DeltaSink,
    content: String,
    pub(super) calls: Vec<Call>,
    /// Why the answer is not a whole one; none if it is.
    pub(super) finish: Option<FinishReason>,
    pub(super) usage: Option<Counted>,
    pub(super) model: Option<String>,
    pub(super) id: Option<String>,
    /// The JSON of opaque parts.
    pub(super) parts: Option<String>,
    /// The model began to answer, be it with nothing.
    pub(super) answered: bool,
    /// The provider's own end of the answer was seen.
    pub(super) complete: bool,
    /// Nothing more comes.
    pub(super) done: bool,
}

/// A call in the making. Pieces with the same `index` belong together.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) index: Option<u64>,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
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

impl<'a> Draft<'a> {
    pub(super) fn new(deltas: &'a dyn DeltaSink) -> Self {
        Self {
            deltas,
            content: String::new(),
            calls: Vec::new(),
            finish: None,
            usage: None,
            model: None,
            id: None,
            parts: None,
            answered: false,
            complete: false,
            done: false,
        }
    }

    /// More words of the answer.
    pub(super) fn say(&mut self, text: &str) {
        if !text.is_empty() {
            self.content.push_str(text);
            self.deltas.text(text);
        }
    }

    /// Whether the model has said something, be it a call.
    pub(super) fn has_said(&self) -> bool {
        !self.content.is_empty() || !self.calls.is_empty()
    }

    /// Whether nothing of a stream is missing.
    pub(super) fn is_complete(&self) -> bool {
        self.answered && self.complete
    }

    /// Keeps the first name of model and request that is one.
    pub(super) fn named(&mut self, model: Option<String>, id: Option<String>) {
        let keep = |slot: &mut Option<String>, name: Option<String>| {
            if slot.is_none() {
                *slot = name.filter(|name| !name.is_empty());
            }
        };
        keep(&mut self.model, model);
        keep(&mut self.id, id);
    }

    /// The answer for the run.
    ///
    /// `sent` is about how many tokens the request has: what the provider does not count is
    /// estimated, at four bytes a token, so that a budget holds there too.
    pub(super) fn response(
        mut self,
        sent: u64,
        config: &Config,
        request_id: Option<String>,
    ) -> Response {
        self.calls.sort_by_key(|call| call.index);
        let finish = match self.finish {
            Some(finish) => finish,
            // Some servers say `stop` where they mean calls, or have reasons of their own.
            None if self.calls.is_empty() => FinishReason::Stop,
            None => FinishReason::ToolCalls,
        };
        let mut received = self.content.len();
        let calls: Vec<ResponseCall> = self
            .calls
            .into_iter()
            .map(|call| {
                received += call.name.len() + call.arguments.len();
                // Some servers mean "no arguments"; cut off by the limit it means nothing.
                let none = call.arguments.is_empty() && finish == FinishReason::ToolCalls;
                ResponseCall {
                    provider_id: call.id,
                    name: call.name,
                    arguments: if none {
                        "{}".to_owned()
                    } else {
                        call.arguments
                    },
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
            content: self.content,
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
