//! The conversation in turns, with ids, names and arguments that every server accepts.
//!
//! A turn that goes back as the parts of its own model gets the same repairs as any other turn.
//! Otherwise an odd id, name or argument of a model stands in every later request, and strict servers
//! refuse each request with HTTP 400. Signed and encrypted parts are never changed; calls are neither.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, value::RawValue};

use super::request::Outgoing;
use crate::{
    event::{Media, StepId},
    model::{Image, Message, MessageCall, parts},
};

/// The longest id, and the longest name of a tool, in bytes.
const MAX_BYTES: usize = 64;
/// Member for arguments that are no object, so that the model sees its own words.
const INVALID: &str = "invalid_arguments";
/// Stands for a call without any name.
const NAMELESS: &str = "unnamed_tool";

/// Requirements of a surface.
pub(super) struct Rules<'a, O> {
    pub(super) ids: Ids,
    /// Further characters of tool names, beside letters, digits, `_` and `-`.
    pub(super) name_marks: &'static str,
    pub(super) result_images: ResultImages,
    /// Reads the parts of the model in a turn with so many calls; `None` if the parts cannot stand
    /// for the turn.
    pub(super) own: fn(&'a RawValue, usize) -> Option<O>,
}

/// Whether a surface takes images in the results of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResultImages {
    Taken,
    Refused,
}

/// Ids of calls that a surface takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ids {
    /// Any id, and no id as well.
    Any,
    /// Any short id, each id once.
    Short,
    /// Letters, digits, `_` and `-`, each id once; any id in a turn that goes back unchanged.
    Plain,
}

/// The words of a side, or the result of a call.
#[derive(Debug)]
pub(super) enum Turn<'a, O> {
    System(&'a str),
    User {
        content: &'a str,
        images: &'a [Image],
    },
    Model {
        content: &'a str,
        calls: Vec<Call<'a>>,
        /// The parts of the model; `None` for a turn of a different model.
        own: Option<O>,
    },
    Result {
        id: CallId<'a>,
        name: Cow<'a, str>,
        content: Cow<'a, str>,
        images: Vec<&'a Image>,
        is_error: bool,
    },
}

/// A call in the form that a server takes back.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) id: CallId<'a>,
    pub(super) name: Cow<'a, str>,
    pub(super) arguments: Arguments<'a>,
}

/// Id of a call and of its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct CallId<'a>(Cow<'a, str>);

impl CallId<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Arguments, always an object: servers refuse a conversation with anything else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arguments<'a>(&'a Value);

impl Serialize for Arguments<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(map) => map.serialize(serializer),
            Value::Null => serializer.collect_map(std::iter::empty::<((), ())>()),
            Value::String(raw) if raw.trim().is_empty() => {
                serializer.collect_map(std::iter::empty::<((), ())>())
            }
            other => serializer.collect_map([(INVALID, other)]),
        }
    }
}

impl Arguments<'_> {
    /// As a value of its own.
    pub(super) fn value(self) -> Value {
        serde_json::to_value(self).expect("arguments have string keys only, so they serialise")
    }
}

/// Arguments as JSON text.
#[derive(Debug, Clone, Copy)]
pub(super) struct ArgumentsText<'a>(pub(super) Arguments<'a>);

impl Serialize for ArgumentsText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.0 {
            value @ Value::Object(_) => serializer.collect_str(value),
            _ => serializer.collect_str(&self.0.value()),
        }
    }
}

/// A part of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Goes back unchanged.
    Opaque,
    /// Goes back unchanged, and only with a further part behind.
    Leading,
    Call,
    /// Says nothing, and is refused.
    Blank,
}

/// The parts of a turn, for surfaces with lists of parts.
#[derive(Debug)]
pub(super) struct OwnParts<'a>(Vec<(Part, &'a RawValue)>);

impl<'a> OwnParts<'a> {
    /// Reads parts of a turn with so many calls; `None` if the parts have other calls, or nothing is left.
    pub(super) fn read(
        json: &'a RawValue,
        calls: usize,
        kind: fn(&RawValue) -> Part,
    ) -> Option<Self> {
        let parts: Vec<&RawValue> = serde_json::from_str(json.get()).ok()?;
        let mut parts: Vec<(Part, &RawValue)> =
            parts.into_iter().map(|part| (kind(part), part)).collect();
        parts.retain(|(kind, _)| *kind != Part::Blank);
        while let Some((Part::Leading, _)) = parts.last() {
            parts.pop();
        }
        let found = parts.iter().filter(|(kind, _)| *kind == Part::Call).count();
        (found == calls && !parts.is_empty()).then_some(Self(parts))
    }

    /// The parts on the wire. `mend` repairs the fields of a call that a server would refuse.
    pub(super) fn mended(
        self,
        calls: &[Call<'_>],
        mend: fn(&'a RawValue, &Call<'_>) -> OwnPart<'a>,
    ) -> impl Iterator<Item = OwnPart<'a>> {
        let mut calls = calls.iter();
        self.0.into_iter().map(move |(kind, part)| match kind {
            Part::Call => calls
                .next()
                .map_or(OwnPart::Raw(part), |call| mend(part, call)),
            Part::Opaque | Part::Leading | Part::Blank => OwnPart::Raw(part),
        })
    }
}

/// Part of a turn on the wire: unchanged, or with a repaired call.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum OwnPart<'a> {
    Raw(&'a RawValue),
    Mended(Map<String, Value>),
}

