//! Reads responses, whole or as events.
//!
//! Up to four events describe one item: its beginning, its pieces, its end, and the whole response.
//! Gateways leave out any of these events, or leave a field empty in one event that another event
//! fills. So the decoder merges all of them: text counts once, and a call gets the arguments that some
//! event carried.

use std::{borrow::Cow, collections::HashMap};

use serde_json::{Value, json, value::RawValue};

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

/// Reads responses.
#[derive(Debug, Default)]
pub(in crate::model::client) struct Decoder {
    items: Vec<Item>,
    numbers: Numbers,
}

/// An item of the answer.
#[derive(Debug)]
struct Item {
    kind: Kind,
    index: Option<u64>,
    id: Option<String>,
    /// The newest JSON of the item.
    raw: Option<Box<RawValue>>,
    /// Its end came.
    is_whole: bool,
    /// The text so far, by the index of its content part.
    text: Vec<(u64, Joined)>,
    /// Arguments from delta events.
    pieces: Joined,
    /// Arguments from their own done event.
    done_arguments: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Message,
    Call,
    /// Any other item: the text and the calls of the answer cannot restore it.
    Other,
}

/// Events by their sequence number, to skip repeated ones.
#[derive(Debug, Default)]
struct Numbers {
    seen: HashMap<u64, u64>,
    /// Different events had one number, so the server does not count its events.
    are_wrong: bool,
}

impl Decode for Decoder {
    fn take(
        &mut self,
        event: &Fields<'_>,
        builder: &mut AnswerBuilder<'_>,
    ) -> Result<(), DecodeError> {
        let kind = event.word("type");
        let kind = kind.as_deref();
        builder.in_pieces |= kind.is_some();
        if kind.is_some() && self.numbers.repeats(event) {
            return Ok(());
        }
        match kind {
            None => return self.response(event, None, builder),
            Some(kind @ ("response.output_text.delta" | "response.refusal.delta")) => {
                withheld(kind, builder);
                if let Some(piece) = event.text("delta") {
                    self.piece(event, &piece, builder);
                }
            }
            Some(kind @ ("response.output_text.done" | "response.refusal.done")) => {
                withheld(kind, builder);
                let whole = event.text("text").or_else(|| event.text("refusal"));
                self.part(event, whole, builder);
            }
            Some("response.content_part.done") => {
                let part = event.object("part").unwrap_or_default();
                if part.raw("refusal").is_some() {
                    builder.finish = Some(FinishReason::ContentFilter);
                }
                let whole = part.text("text").or_else(|| part.text("refusal"));
                self.part(event, whole, builder);
            }
            Some("response.function_call_arguments.delta") => {
                if let Some(piece) = event.json_text("delta") {
                    self.at(event, Kind::Call).pieces.push(&piece);
                }
            }
            Some("response.function_call_arguments.done") => {
                if let Some(arguments) = event.json_text("arguments") {
                    self.at(event, Kind::Call).done_arguments =
                        Some(arguments.whole().into_owned());
                }
            }
            Some(kind @ ("response.output_item.added" | "response.output_item.done")) => {
                if let Some(raw) = event.raw("item") {
                    let is_whole = kind.ends_with("done");
                    let slot = self.slot(raw, event.number("output_index"), is_whole);
                    self.fill(slot, raw, is_whole, builder);
                }
            }
            Some("response.created" | "response.in_progress") => {
                let response = event.object("response").unwrap_or_default();
                builder.named(response.word("model"), response.word("id"));
            }
            Some(kind @ ("response.completed" | "response.incomplete" | "response.failed")) => {
                let response = event.object("response").unwrap_or_default();
                let status = kind.strip_prefix("response.").unwrap_or_default();
                return self.response(&response, Some(status), builder);
            }
            // Reasoning summaries, and events of newer releases.
            Some(_) => {}
        }
        builder.answered |= !self.items.is_empty();
        Ok(())
    }

    fn finish(&mut self, builder: &mut AnswerBuilder<'_>) -> Result<(), DecodeError> {
        if self.items.iter().all(|item| item.index.is_some()) {
            self.items.sort_by_key(|item| item.index);
        }
        for item in self.items.iter().filter(|item| item.kind == Kind::Call) {
            let Some(raw) = &item.raw else {
                return Err(DecodeError::Malformed(
                    "has arguments for a call without a name",
                ));
            };
            let fields = Fields::of(raw).unwrap_or_default();
            let word = |name: &str| fields.word(name).map(Cow::into_owned);
            builder.calls.push(Call {
                id: word("call_id").or_else(|| word("id")).unwrap_or_default(),
                name: word("name").unwrap_or_default(),
                arguments: item.arguments(&fields).0,
                ..Call::default()
            });
        }
        Ok(())
    }

