//! Puts an answer together from whole answers and chunks.

use serde_json::{Map, Value, value::RawValue};

use super::completion::{Arguments, CallPart, Completion, FunctionPart, Part, Text, counted};
use crate::{
    event::FinishReason,
    model::client::{
        draft::{Call, Decode, Draft, Trouble, parse, reported},
        report::Report,
    },
};

/// Reads chat completions.
#[derive(Debug, Default)]
pub(in crate::model::client) struct Decoder {
    reasoning: Vec<Reasoning>,
}

/// An opaque part, for as long as it comes in one piece just as it came.
#[derive(Debug)]
enum Reasoning {
    Raw(Box<RawValue>),
    Joined(Map<String, Value>),
}

impl Decode for Decoder {
    fn take(&mut self, document: &[u8], draft: &mut Draft<'_>) -> Result<(), Trouble> {
        if document == b"[DONE]" {
            draft.complete = true;
            draft.done = true;
            return Ok(());
        }
        let completion: Completion = parse(document)?;
        if let Some(error) = completion.error {
            return Err(reported(&error));
        }
        draft.named(completion.model, completion.id);
        if let Some(counted) = completion.usage.as_ref().and_then(counted) {
            draft.usage = Some(counted);
        }
        for choice in completion.choices.unwrap_or_default() {
            if choice.index.unwrap_or(0) != 0 {
                continue;
            }
            if let Some(error) = choice.error {
                return Err(reported(&error));
            }
            draft.answered = true;
            if let Some(delta) = choice.delta {
                self.part(delta, draft);
            } else if let Some(mut message) = choice.message {
                let calls = message.tool_calls.take().unwrap_or_default();
                self.part(message, draft);
                for piece in calls {
                    whole_call(piece, &mut draft.calls);
                }
            }
            if let Some(finish) = choice.finish_reason.filter(|finish| !finish.is_empty()) {
                draft.complete = true;
                match finish.as_str() {
                    "error" => return Err(Report::default().into()),
                    "content_filter" => draft.finish = Some(FinishReason::ContentFilter),
                    "length" | "max_tokens" => {
                        draft.finish.get_or_insert(FinishReason::Length);
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, draft: &mut Draft<'_>) {
        let text: Vec<String> = self.reasoning.iter().map(Reasoning::text).collect();
        draft.parts = (!text.is_empty()).then(|| format!("[{}]", text.join(",")));
    }
}

impl Decoder {
    fn part(&mut self, part: Part, draft: &mut Draft<'_>) {
        match part.content {
            Some(Text::Plain(text)) => draft.say(&text),
            Some(Text::Parts(parts)) => {
                let texts = parts.iter().filter_map(|part| part.text.as_deref());
                texts.for_each(|text| draft.say(text));
            }
            Some(Text::Other(_)) | None => {}
        }
        if let Some(refusal) = part.refusal.filter(|refusal| !refusal.is_empty()) {
            draft.finish = Some(FinishReason::ContentFilter);
            draft.say(&refusal);
        }
        for piece in part.reasoning_details.unwrap_or_default() {
            self.reason(piece);
        }
        for piece in part.tool_calls.unwrap_or_default() {
            call(piece, &mut draft.calls);
        }
    }

    /// Adds an opaque reasoning part; consecutive pieces of one part are joined again.
    fn reason(&mut self, piece: Box<RawValue>) {
        if let Some(last) = self.reasoning.last_mut()
            && let Ok(more) = serde_json::from_str(piece.get())
            && let Some(joined) = last.open_for(&more)
        {
            join(joined, more);
        } else {
            self.reasoning.push(Reasoning::Raw(piece));
        }
    }
}

impl Reasoning {
    /// The part, if this is another piece of it.
    fn open_for(&mut self, more: &Map<String, Value>) -> Option<&mut Map<String, Value>> {
        let same = |part: &Map<String, Value>| {
            more.contains_key("index")
                && ["index", "type"]
                    .iter()
                    .all(|k| part.get(*k) == more.get(*k))
        };
        if let Self::Raw(raw) = self {
            let part = serde_json::from_str(raw.get()).ok().filter(same)?;
            *self = Self::Joined(part);
        }
        match self {
            Self::Joined(part) if same(part) => Some(part),
            Self::Joined(_) | Self::Raw(_) => None,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Raw(raw) => raw.get().to_owned(),
            Self::Joined(map) => Value::Object(map.clone()).to_string(),
        }
    }
}

fn join(part: &mut Map<String, Value>, more: Map<String, Value>) {
    for (key, value) in more {
        match (part.get_mut(&key), value) {
            (Some(Value::String(text)), Value::String(more))
                if matches!(key.as_str(), "text" | "summary" | "data") =>
            {
                text.push_str(&more);
            }
            (_, Value::Null) => {}
            (_, value) => {
                part.insert(key, value);
            }
        }
    }
}

/// Adds a call of a whole message: what has no index is no piece of another one, whatever its id.
fn whole_call(part: CallPart, calls: &mut Vec<Call>) {
    if part.index.is_none() {
        calls.push(Call::default());
        let last = calls.last_mut().expect("a call was pushed just now");
        fill(
            last,
            part.id.unwrap_or_default(),
            part.function.unwrap_or_default(),
        );
    } else {
        call(part, calls);
    }
}

/// Adds a piece of a call: pieces with the same `index` belong together.
///
/// Some gateways send several whole calls under one index, or no index; there another id together
/// with a name begins another call.
fn call(part: CallPart, calls: &mut Vec<Call>) {
    let id = part.id.unwrap_or_default();
    let function = part.function.unwrap_or_default();
    let name = function.name.as_deref().unwrap_or_default();
    let slot = match part.index {
        Some(_) => calls.iter().rposition(|call| call.index == part.index),
        None => calls.len().checked_sub(1),
    };
    let slot = slot.filter(|slot| {
        let call = &calls[*slot];
        let same = match part.index {
            Some(_) => id.is_empty() || call.id.is_empty() || call.id == id,
            None => !id.is_empty() && call.id == id,
        };
        same || name.is_empty()
    });
    let call = if let Some(slot) = slot {
        &mut calls[slot]
    } else {
        calls.push(Call {
            index: part.index,
            ..Call::default()
        });
        calls.last_mut().expect("a call was pushed just now")
    };
    fill(call, id, function);
}

fn fill(call: &mut Call, id: String, function: FunctionPart) {
    if call.id.is_empty() {
        call.id = id;
    }
    let name = function.name.unwrap_or_default();
    if call.name != name {
        call.name.push_str(&name);
    }
    match function.arguments {
        Some(Arguments::Text(text)) => call.arguments.push_str(&text),
        Some(Arguments::Json(Value::Null)) | None => {}
        Some(Arguments::Json(value)) => call.arguments.push_str(&value.to_string()),
    }
}
