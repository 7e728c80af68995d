//! Puts an answer together from whole answers and chunks.

use serde_json::Value;

use super::{
    completion::{self, Arguments, CallPart, Completion, Part, Text},
    report::Report,
    sse::TooLong,
    wire::REASONING,
};
use crate::{
    event::{FinishReason, Usage},
    model::{DeltaSink, Response, ResponseCall},
};

/// Why an answer with HTTP status 200 is none.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The provider says that it failed.
    Reported(Report),
    /// It cannot be read; continues "the answer ...".
    Malformed(&'static str),
}

impl From<TooLong> for Trouble {
    fn from(_: TooLong) -> Self {
        Self::Malformed("has a line of more than 8 MiB")
    }
}

/// An answer in the making.
#[derive(Debug, Default)]
pub(super) struct Answer {
    content: String,
    refused: bool,
    calls: Vec<Call>,
    finish: Option<String>,
    usage: Option<Usage>,
    model: Option<String>,
    id: Option<String>,
    reasoning: Vec<Value>,
    /// Events that came, whatever was in them.
    pub(super) events: usize,
    /// There was a choice, be it an empty one.
    pub(super) answered: bool,
    /// `[DONE]` came.
    pub(super) done: bool,
}

#[derive(Debug, Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

impl Answer {
    /// Takes the data of one event.
    pub(super) fn event(&mut self, data: &[u8], deltas: &dyn DeltaSink) -> Result<(), Trouble> {
        let data = data.trim_ascii();
        if data.is_empty() || self.done {
            return Ok(());
        }
        self.events += 1;
        if data == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        let completion = serde_json::from_slice(data)
            .map_err(|_| Trouble::Malformed("holds an event that is not valid JSON"))?;
        self.add(completion, deltas)
    }

    /// Whether nothing is missing.
    pub(super) fn is_complete(&self) -> bool {
        self.answered && (self.done || self.finish.is_some())
    }

    /// Takes a whole answer, or one chunk.
    pub(super) fn add(
        &mut self,
        completion: Completion,
        deltas: &dyn DeltaSink,
    ) -> Result<(), Trouble> {
        if let Some(error) = completion.error {
            return Err(Trouble::Reported(Report::from_json(&error)));
        }
        if self.id.is_none() {
            self.id = completion.id.filter(|id| !id.is_empty());
        }
        if self.model.is_none() {
            self.model = completion.model.filter(|model| !model.is_empty());
        }
        if let Some(usage) = completion.usage.as_ref().and_then(completion::usage) {
            self.usage = Some(usage);
        }
        for choice in completion.choices.unwrap_or_default() {
            if choice.index.unwrap_or(0) != 0 {
                continue;
            }
            if let Some(error) = choice.error {
                return Err(Trouble::Reported(Report::from_json(&error)));
            }
            self.answered = true;
            if let Some(part) = choice.delta.or(choice.message) {
                self.part(part, deltas);
            }
            if let Some(finish) = choice.finish_reason.filter(|finish| !finish.is_empty()) {
                if finish == "error" {
                    return Err(Trouble::Reported(Report::default()));
                }
                self.finish = Some(finish);
            }
        }
        Ok(())
    }

    fn part(&mut self, part: Part, deltas: &dyn DeltaSink) {
        let mut say = |text: &str| {
            if !text.is_empty() {
                self.content.push_str(text);
                deltas.text(text);
            }
        };
        match part.content {
            Some(Text::Plain(text)) => say(&text),
            Some(Text::Parts(parts)) => {
                parts.iter().filter_map(|p| p.text.as_deref()).for_each(say)
            }
            Some(Text::Other(_)) | None => {}
        }
        if let Some(refusal) = part.refusal.filter(|refusal| !refusal.is_empty()) {
            self.refused = true;
            self.content.push_str(&refusal);
            deltas.text(&refusal);
        }
        for reasoning in part.reasoning_details.unwrap_or_default() {
            self.reason(reasoning);
        }
        for call in part.tool_calls.unwrap_or_default() {
            self.call(call);
        }
    }

    /// Adds a piece of a call: pieces with the same `index` belong together.
    ///
    /// Some gateways send several whole calls under one index, or no index; there another id
    /// together with a name begins another call.
    fn call(&mut self, part: CallPart) {
        let id = part.id.unwrap_or_default();
        let function = part.function.unwrap_or_default();
        let name = function.name.unwrap_or_default();
        let slot = match part.index {
            Some(_) => self.calls.iter().rposition(|call| call.index == part.index),
            None => self.calls.len().checked_sub(1),
        };
        let slot = slot.filter(|slot| {
            let call = &self.calls[*slot];
            let same = match part.index {
                Some(_) => id.is_empty() || call.id.is_empty() || call.id == id,
                None => !id.is_empty() && call.id == id,
            };
            same || name.is_empty()
        });
        let call = if let Some(slot) = slot {
            &mut self.calls[slot]
        } else {
            self.calls.push(Call {
                index: part.index,
                ..Call::default()
            });
            self.calls.last_mut().expect("a call was pushed just now")
        };
        if call.id.is_empty() {
            call.id = id;
        }
        if call.name != name {
            call.name.push_str(&name);
        }
        match function.arguments {
            Some(Arguments::Text(text)) => call.arguments.push_str(&text),
            Some(Arguments::Json(Value::Null)) | None => {}
            Some(Arguments::Json(value)) => call.arguments.push_str(&value.to_string()),
        }
    }

    /// Adds an opaque reasoning part; consecutive pieces of one part are joined again.
    fn reason(&mut self, piece: Value) {
        match (self.reasoning.last_mut(), piece) {
            (Some(Value::Object(last)), Value::Object(piece))
                if piece.contains_key("index")
                    && last.get("index") == piece.get("index")
                    && last.get("type") == piece.get("type") =>
            {
                for (key, value) in piece {
                    match (last.get_mut(&key), value) {
                        (Some(Value::String(text)), Value::String(more))
                            if matches!(key.as_str(), "text" | "summary" | "data") =>
                        {
                            text.push_str(&more);
                        }
                        (_, Value::Null) => {}
                        (_, value) => {
                            last.insert(key, value);
                        }
                    }
                }
            }
            (_, piece) => self.reasoning.push(piece),
        }
    }

    /// The answer for the run.
    ///
    /// `sent` is the size of the request: where the provider reports no usage, it is estimated at
    /// four bytes a token, so that a budget holds there too.
    pub(super) fn response(
        mut self,
        sent: usize,
        model: &str,
        request_id: Option<String>,
    ) -> Response {
        self.calls.sort_by_key(|call| call.index);
        let finish = match self.finish.as_deref() {
            _ if self.refused => FinishReason::ContentFilter,
            Some("content_filter") => FinishReason::ContentFilter,
            Some("length" | "max_tokens") => FinishReason::Length,
            // Some servers say `stop` where they mean calls, or have reasons of their own.
            _ if self.calls.is_empty() => FinishReason::Stop,
            _ => FinishReason::ToolCalls,
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
        let estimate = || Usage {
            input_tokens: (sent / 4) as u64,
            output_tokens: (received / 4) as u64,
            ..Usage::default()
        };
        let parts = (!self.reasoning.is_empty())
            .then(|| serde_json::json!({ REASONING: std::mem::take(&mut self.reasoning) }));
        Response {
            content: self.content,
            calls,
            usage: self.usage.unwrap_or_else(estimate),
            finish,
            model: self.model.unwrap_or_else(|| model.to_owned()),
            parts,
            request_id: request_id.or(self.id),
        }
    }
}