    fn parts(&mut self, _: &AnswerBuilder<'_>) -> Option<String> {
        let is_opaque = self.items.iter().any(|item| item.kind == Kind::Other);
        let items: Vec<String> = self.items.iter().map(Item::json).collect();
        is_opaque.then(|| format!("[{}]", items.join(",")))
    }
}

impl Decoder {
    /// Takes the whole response; `ending` is the status by the name of the event.
    fn response(
        &mut self,
        response: &Fields<'_>,
        ending: Option<&str>,
        builder: &mut AnswerBuilder<'_>,
    ) -> Result<(), DecodeError> {
        if let Some(error) = response.some("error") {
            return Err(Report::of(error).into());
        }
        builder.named(response.word("model"), response.word("id"));
        let usage = response.object("usage");
        builder.usage = usage.and_then(|usage| counted(&usage)).or(builder.usage);
        let mut found = [0; 3];
        for (index, raw) in response.list("output").into_iter().enumerate() {
            let slot = self.listed(raw, index as u64, &mut found);
            self.fill(slot, raw, true, builder);
        }
        builder.answered |= !self.items.is_empty();
        let status = response.word("status");
        match status.as_deref().or(ending) {
            Some("completed") => {}
            Some("incomplete") => {
                let details = response.object("incomplete_details").unwrap_or_default();
                let reason = details.word("reason");
                let cut = match reason.as_deref().and_then(classify::end) {
                    Some(End::Cut(reason)) => reason,
                    Some(End::Whole | End::BrokenOff | End::Failed) | None => FinishReason::Length,
                };
                builder.finish.get_or_insert(cut);
            }
            Some("failed" | "cancelled") => return Err(Report::default().into()),
            Some(_) | None => return Ok(()),
        }
        builder.answered = true;
        builder.complete = true;
        builder.done = true;
        Ok(())
    }

    /// The item that a piece belongs to, or a new item.
    fn at(&mut self, event: &Fields<'_>, kind: Kind) -> &mut Item {
        let (id, index) = (event.word("item_id"), event.number("output_index"));
        let slot = self.find(id.as_deref(), index, kind);
        let is_anonymous = id.is_none() && index.is_none();
        let slot = slot.or_else(|| self.last(kind, |_| is_anonymous));
        let slot = slot.unwrap_or_else(|| self.begin(kind, id.as_deref(), index));
        &mut self.items[slot]
    }

    /// The slot of an item from its own beginning or end.
    fn slot(&mut self, raw: &RawValue, index: Option<u64>, is_whole: bool) -> usize {
        let fields = Fields::of(raw).unwrap_or_default();
        let (kind, id) = (kind(&fields), identity(&fields));
        let is_it = |item: &Item| match (&id, &item.id) {
            (Some(id), Some(other)) if id == other => true,
            (Some(_), Some(_)) => false,
            _ => index.is_some() && item.index == index && !item.is_whole,
        };
        let found = match is_whole {
            true => self.find(id.as_deref(), index, kind),
            false => self.last(kind, is_it),
        };
        found.unwrap_or_else(|| self.begin(kind, id.as_deref(), index))
    }

    fn begin(&mut self, kind: Kind, id: Option<&str>, index: Option<u64>) -> usize {
        self.items.push(Item::new(kind, id, index));
        self.items.len() - 1
    }

    fn last(&self, kind: Kind, is_it: impl Fn(&Item) -> bool) -> Option<usize> {
        let items = self.items.iter();
        items
            .rev()
            .position(|item| item.kind == kind && is_it(item))
            .map(|at| self.items.len() - 1 - at)
    }

