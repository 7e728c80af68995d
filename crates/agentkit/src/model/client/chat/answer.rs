//! Puts an answer together from whole answers and chunks.
//!
//! Gateways differ in everything: every field may be missing, null, or of another type.

use serde_json::{Map, Value, value::RawValue};

use crate::{
    event::{FinishReason, Usage},
    model::client::{
        builder::{AnswerBuilder, Call, Counted, Decode, DecodeError},
        classify::{self, End},
        fields::{self, Fields},
        report::Report,
        text::{Joined, Text},
    },
};

/// The index of a call in the old form, `function_call`, of which there is one at the most.
const OLD_FORM: u64 = u64::MAX;

/// Reads chat completions.
#[derive(Debug, Default)]
pub(in crate::model::client) struct Decoder {
    /// OpenRouter's `reasoning_details`.
    details: Vec<Detail>,
    /// `reasoning_content`, as DeepSeek and Kimi have it; none if the server has no such field.
    thoughts: Option<Joined>,
    /// A `delta` had text.
    has_deltas: bool,
}

/// An opaque part, for as long as it comes in one piece just as it came.
#[derive(Debug)]
enum Detail {
    Raw(Box<RawValue>),
    Joined(Map<String, Value>),
}

impl Decode for Decoder {
    fn take(
        &mut self,
        document: &Fields<'_>,
        builder: &mut AnswerBuilder<'_>,
    ) -> Result<(), DecodeError> {
        builder.named(document.word("model"), document.word("id"));
        if let Some(counted) = document.object("usage").and_then(|usage| counted(&usage)) {
            builder.usage = Some(counted);
        }
        for choice in document.objects("choices") {
            if choice.number("index").unwrap_or(0) != 0 {
                continue;
            }
            // OpenRouter reports a provider's failure here.
            if let Some(error) = choice.some("error") {
                return Err(Report::of(error).into());
            }
            builder.answered = true;
            let reason = choice.word("finish_reason");
            let end = reason.as_deref().and_then(classify::end);
            let delta = choice.object("delta");
            if let Some(delta) = &delta {
                builder.in_pieces = true;
                self.delta(delta, builder);
            }
            if let Some(message) = choice.object("message") {
                let is_alone = delta.is_none();
                self.message(&message, is_alone, end.is_some(), builder);
            }
            let Some(end) = end else {
                continue;
            };
            match end {
                End::Whole => {}
                End::Cut(FinishReason::ContentFilter) => {
                    builder.finish = Some(FinishReason::ContentFilter);
                }
                End::Cut(reason) => {
                    builder.finish.get_or_insert(reason);
                }
                End::BrokenOff if !builder.has_content() => {}
                End::BrokenOff => {
                    return Err(DecodeError::Malformed("was broken off by its provider"));
                }
                End::Failed => return Err(Report::default().into()),
            }
            builder.complete = true;
        }
        Ok(())
    }

    fn done(&mut self, builder: &mut AnswerBuilder<'_>) {
        builder.complete = true;
    }

    /// A list of details alone, or an object of all that has to come back.
    fn parts(&mut self, builder: &AnswerBuilder<'_>) -> Option<String> {
        let details: Vec<String> = self.details.iter().map(Detail::text).collect();
        let details = (!details.is_empty()).then(|| format!("[{}]", details.join(",")));
        let extras = builder.calls.iter().map(|call| match &call.extra {
            Some(extra) => extra.get(),
            None => "null",
        });
        let extras: Vec<&str> = extras.collect();
        let has_extras = builder.calls.iter().any(|call| call.extra.is_some());
        if self.thoughts.is_none() && !has_extras {
            return details;
        }
        let mut fields = Vec::new();
        fields.extend(details.map(|details| format!("\"reasoning_details\":{details}")));
        if let Some(thoughts) = self.thoughts.take() {
            let thoughts = Value::from(thoughts.finish());
            fields.push(format!("\"reasoning_content\":{thoughts}"));
        }
        if has_extras {
            fields.push(format!("\"extra_content\":[{}]", extras.join(",")));
        }
        Some(format!("{{{}}}", fields.join(",")))
    }
}

