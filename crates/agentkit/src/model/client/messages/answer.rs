//! Reads messages, whole or as events.

use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use crate::{
    event::{FinishReason, Usage},
    model::client::draft::{Call, Counted, Decode, Draft, Trouble, parse, reported},
};

/// Reads messages.
#[derive(Debug, Default)]
pub(in crate::model::client) struct Decoder {
    /// The content of a whole message, as it came.
    whole: Option<Box<RawValue>>,
    /// The blocks of a streamed one.
    blocks: Vec<Block>,
    /// Whether there is a block that cannot be written again from the words and calls of the answer.
    opaque: bool,
    counts: Counts,
}

/// A block in the making.
#[derive(Debug)]
struct Block {
    index: u64,
    fields: Map<String, Value>,
    /// The arguments of a call.
    input: String,
}

/// A whole message, or an event of a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Document {
    r#type: Option<String>,
    error: Option<Value>,
    message: Option<Message>,
    index: Option<u64>,
    content_block: Option<Map<String, Value>>,
    delta: Option<Delta>,
    usage: Option<Counts>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message {
    id: Option<String>,
    model: Option<String>,
    content: Option<Box<RawValue>>,
    stop_reason: Option<String>,
    usage: Option<Counts>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Delta {
    stop_reason: Option<String>,
    text: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    partial_json: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WholeBlock {
    r#type: Option<String>,
    text: Option<String>,
    id: Option<String>,
    name: Option<String>,
    input: Option<Box<RawValue>>,
}

/// What has been counted so far: later counts replace earlier ones.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct Counts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct OutputDetails {
    thinking_tokens: Option<u64>,
}

impl Decode for Decoder {
    fn take(&mut self, document: &[u8], draft: &mut Draft<'_>) -> Result<(), Trouble> {
        let event: Document = parse(document)?;
        match event.r#type.as_deref() {
            Some("message") => return self.message(parse(document)?, draft),
            Some("message_start") => {
                let message = event.message.unwrap_or_default();
                draft.named(message.model, message.id);
                self.counts.add(message.usage, draft);
            }
            Some("content_block_start") => {
                draft.answered = true;
                self.start(event.index, event.content_block.unwrap_or_default(), draft);
            }
            Some("content_block_delta") => {
                self.delta(event.index, event.delta.unwrap_or_default(), draft)?;
            }
            Some("message_delta") => {
                // An answer without any block is an answer too.
                draft.answered = true;
                self.counts.add(event.usage, draft);
                let reason = event.delta.and_then(|delta| delta.stop_reason);
                stopped(reason.as_deref(), draft);
            }
            Some("message_stop") => {
                draft.complete = true;
                draft.done = true;
            }
            Some("error") => return Err(reported(&event.error.unwrap_or_default())),
            // `ping`, `content_block_stop`, and what newer releases add.
            Some(_) => {}
            None if event.error.is_some() => {
                return Err(reported(&event.error.unwrap_or_default()));
            }
            None => {}
        }
        Ok(())
    }

    fn finish(&mut self, draft: &mut Draft<'_>) {
        let calls = self.blocks.iter().filter_map(Block::call);
        draft.calls.extend(calls);
        // The beginning of a call has empty arguments. Cut off there, they mean nothing.
        if draft.finish == Some(FinishReason::Length)
            && let Some(block) = self.blocks.last()
            && block.input.is_empty()
            && let Some(call) = draft.calls.last_mut()
            && call.index == Some(block.index)
        {
            call.arguments.clear();
        }
        draft.parts = self.opaque.then(|| match &self.whole {
            Some(content) => content.get().to_owned(),
            None => {
                let blocks: Vec<String> = self.blocks.iter().map(Block::json).collect();
                format!("[{}]", blocks.join(","))
            }
        });
    }
}