    /// The slot of a known item. Some servers give every item the same id or index, or none at all, or
    /// other ids in pieces and ends than in beginnings.
    fn find(&self, id: Option<&str>, index: Option<u64>, kind: Kind) -> Option<usize> {
        let is_other = |item: &Item| id.is_some() && item.id.is_some() && item.id.as_deref() != id;
        let by_id = || self.last(kind, |item| id.is_some() && item.id.as_deref() == id);
        let by_index = || {
            self.last(kind, |item| {
                index.is_some() && item.index == index && !(is_other(item) && item.is_whole)
            })
        };
        let nameless = || {
            self.last(kind, |item| {
                let is_nameless = item.id.is_none() && item.index.is_none();
                !item.is_whole && (is_nameless || (id.is_none() && index.is_none()))
            })
        };
        let only_open = || {
            let mut open = self
                .items
                .iter()
                .filter(|item| item.kind == kind && !item.is_whole);
            let is_one = open.next().is_some() && open.next().is_none();
            self.last(kind, |item| is_one && index.is_none() && !item.is_whole)
        };
        by_id()
            .or_else(by_index)
            .or_else(nameless)
            .or_else(only_open)
    }

    /// The slot of an item in the whole response. Ids may differ there from those of the events; the
    /// order of the items of one kind does not. `found` counts the items of each kind so far.
    fn listed(&mut self, raw: &RawValue, index: u64, found: &mut [usize; 3]) -> usize {
        let fields = Fields::of(raw).unwrap_or_default();
        let (kind, id) = (kind(&fields), identity(&fields));
        let count = &mut found[kind as usize];
        *count += 1;
        let of_kind = |(_, item): &(usize, &Item)| item.kind == kind;
        let nth = self
            .items
            .iter()
            .enumerate()
            .filter(of_kind)
            .nth(*count - 1);
        let nth = nth.map(|(slot, _)| slot);
        nth.unwrap_or_else(|| self.begin(kind, id.as_deref(), Some(index)))
    }

    /// Merges the JSON of an item.
    fn fill(
        &mut self,
        slot: usize,
        raw: &RawValue,
        is_whole: bool,
        builder: &mut AnswerBuilder<'_>,
    ) {
        let item = &mut self.items[slot];
        if item.is_whole && !is_whole {
            return;
        }
        let fields = Fields::of(raw).unwrap_or_default();
        if item.kind == Kind::Message && is_whole {
            let mut whole = Joined::default();
            for part in fields.objects("content") {
                if part.raw("refusal").is_some() {
                    builder.finish = Some(FinishReason::ContentFilter);
                }
                if let Some(text) = part.text("text").or_else(|| part.text("refusal")) {
                    whole.push(&text);
                }
            }
            if let Some(text) = fields.text("content") {
                whole.push(&text);
            }
            let known: String = item.text.iter().map(|(_, text)| text.text()).collect();
            let whole = whole.finish();
            if let Some(rest) = whole.strip_prefix(&*known) {
                item.add_text(u64::MAX, &Text::from(rest), builder);
            }
        }
        // The whole response may shorten an item, so the item from its own end is kept. A call without
        // arguments is replaced: the whole response may be their only place.
        let before = item.raw.as_deref().and_then(Fields::of).unwrap_or_default();
        let lacks = item.kind == Kind::Call && {
            let (arguments, _) = item.arguments(&before);
            is_nothing(arguments.text())
        };
        if !item.is_whole || item.raw.is_none() || lacks {
            item.raw = Some(fields::kept(raw));
        }
        item.is_whole |= is_whole;
    }

    /// Adds a piece of text.
    fn piece(&mut self, event: &Fields<'_>, piece: &Text<'_>, builder: &mut AnswerBuilder<'_>) {
        let part = event.number("content_index").unwrap_or(0);
        let item = self.at(event, Kind::Message);
        item.add_text(part, piece, builder);
    }

    /// Adds what a whole content part has beyond its pieces. Some servers count parts otherwise in
    /// pieces than in ends: beside other text, a part without pieces waits for the end of its item.
    fn part(
        &mut self,
        event: &Fields<'_>,
        whole: Option<Text<'_>>,
        builder: &mut AnswerBuilder<'_>,
    ) {
        let Some(whole) = whole else {
            return;
        };
        let whole = whole.whole();
        let index = event.number("content_index").unwrap_or(0);
        let item = self.at(event, Kind::Message);
        let part = item.text.iter().find(|(part, _)| *part == index);
        let known = part.map_or("", |(_, text)| text.text());
        let is_first = item.text.iter().all(|(_, text)| text.is_empty());
        if let Some(rest) = whole.strip_prefix(known)
            && (is_first || !known.is_empty())
        {
            item.add_text(index, &Text::from(rest), builder);
        }
    }
}

impl Item {
    fn new(kind: Kind, id: Option<&str>, index: Option<u64>) -> Self {
        Self {
            kind,
            index,
            id: id.map(str::to_owned),
            raw: None,
            is_whole: false,
            text: Vec::new(),
            pieces: Joined::default(),
            done_arguments: None,
        }
    }