impl Decoder {
    fn delta(&mut self, delta: &Fields<'_>, builder: &mut AnswerBuilder<'_>) {
        for text in &texts(delta) {
            self.has_deltas |= !text.is_empty();
            builder.push_text(text);
        }
        self.reasoning(delta, builder);
        for piece in delta.objects("tool_calls") {
            call(&piece, &mut builder.calls);
        }
        self.old_call(delta, builder);
    }

    /// Takes a `message`: a whole answer, a repetition of the pieces before it, or, from some servers, a
    /// piece.
    fn message(
        &mut self,
        message: &Fields<'_>,
        is_alone: bool,
        is_last: bool,
        builder: &mut AnswerBuilder<'_>,
    ) {
        let mut joined = Joined::default();
        for piece in &texts(message) {
            joined.push(piece);
        }
        let text = joined.finish();
        let is_piece = is_alone && !is_last;
        let rest = text.strip_prefix(builder.text()).filter(|_| !is_piece);
        let new = match rest {
            Some(rest) => rest,
            // The pieces had this text already.
            None if self.has_deltas => "",
            None => &text,
        };
        builder.push_text(&Text::from(new));
        self.reasoning(message, builder);
        if is_alone || builder.calls.is_empty() {
            for piece in message.objects("tool_calls") {
                whole_call(&piece, &mut builder.calls);
            }
            self.old_call(message, builder);
        }
    }

    /// Takes refusals and reasoning.
    fn reasoning(&mut self, part: &Fields<'_>, builder: &mut AnswerBuilder<'_>) {
        if let Some(refusal) = part.text("refusal").filter(|refusal| !refusal.is_empty()) {
            builder.finish = Some(FinishReason::ContentFilter);
            builder.push_text(&refusal);
        }
        if let Some(thoughts) = part.text("reasoning_content") {
            self.thoughts.get_or_insert_default().push(&thoughts);
        }
        for piece in part.list("reasoning_details") {
            self.detail(piece);
        }
    }

    /// Takes `function_call`, the form before `tool_calls`.
    fn old_call(&mut self, part: &Fields<'_>, builder: &mut AnswerBuilder<'_>) {
        let is_only = builder
            .calls
            .iter()
            .all(|call| call.index == Some(OLD_FORM));
        let Some(function) = part.object("function_call").filter(|_| is_only) else {
            return;
        };
        let piece = Piece {
            index: Some(OLD_FORM),
            id: String::new(),
            name: function.word("name").unwrap_or_default().into_owned(),
            arguments: function.json_text("arguments"),
            extra: None,
        };
        if !piece.name.is_empty() || !builder.calls.is_empty() {
            piece.add(&mut builder.calls);
        }
    }

    /// Adds an opaque part; consecutive pieces of one part are joined again.
    fn detail(&mut self, piece: &RawValue) {
        let piece = fields::kept(piece);
        if let Some(last) = self.details.last_mut()
            && let Ok(more) = serde_json::from_str(piece.get())
            && let Some(joined) = last.open_for(&more)
        {
            join(joined, more);
        } else {
            self.details.push(Detail::Raw(piece));
        }
    }
}

impl Detail {
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

/// The text of a part: a string, or the typed parts that some servers send.
fn texts<'a>(part: &Fields<'a>) -> Vec<Text<'a>> {
    if let Some(text) = part.text("content") {
        return vec![text];
    }
    let is_text = |part: &Fields<'a>| {
        let kind = part.word("type");
        kind.is_none_or(|kind| matches!(&*kind, "text" | "output_text"))
    };
    let one = part.object("content").into_iter();
    let texts = one.chain(part.objects("content")).filter(is_text);
    texts.filter_map(|part| part.text("text")).collect()
}

/// A piece of a call.
struct Piece<'a> {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: Option<Text<'a>>,
    extra: Option<&'a RawValue>,
}