impl<'a> OwnPart<'a> {
    /// A part with other values in some of its fields.
    pub(super) fn with<'v>(
        part: &'a RawValue,
        changes: impl IntoIterator<Item = (&'v str, Value)>,
    ) -> Self {
        let Ok(mut fields) = serde_json::from_str::<Map<String, Value>>(part.get()) else {
            return Self::Raw(part);
        };
        fields.extend(
            changes
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        Self::Mended(fields)
    }

    pub(super) fn value(&self) -> Value {
        serde_json::to_value(self).expect("a part is JSON already, so it serialises")
    }
}

impl<'a> Outgoing<'a> {
    /// The conversation in turns.
    pub(super) fn turns<O>(&self, rules: &Rules<'a, O>) -> Vec<Turn<'a, O>> {
        let mut ids = Assigned::default();
        let turn = |message: &'a std::sync::Arc<Message>| match &**message {
            Message::System { content } => Turn::System(content),
            Message::User { content, images } => Turn::User { content, images },
            Message::Assistant {
                content,
                calls,
                parts,
            } => {
                let own = self.own_parts(parts.as_ref());
                let own = own.and_then(|own| (rules.own)(own, calls.len()));
                let call = |call: &'a MessageCall| Call {
                    id: ids.assign(call, rules.ids, own.is_some()),
                    name: name(&call.name, rules.name_marks),
                    arguments: Arguments(&call.arguments),
                };
                Turn::Model {
                    content,
                    calls: calls.iter().map(call).collect(),
                    own,
                }
            }
            Message::Tool {
                step,
                provider_id,
                name: tool,
                content,
                is_error,
                images,
            } => {
                let (content, images) = self.result(content, images, rules.result_images);
                Turn::Result {
                    id: ids.of_result(*step, provider_id),
                    name: name(tool, rules.name_marks),
                    content,
                    images,
                    is_error: *is_error,
                }
            }
        };
        self.request.messages.iter().map(turn).collect()
    }

    /// Text and images of a result; the text names the parts that the surface does not take.
    fn result(
        &self,
        content: &'a str,
        images: &'a [Media],
        taken: ResultImages,
    ) -> (Cow<'a, str>, Vec<&'a Image>) {
        let known = &self.request.images;
        let shown: Vec<&'a Image> = match taken {
            ResultImages::Taken => images
                .iter()
                .filter_map(|media| known.get(&media.digest).map(|image| &**image))
                .collect(),
            ResultImages::Refused => Vec::new(),
        };
        let left_out = images.len() - shown.len();
        if left_out == 0 {
            return (Cow::Borrowed(content), shown);
        }
        let why = match taken {
            ResultImages::Taken => "there is no room for more, or they are gone",
            ResultImages::Refused => "this model is shown none in results of tools",
        };
        let note = format!("{content}\n[{left_out} of its images are left out: {why}]");
        (Cow::Owned(note), shown)
    }

    /// The parts of a message as the model sent them, if this model did.
    fn own_parts(&self, parts: Option<&'a Value>) -> Option<&'a RawValue> {
        serde_json::from_str(parts::replay(parts, self.name)?).ok()
    }
}

/// The ids of the calls so far.
#[derive(Default)]
struct Assigned<'a> {
    taken: HashSet<Cow<'a, str>>,
    /// Ids of our own, where the provider's would not do.
    ours: HashMap<StepId, String>,
}

impl<'a> Assigned<'a> {
    fn assign(&mut self, call: &'a MessageCall, ids: Ids, is_own: bool) -> CallId<'a> {
        let id = call.provider_id.as_str();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let fits = match ids {
            Ids::Any => return CallId(Cow::Borrowed(id)),
            Ids::Short => id.len() <= MAX_BYTES,
            Ids::Plain => is_own || (id.len() <= MAX_BYTES && id.bytes().all(plain)),
        };
        if fits && !id.is_empty() && self.taken.insert(Cow::Borrowed(id)) {
            return CallId(Cow::Borrowed(id));
        }
        let mut ours = call.step.to_string();
        while !self.taken.insert(Cow::Owned(ours.clone())) {
            ours.push('_');
        }
        self.ours.insert(call.step, ours.clone());
        CallId(Cow::Owned(ours))
    }

    fn of_result(&self, step: StepId, provider_id: &'a str) -> CallId<'a> {
        let ours = self.ours.get(&step).cloned();
        CallId(ours.map_or(Cow::Borrowed(provider_id), Cow::Owned))
    }
}

/// A tool's name in the letters of a surface. The text behind the mark of a special token is no part of the name.
fn name<'a>(name: &'a str, marks: &str) -> Cow<'a, str> {
    let takes = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || marks.contains(c);
    if !name.is_empty() && name.len() <= MAX_BYTES && name.chars().all(takes) {
        return Cow::Borrowed(name);
    }
    let head = name.split("<|").find(|part| !part.trim().is_empty());
    let head = head.unwrap_or_default().trim();
    let mended = head.chars().map(|c| if takes(c) { c } else { '_' });
    let mended: String = mended.take(MAX_BYTES).collect();
    match mended.trim_matches('_') {
        "" => Cow::Borrowed(NAMELESS),
        mended => Cow::Owned(mended.to_owned()),
    }
}

#[cfg(test)]
mod tests;