impl Decoder {
    /// A whole message.
    fn message(&mut self, message: Message, draft: &mut Draft<'_>) -> Result<(), Trouble> {
        let Some(content) = message.content else {
            return Err(Trouble::Malformed("holds no content"));
        };
        draft.named(message.model, message.id);
        self.counts.add(message.usage, draft);
        let blocks: Vec<WholeBlock> = parse(content.get().as_bytes())?;
        for block in blocks {
            match block.r#type.as_deref() {
                Some("text") => draft.say(&block.text.unwrap_or_default()),
                Some("tool_use") => draft.calls.push(Call {
                    index: None,
                    id: block.id.unwrap_or_default(),
                    name: block.name.unwrap_or_default(),
                    arguments: block
                        .input
                        .map_or_else(String::new, |input| input.get().to_owned()),
                }),
                Some(_) | None => self.opaque = true,
            }
        }
        self.whole = Some(content);
        stopped(message.stop_reason.as_deref(), draft);
        draft.answered = true;
        draft.complete = true;
        Ok(())
    }

    fn start(&mut self, index: Option<u64>, fields: Map<String, Value>, draft: &mut Draft<'_>) {
        match kind(&fields) {
            "text" => draft.say(
                fields
                    .get("text")
                    .and_then(Value::as_str)
                    .unwrap_or_default(),
            ),
            "tool_use" => {}
            _ => self.opaque = true,
        }
        self.blocks.push(Block {
            index: index.unwrap_or(self.blocks.len() as u64),
            fields,
            input: String::new(),
        });
    }

    fn delta(
        &mut self,
        index: Option<u64>,
        delta: Delta,
        draft: &mut Draft<'_>,
    ) -> Result<(), Trouble> {
        let block = self
            .blocks
            .iter_mut()
            .rfind(|block| Some(block.index) == index);
        let Some(block) = block else {
            return Err(Trouble::Malformed("continues a block that did not begin"));
        };
        for (key, more) in [
            ("text", &delta.text),
            ("thinking", &delta.thinking),
            ("signature", &delta.signature),
        ] {
            if let Some(more) = more {
                let field = block.fields.entry(key).or_insert_with(|| "".into());
                match field {
                    Value::String(text) => text.push_str(more),
                    other => *other = more.as_str().into(),
                }
            }
        }
        if let Some(text) = delta.text {
            draft.say(&text);
        }
        block
            .input
            .push_str(&delta.partial_json.unwrap_or_default());
        Ok(())
    }
}

impl Block {
    fn call(&self) -> Option<Call> {
        let text = |key: &str| {
            self.fields
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let begun = || {
            self.fields
                .get("input")
                .map_or_else(String::new, Value::to_string)
        };
        (kind(&self.fields) == "tool_use").then(|| Call {
            index: Some(self.index),
            id: text("id").to_owned(),
            name: text("name").to_owned(),
            arguments: if self.input.is_empty() {
                begun()
            } else {
                self.input.clone()
            },
        })
    }

    /// The block as it is sent back. Arguments that are no object are mended then.
    fn json(&self) -> String {
        let mut fields = self.fields.clone();
        if kind(&fields) == "tool_use" && !self.input.is_empty() {
            let input = serde_json::from_str::<Map<String, Value>>(&self.input);
            let input = input.map_or_else(|_| Value::from(&*self.input), Value::Object);
            fields.insert("input".to_owned(), input);
        }
        Value::Object(fields).to_string()
    }
}

fn kind(fields: &Map<String, Value>) -> &str {
    fields
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn stopped(reason: Option<&str>, draft: &mut Draft<'_>) {
    match reason {
        Some("max_tokens" | "model_context_window_exceeded") => {
            draft.finish = Some(FinishReason::Length);
        }
        Some("refusal") => draft.finish = Some(FinishReason::ContentFilter),
        Some(_) | None => {}
    }
}

impl Counts {
    fn add(&mut self, newer: Option<Self>, draft: &mut Draft<'_>) {
        let Some(newer) = newer else {
            return;
        };
        *self = Self {
            input_tokens: newer.input_tokens.or(self.input_tokens),
            output_tokens: newer.output_tokens.or(self.output_tokens),
            cache_read_input_tokens: newer
                .cache_read_input_tokens
                .or(self.cache_read_input_tokens),
            cache_creation_input_tokens: newer
                .cache_creation_input_tokens
                .or(self.cache_creation_input_tokens),
            output_tokens_details: newer.output_tokens_details.or(self.output_tokens_details),
        };
        draft.usage = Some(self.counted());
    }

    /// The prompt's count leaves out what was read from the cache or written to it.
    fn counted(&self) -> Counted {
        let cached = self.cache_read_input_tokens.unwrap_or(0);
        let written = self.cache_creation_input_tokens.unwrap_or(0);
        let plain = self.input_tokens.unwrap_or(0);
        let details = self.output_tokens_details.unwrap_or_default();
        Counted {
            usage: Usage {
                input_tokens: plain.saturating_add(cached).saturating_add(written),
                output_tokens: self.output_tokens.unwrap_or(0),
                cached_tokens: cached,
                reasoning_tokens: details.thinking_tokens.unwrap_or(0),
                cost_micros: 0,
            },
            written,
            cost_micros: None,
        }
    }
}