/// Adds a call of a whole message: what has no index is no piece of another one, whatever its id.
fn whole_call(part: &Fields<'_>, calls: &mut Vec<Call>) {
    let piece = Piece::read(part);
    match piece.index {
        Some(_) => piece.add(calls),
        None => {
            calls.push(Call::default());
            let last = calls.last_mut().expect("a call was pushed just now");
            piece.fill(last);
        }
    }
}

/// Adds a piece of a call: pieces with the same `index` belong together.
fn call(part: &Fields<'_>, calls: &mut Vec<Call>) {
    Piece::read(part).add(calls);
}

impl<'a> Piece<'a> {
    fn read(part: &Fields<'a>) -> Self {
        let function = part.object("function").unwrap_or_else(|| part.clone());
        Self {
            index: part.number("index"),
            id: part.word("id").unwrap_or_default().into_owned(),
            name: function.word("name").unwrap_or_default().into_owned(),
            arguments: function.json_text("arguments"),
            extra: part.some("extra_content"),
        }
    }

    fn add(self, calls: &mut Vec<Call>) {
        let slot = match self.index {
            Some(_) => calls.iter().rposition(|call| call.index == self.index),
            None => calls.len().checked_sub(1),
        };
        let call = match slot.filter(|slot| self.continues(&calls[*slot])) {
            Some(slot) => &mut calls[slot],
            None => {
                calls.push(Call {
                    index: self.index,
                    ..Call::default()
                });
                calls.last_mut().expect("a call was pushed just now")
            }
        };
        self.fill(call);
    }

    /// Whether this is another piece of the last call with its index, or of the last one where the
    /// server has no indexes.
    ///
    /// Some gateways give all calls one index, some without ids. There another id begins another call,
    /// and so does a name after arguments that are whole; one that repeats the name with each piece
    /// has the same id, or arguments that are not.
    fn continues(&self, call: &Call) -> bool {
        if self.name.is_empty() || call.name.is_empty() {
            return self.id.is_empty() || call.id.is_empty() || self.id == call.id;
        }
        if !self.id.is_empty() && !call.id.is_empty() {
            return self.id == call.id;
        }
        let has_arguments = self.arguments.as_ref().is_some_and(|text| !text.is_empty());
        let is_whole = Fields::read(call.arguments.text()).is_some();
        self.index.is_some() && !(is_whole && (self.name != call.name || has_arguments))
    }

    fn fill(self, call: &mut Call) {
        let is_again = !self.name.is_empty()
            && self.name == call.name
            && !self.id.is_empty()
            && self.id == call.id;
        if call.id.is_empty() {
            call.id = self.id;
        }
        if call.name != self.name {
            call.name.push_str(&self.name);
        }
        if let Some(arguments) = self.arguments {
            let text = arguments.clone().whole();
            // Some servers begin with `{}` in place of an empty text, and some repeat a whole call.
            let is_none = text == "{}" && call.arguments.is_empty();
            let is_said = is_again && text == call.arguments.text();
            if !is_none && !is_said {
                call.arguments.push(&arguments);
            }
        }
        if let Some(extra) = self.extra {
            call.extra = Some(fields::kept(extra));
        }
    }
}

/// Reads a `usage` object; what is missing counts as 0. `cost` (OpenRouter) is in USD.
fn counted(usage: &Fields<'_>) -> Option<Counted> {
    let (input, output) = (
        usage.number("prompt_tokens"),
        usage.number("completion_tokens"),
    );
    if input.is_none() && output.is_none() {
        return None;
    }
    let prompt = usage.object("prompt_tokens_details").unwrap_or_default();
    let completion = usage
        .object("completion_tokens_details")
        .unwrap_or_default();
    Some(Counted {
        usage: Usage {
            input_tokens: input.unwrap_or(0),
            output_tokens: output.unwrap_or(0),
            cached_tokens: prompt.number("cached_tokens").unwrap_or(0),
            reasoning_tokens: completion.number("reasoning_tokens").unwrap_or(0),
            cost_micros: 0,
        },
        written: prompt.number("cache_write_tokens").unwrap_or(0),
        // A float cast saturates; negative and NaN become 0.
        cost_micros: usage.float("cost").map(|usd| (usd * 1e6).round() as u64),
    })
}
