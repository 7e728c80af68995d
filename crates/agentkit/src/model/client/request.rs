//! What the requests of all surfaces have in common. They borrow from [`Request`].

use std::sync::Arc;

use serde::{Serialize, Serializer, ser::SerializeSeq};
use serde_json::{Value, value::RawValue};

use super::{Config, schema::is_held};
use crate::{
    event::StepId,
    memory::IMAGE_TOKENS,
    model::{Image, Message, MessageCall, Request, ResponseSchema, parts},
    tool::ToolSpec,
};

/// A request on its way to a model.
pub(super) struct Outgoing<'a> {
    pub(super) config: &'a Config,
    /// Provider and model, to know the model's own parts by.
    pub(super) name: &'a str,
    pub(super) request: &'a Request,
}

/// How the answer is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Whole,
    Stream,
}

impl<'a> Outgoing<'a> {
    /// `true` if a stream is asked for, and else nothing.
    pub(super) fn stream(&self) -> Option<bool> {
        (self.config.mode() == Mode::Stream).then_some(true)
    }

    /// The temperature, if one is configured and the model accepts it.
    pub(super) fn temperature(&self) -> Option<f64> {
        let accepted = self.config.info.temperature != Some(false);
        self.request.temperature.filter(|_| accepted)
    }

    /// The schema of the answer, if one is asked for and the model can be held to it.
    pub(super) fn schema(&self) -> Option<&'a ResponseSchema> {
        let held = |schema: &&ResponseSchema| {
            let has_tools = self.tools().is_some();
            is_held(self.name, &self.config.info, &schema.schema, has_tools)
        };
        self.request.response_schema.as_ref().filter(held)
    }

    /// The tools, if there are any.
    pub(super) fn tools(&self) -> Option<&'a [Arc<ToolSpec>]> {
        Some(&*self.request.tools).filter(|tools| !tools.is_empty())
    }

    /// About how many tokens a body of so many bytes has. The bytes of an image are no text.
    pub(super) fn estimated(&self, bytes: usize) -> u64 {
        let messages = self.request.messages.iter();
        let images = messages.flat_map(|message| match &**message {
            Message::User { images, .. } => images.as_slice(),
            Message::System { .. } | Message::Assistant { .. } | Message::Tool { .. } => &[],
        });
        let (mut text, mut shown) = (bytes, 0);
        for image in images {
            shown += IMAGE_TOKENS;
            if let Image::Inline { base64, .. } = image {
                text = text.saturating_sub(base64.len());
            }
        }
        (text / 4) as u64 + shown
    }

    /// The parts of a message as the model sent them, if this model did.
    pub(super) fn own_parts(&self, parts: Option<&'a Value>) -> Option<&'a RawValue> {
        serde_json::from_str(parts::replay(parts, self.name)?).ok()
    }

    /// The instructions, one after the other.
    pub(super) fn instructions(&self) -> impl Iterator<Item = &'a str> {
        self.request
            .messages
            .iter()
            .filter_map(|message| match &**message {
                Message::System { content } => {
                    Some(content.as_str()).filter(|text| !text.is_empty())
                }
                Message::User { .. } | Message::Assistant { .. } | Message::Tool { .. } => None,
            })
    }
}

/// The body as bytes.
pub(super) fn bytes(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("a request has string keys only, so it always serialises")
}

/// A list that is written one by one.
pub(super) struct List<F>(pub(super) F);

impl<F, I> Serialize for List<F>
where
    F: Fn() -> I,
    I: Iterator<Item: Serialize>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for item in (self.0)() {
            list.serialize_element(&item)?;
        }
        list.end()
    }
}

/// The provider's id of a call, or ours where it gave none.
#[derive(Clone, Copy)]
pub(super) struct CallId<'a> {
    pub(super) provider_id: &'a str,
    pub(super) step: StepId,
}

impl<'a> CallId<'a> {
    pub(super) fn of(call: &'a MessageCall) -> Self {
        Self {
            provider_id: &call.provider_id,
            step: call.step,
        }
    }

    /// The same id; ours where the provider's would not do as an id with most others. A
    /// conversation that began at another provider brings ids of its own forms.
    pub(super) fn plain(self) -> Self {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let fits = self.provider_id.len() <= 64 && self.provider_id.bytes().all(plain);
        Self {
            provider_id: if fits { self.provider_id } else { "" },
            ..self
        }
    }
}

impl Serialize for CallId<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.provider_id.is_empty() {
            serializer.collect_str(&self.step)
        } else {
            serializer.serialize_str(self.provider_id)
        }
    }
}

/// Arguments as a string that holds JSON; a string is the raw text that was no JSON.
pub(super) struct JsonText<'a>(pub(super) &'a Value);

impl Serialize for JsonText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(raw) => serializer.serialize_str(raw),
            value => serializer.collect_str(value),
        }
    }
}

/// Arguments as an object; an empty one where the model sent something else, which some surfaces
/// do not take back.
pub(super) struct JsonObject<'a>(pub(super) &'a Value);

impl Serialize for JsonObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(map) => map.serialize(serializer),
            _ => serializer.collect_map(std::iter::empty::<((), ())>()),
        }
    }
}

/// An image as a URL, a `data:` URL if its bytes are at hand.
pub(super) struct ImageUrl<'a>(pub(super) &'a Image);

impl Serialize for ImageUrl<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Image::Url { url } => serializer.serialize_str(url),
            Image::Inline { media_type, base64 } => {
                serializer.collect_str(&format_args!("data:{media_type};base64,{base64}"))
            }
        }
    }
}