    fn add_text(&mut self, part: u64, piece: &Text<'_>, builder: &mut AnswerBuilder<'_>) {
        let slot = self.text.iter().position(|(index, _)| *index == part);
        let slot = slot.unwrap_or_else(|| {
            self.text.push((part, Joined::default()));
            self.text.len() - 1
        });
        self.text[slot].1.push(piece);
        builder.push_text(piece);
    }

    /// The arguments, and whether the item itself holds them. An item without arguments gets those of
    /// the delta and done events.
    fn arguments(&self, fields: &Fields<'_>) -> (Joined, bool) {
        let own = fields.json_text("arguments");
        let own = own.map(Text::whole).unwrap_or_default();
        let pieces = self.pieces.clone().finish();
        let beside = self
            .done_arguments
            .as_deref()
            .filter(|text| !is_nothing(text));
        let beside = beside.unwrap_or(&pieces);
        let is_own = !is_nothing(&own) || is_nothing(beside);
        let mut arguments = Joined::default();
        arguments.push(&Text::from(if is_own { &*own } else { beside }));
        (arguments, is_own)
    }

    /// The item as it is sent back.
    fn json(&self) -> String {
        let raw = self.raw.as_deref();
        let fields = raw.and_then(Fields::of).unwrap_or_default();
        let mut object: Value = match self.kind {
            Kind::Message if !self.is_whole => {
                let text: String = self.text.iter().map(|(_, text)| text.text()).collect();
                json!({"type": "message", "role": "assistant",
                    "content": [{"type": "output_text", "text": text, "annotations": []}]})
            }
            Kind::Call => match self.arguments(&fields) {
                (_, true) => return raw.map(RawValue::get).unwrap_or("{}").to_owned(),
                (arguments, false) => {
                    let mut object = raw.map(RawValue::get).map(serde_json::from_str::<Value>);
                    let mut object = object.take().and_then(Result::ok).unwrap_or_default();
                    object["arguments"] = arguments.finish().into();
                    object
                }
            },
            Kind::Message | Kind::Other => {
                return raw.map(RawValue::get).unwrap_or("{}").to_owned();
            }
        };
        if let (Kind::Message, Some(id)) = (self.kind, &self.id) {
            object["id"] = id.as_str().into();
        }
        object.to_string()
    }
}

impl Numbers {
    fn repeats(&mut self, event: &Fields<'_>) -> bool {
        let Some(number) = event.number("sequence_number").filter(|_| !self.are_wrong) else {
            return false;
        };
        let print = event.fingerprint();
        match self.seen.insert(number, print) {
            None => false,
            Some(before) if before == print => true,
            Some(_) => {
                self.are_wrong = true;
                false
            }
        }
    }
}

fn kind(item: &Fields<'_>) -> Kind {
    match item.word("type").as_deref() {
        Some("message") => Kind::Message,
        Some("function_call") => Kind::Call,
        Some(_) | None => Kind::Other,
    }
}

/// The id of an item, or the id of its call.
fn identity(item: &Fields<'_>) -> Option<String> {
    let id = item.word("id").or_else(|| item.word("call_id"));
    id.map(Cow::into_owned)
}

/// Whether arguments are empty, so that those of other events win.
fn is_nothing(arguments: &str) -> bool {
    matches!(arguments.trim(), "" | "{}")
}

fn withheld(kind: &str, builder: &mut AnswerBuilder<'_>) {
    if kind.contains("refusal") {
        builder.finish = Some(FinishReason::ContentFilter);
    }
}

/// Reads a `usage` object; what is missing counts as 0.
fn counted(usage: &Fields<'_>) -> Option<Counted> {
    let (input, output) = (usage.number("input_tokens"), usage.number("output_tokens"));
    if input.is_none() && output.is_none() {
        return None;
    }
    let details = usage.object("input_tokens_details").unwrap_or_default();
    let output_details = usage.object("output_tokens_details").unwrap_or_default();
    Some(Counted {
        usage: Usage {
            input_tokens: input.unwrap_or(0),
            output_tokens: output.unwrap_or(0),
            cached_tokens: details.number("cached_tokens").unwrap_or(0),
            reasoning_tokens: output_details.number("reasoning_tokens").unwrap_or(0),
            cost_micros: 0,
        },
        written: details.number("cache_write_tokens").unwrap_or(0),
        cost_micros: None,
    })
}
