//! Reads messages, whole or as events.

use std::borrow::Cow;

use serde_json::{Map, Value, value::RawValue};

use crate::{
    event::{FinishReason, Usage},
    model::client::{
        arguments,
        builder::{AnswerBuilder, Call, Counted, Decode, DecodeError},
        classify::{self, End},
        fields::{self, Fields},
        report::Report,
        text::{Joined, Text},
    },
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
    /// The id of the message that began.
    message: Option<String>,
}

/// A block in the making.
#[derive(Debug, Default)]
struct Block {
    index: u64,
    kind: String,
    /// What its beginning holds.
    fields: Map<String, Value>,
    text: Joined,
    thinking: Joined,
    signature: Joined,
    /// The arguments of a call.
    input: Joined,
    is_over: bool,
}

/// What has been counted so far: later counts replace earlier ones.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_creation: Option<u64>,
    thinking: Option<u64>,
}

impl Decode for Decoder {
    fn take(
        &mut self,
        event: &Fields<'_>,
        builder: &mut AnswerBuilder<'_>,
    ) -> Result<(), DecodeError> {
        let kind = event.word("type");
        builder.in_pieces |= kind.as_deref().is_some_and(|kind| kind != "message");
        match kind.as_deref() {
            Some("message") => self.message(event, builder)?,
            Some("message_start") => {
                let message = event.object("message").unwrap_or_default();
                let id = message.word("id").map(Cow::into_owned);
                // A gateway that tries again behind our back says everything a second time.
                if !self.blocks.is_empty() && id.is_some() && id != self.message {
                    return Err(DecodeError::Malformed("began a second time"));
                }
                self.message = id;
                builder.named(message.word("model"), message.word("id"));
                self.counts.add(message.object("usage"), builder);
            }
            Some("content_block_start") => {
                builder.answered = true;
                if let Some(block) = event.raw("content_block") {
                    self.start(event.number("index"), block, builder);
                }
            }
            Some("content_block_delta") => {
                if let Some(delta) = event.object("delta") {
                    self.delta(event.number("index"), &delta, builder)?;
                }
            }
            Some("content_block_stop") => {
                let index = event.number("index");
                let block = self
                    .blocks
                    .iter_mut()
                    .rfind(|block| Some(block.index) == index);
                if let Some(block) = block {
                    block.is_over = true;
                }
            }
            Some("message_delta") => {
                // An answer without any block is an answer too.
                builder.answered = true;
                self.counts.add(event.object("usage"), builder);
                let delta = event.object("delta").unwrap_or_default();
                stopped(&delta, builder)?;
            }
            Some("message_stop") => {
                builder.complete = true;
                builder.done = true;
            }
            // Some gateways leave the type out.
            None if event.raw("content").is_some() => self.message(event, builder)?,
            // `ping`, and what newer releases add.
            Some(_) | None => {}
        }
        Ok(())
    }

    fn finish(&mut self, builder: &mut AnswerBuilder<'_>) -> Result<(), DecodeError> {
        self.blocks.sort_by_key(|block| block.index);
        let is_cut = builder.finish == Some(FinishReason::Length);
        let last = self.blocks.len().saturating_sub(1);
        for (index, block) in self.blocks.iter().enumerate() {
            if block.kind != "tool_use" {
                continue;
            }
            let mut call = block.call();
            // The beginning of a call has empty arguments. Cut off there, they mean nothing.
            if is_cut && index == last && block.input.is_empty() {
                call.arguments = Joined::default();
            }
            builder.calls.push(call);
        }
        // Thoughts that were cut off have no signature, and are refused without one.
        if is_cut
            && let Some(block) = self.blocks.last()
            && block.kind == "thinking"
            && block.signature.is_empty()
        {
            self.blocks.pop();
        }
        Ok(())
    }

    fn parts(&mut self, _: &AnswerBuilder<'_>) -> Option<String> {
        self.opaque.then(|| match &self.whole {
            Some(content) => content.get().to_owned(),
            None => {
                let blocks: Vec<String> = self.blocks.iter().map(Block::json).collect();
                format!("[{}]", blocks.join(","))
            }
        })
    }
}

impl Decoder {
    /// A whole message.
    fn message(
        &mut self,
        message: &Fields<'_>,
        builder: &mut AnswerBuilder<'_>,
    ) -> Result<(), DecodeError> {
        let Some(content) = message.raw("content") else {
            return Ok(());
        };
        builder.named(message.word("model"), message.word("id"));
        self.counts.add(message.object("usage"), builder);
        if let Some(text) = Text::read(content.get()) {
            builder.push_text(&text);
        }
        for block in fields::items(content).into_iter().filter_map(Fields::of) {
            match block.word("type").as_deref() {
                Some("text") => {
                    if let Some(text) = block.text("text") {
                        builder.push_text(&text);
                    }
                }
                Some("tool_use") => {
                    let mut call = Call {
                        id: block.word("id").unwrap_or_default().into_owned(),
                        name: block.word("name").unwrap_or_default().into_owned(),
                        ..Call::default()
                    };
                    if let Some(input) = block.json_text("input") {
                        call.arguments.push(&input);
                    }
                    builder.calls.push(call);
                }
                Some(_) | None => self.opaque = true,
            }
        }
        self.whole = Some(fields::kept(content));
        stopped(message, builder)?;
        builder.answered = true;
        builder.complete = true;
        Ok(())
    }

