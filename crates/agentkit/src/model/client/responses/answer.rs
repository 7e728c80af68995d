//! Reads responses, whole or as events.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    event::{FinishReason, Usage},
    model::client::{
        draft::{Call, Counted, Decode, Draft, Trouble, parse, reported},
        report::Report,
    },
};

/// Reads responses.
#[derive(Debug, Default)]
pub(in crate::model::client) struct Decoder {
    /// The items of the answer, as they came.
    items: Vec<Box<RawValue>>,
    /// Whether there is an item that cannot be written again from the words and calls of the answer.
    opaque: bool,
    /// Items whose words came already, piece by piece.
    heard: Vec<u64>,
}

/// A whole response, or an event of a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Document {
    r#type: Option<String>,
    /// In an event about the whole response.
    response: Option<Response>,
    /// In an event about one item.
    output_index: Option<u64>,
    item: Option<Box<RawValue>>,
    delta: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Response {
    id: Option<String>,
    model: Option<String>,
    status: Option<String>,
    output: Option<Vec<Box<RawValue>>>,
    usage: Option<Value>,
    error: Option<Value>,
    incomplete_details: Option<Incomplete>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Incomplete {
    reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Item {
    r#type: Option<String>,
    content: Option<Vec<Content>>,
    id: Option<String>,
    call_id: Option<String>,
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Content {
    text: Option<String>,
    refusal: Option<String>,
}

impl Decode for Decoder {
    fn take(&mut self, document: &[u8], draft: &mut Draft<'_>) -> Result<(), Trouble> {
        let event: Document = parse(document)?;
        match event.r#type.as_deref() {
            None => self.response(parse(document)?, draft),
            Some("error") => Err(reported(&parse(document)?)),
            Some("response.output_text.delta" | "response.refusal.delta") => {
                draft.answered = true;
                self.heard.extend(event.output_index);
                draft.say(&event.delta.unwrap_or_default());
                if event.r#type.is_some_and(|kind| kind.contains("refusal")) {
                    draft.finish = Some(FinishReason::ContentFilter);
                }
                Ok(())
            }
            Some("response.output_item.added") => {
                draft.answered = true;
                Ok(())
            }
            Some("response.output_item.done") => match event.item {
                Some(item) => self.item(item, event.output_index, draft),
                None => Err(Trouble::Malformed("holds an item without content")),
            },
            Some("response.created" | "response.in_progress") => {
                let response = event.response.unwrap_or_default();
                draft.named(response.model, response.id);
                Ok(())
            }
            Some("response.completed" | "response.incomplete" | "response.failed") => {
                self.response(event.response.unwrap_or_default(), draft)
            }
            // Beginnings and ends of pieces, and the words of summaries.
            Some(_) => Ok(()),
        }
    }

    fn finish(&mut self, draft: &mut Draft<'_>) {
        let items: Vec<&str> = self.items.iter().map(|item| item.get()).collect();
        draft.parts = self.opaque.then(|| format!("[{}]", items.join(",")));
    }
}

impl Decoder {
    /// A response at its end.
    fn response(&mut self, response: Response, draft: &mut Draft<'_>) -> Result<(), Trouble> {
        if let Some(error) = response.error.filter(|error| !error.is_null()) {
            return Err(reported(&error));
        }
        draft.named(response.model, response.id);
        draft.usage = response.usage.as_ref().and_then(counted).or(draft.usage);
        // A stream has brought the items one by one.
        if self.items.is_empty() {
            for (index, item) in response.output.unwrap_or_default().into_iter().enumerate() {
                self.item(item, Some(index as u64), draft)?;
            }
        }
        match response.status.as_deref() {
            Some("completed") => {}
            Some("incomplete") => {
                let reason = response
                    .incomplete_details
                    .and_then(|details| details.reason);
                let cut = match reason.as_deref() {
                    Some("content_filter") => FinishReason::ContentFilter,
                    Some(_) | None => FinishReason::Length,
                };
                draft.finish.get_or_insert(cut);
            }
            Some("failed" | "cancelled") => return Err(Report::default().into()),
            Some(_) | None => return Ok(()),
        }
        draft.answered = true;
        draft.complete = true;
        draft.done = true;
        Ok(())
    }

    fn item(
        &mut self,
        raw: Box<RawValue>,
        index: Option<u64>,
        draft: &mut Draft<'_>,
    ) -> Result<(), Trouble> {
        let item: Item = parse(raw.get().as_bytes())?;
        draft.answered = true;
        match item.r#type.as_deref() {
            Some("message") => {
                let heard = index.is_some_and(|index| self.heard.contains(&index));
                for content in item.content.unwrap_or_default() {
                    if content.refusal.is_some() {
                        draft.finish = Some(FinishReason::ContentFilter);
                    }
                    if !heard {
                        draft.say(&content.text.or(content.refusal).unwrap_or_default());
                    }
                }
            }
            Some("function_call") => draft.calls.push(Call {
                index: None,
                id: item.call_id.or(item.id).unwrap_or_default(),
                name: item.name.unwrap_or_default(),
                arguments: item.arguments.unwrap_or_default(),
            }),
            Some(_) | None => self.opaque = true,
        }
        self.items.push(raw);
        Ok(())
    }
}

/// Reads a `usage` object; what is missing counts as 0.
fn counted(value: &Value) -> Option<Counted> {
    let tokens = |pointer: &str| value.pointer(pointer).and_then(Value::as_u64);
    let (input, output) = (tokens("/input_tokens"), tokens("/output_tokens"));
    if input.is_none() && output.is_none() {
        return None;
    }
    Some(Counted {
        usage: Usage {
            input_tokens: input.unwrap_or(0),
            output_tokens: output.unwrap_or(0),
            cached_tokens: tokens("/input_tokens_details/cached_tokens").unwrap_or(0),
            reasoning_tokens: tokens("/output_tokens_details/reasoning_tokens").unwrap_or(0),
            cost_micros: 0,
        },
        written: tokens("/input_tokens_details/cache_write_tokens").unwrap_or(0),
        cost_micros: None,
    })
}