    fn start(&mut self, index: Option<u64>, raw: &RawValue, builder: &mut AnswerBuilder<'_>) {
        let begun = Fields::of(raw).unwrap_or_default();
        let kind = begun.word("type").unwrap_or_default().into_owned();
        let text = |name: &str| begun.text(name).unwrap_or_else(|| "".into());
        let raw = fields::kept(raw);
        let mut block = Block {
            index: index.unwrap_or(self.blocks.len() as u64),
            fields: serde_json::from_str(raw.get()).unwrap_or_default(),
            kind,
            ..Block::default()
        };
        let is_again = |before: &Block| {
            let same = |name: &str| before.fields.get(name) == block.fields.get(name);
            before.index == block.index && !before.is_over && same("type") && same("id")
        };
        if index.is_some() && self.blocks.iter().any(is_again) {
            return;
        }
        block.text.push(&text("text"));
        block.thinking.push(&text("thinking"));
        block.signature.push(&text("signature"));
        match &*block.kind {
            "text" => builder.push_text(&text("text")),
            "tool_use" => {}
            _ => self.opaque = true,
        }
        self.blocks.push(block);
    }

    fn delta(
        &mut self,
        index: Option<u64>,
        delta: &Fields<'_>,
        builder: &mut AnswerBuilder<'_>,
    ) -> Result<(), DecodeError> {
        let (text, thinking) = (delta.text("text"), delta.text("thinking"));
        let input = delta
            .json_text("partial_json")
            .filter(|input| !input.is_empty());
        let slot = match index {
            Some(_) => self
                .blocks
                .iter()
                .rposition(|block| Some(block.index) == index),
            None => self.blocks.len().checked_sub(1),
        };
        let slot = match slot {
            Some(slot) => slot,
            // Words can do without their beginning, a call cannot.
            None if input.is_some() => {
                return Err(DecodeError::Malformed(
                    "continues a block that did not begin",
                ));
            }
            None if text.is_some() || thinking.is_some() => {
                let kind = if text.is_some() { "text" } else { "thinking" };
                let begun = fields::raw(&serde_json::json!({ "type": kind }));
                builder.answered = true;
                self.start(index, &begun, builder);
                self.blocks.len() - 1
            }
            None => return Ok(()),
        };
        let block = &mut self.blocks[slot];
        if let Some(text) = text {
            block.text.push(&text);
            builder.push_text(&text);
        }
        if let Some(thinking) = thinking {
            block.thinking.push(&thinking);
        }
        if let Some(signature) = delta.text("signature") {
            block.signature.push(&signature);
        }
        if let Some(input) = input {
            block.input.push(&input);
        }
        Ok(())
    }
}

impl Block {
    fn call(&self) -> Call {
        let text = |key: &str| {
            let text = self.fields.get(key).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let mut arguments = self.input.clone();
        if let Some(input) = self.fields.get("input").filter(|_| arguments.is_empty()) {
            let text = input
                .as_str()
                .map_or_else(|| input.to_string(), str::to_owned);
            arguments.push(&Text::from(&*text));
        }
        Call {
            index: Some(self.index),
            id: text("id"),
            name: text("name"),
            arguments,
            extra: None,
        }
    }

    /// The block as it is sent back. Arguments that are no object are mended then.
    fn json(&self) -> String {
        let mut fields = self.fields.clone();
        for (name, text) in [
            ("text", &self.text),
            ("thinking", &self.thinking),
            ("signature", &self.signature),
        ] {
            if !text.is_empty() {
                fields.insert(name.to_owned(), text.clone().finish().into());
            }
        }
        if self.kind == "tool_use" && !self.input.is_empty() {
            let written = arguments::unwrapped(self.input.clone().finish());
            let input = serde_json::from_str::<Map<String, Value>>(&written);
            let input = input.map_or_else(|_| Value::from(written), Value::Object);
            fields.insert("input".to_owned(), input);
        }
        Value::Object(fields).to_string()
    }
}

/// Takes the reason why the model stopped. With it the answer is whole: what may follow is `[DONE]`,
/// which some gateways send in place of `message_stop`.
fn stopped(fields: &Fields<'_>, builder: &mut AnswerBuilder<'_>) -> Result<(), DecodeError> {
    let reason = fields.word("stop_reason");
    let Some(end) = reason.as_deref().and_then(classify::end) else {
        return Ok(());
    };
    match end {
        End::Whole => {}
        End::Cut(reason) => builder.finish = Some(reason),
        End::BrokenOff => return Err(DecodeError::Malformed("was broken off by its provider")),
        End::Failed => return Err(Report::default().into()),
    }
    builder.complete = true;
    Ok(())
}

impl Counts {
    fn add(&mut self, usage: Option<Fields<'_>>, builder: &mut AnswerBuilder<'_>) {
        let Some(usage) = usage else {
            return;
        };
        let details = usage.object("output_tokens_details").unwrap_or_default();
        *self = Self {
            input: usage.number("input_tokens").or(self.input),
            output: usage.number("output_tokens").or(self.output),
            cache_read: usage.number("cache_read_input_tokens").or(self.cache_read),
            cache_creation: usage
                .number("cache_creation_input_tokens")
                .or(self.cache_creation),
            thinking: details.number("thinking_tokens").or(self.thinking),
        };
        builder.usage = Some(self.counted());
    }

    /// The prompt's count leaves out what was read from the cache or written to it.
    fn counted(&self) -> Counted {
        let cached = self.cache_read.unwrap_or(0);
        let written = self.cache_creation.unwrap_or(0);
        let plain = self.input.unwrap_or(0);
        Counted {
            usage: Usage {
                input_tokens: plain.saturating_add(cached).saturating_add(written),
                output_tokens: self.output.unwrap_or(0),
                cached_tokens: cached,
                reasoning_tokens: self.thinking.unwrap_or(0),
                cost_micros: 0,
            },
            written,
            cost_micros: None,
        }
    }
}
