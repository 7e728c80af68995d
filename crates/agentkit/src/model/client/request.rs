//! What the requests of all surfaces have in common. They borrow from [`Request`].

use std::{borrow::Cow, sync::Arc};

use super::{Config, learnt::Learnt, project::project, schema::is_held};
use crate::{
    memory::{IMAGE_TOKENS, estimate_tokens, specs_tokens},
    model::{Image, Message, Request, ResponseSchema},
    tool::ToolSpec,
};
use serde::{Serialize, Serializer, ser::SerializeSeq};
use serde_json::Value;

/// A run keeps so much of the context free for an answer, in tokens.
const LEAST_ANSWER: u64 = 4_096;

/// A request on its way to a model.
pub(super) struct Outgoing<'a> {
    pub(super) config: &'a Config,
    /// Provider and model, to know the model's own parts by.
    pub(super) name: &'a str,
    pub(super) request: &'a Request,
    pub(super) learnt: &'a Learnt,
}

/// A tool as a surface is sent it.
pub(super) struct Sent<'a> {
    pub(super) name: &'a str,
    pub(super) description: &'a str,
    /// Schema of the arguments.
    pub(super) schema: Cow<'a, Value>,
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
            let has_tools = self.taken().next().is_some();
            is_held(self.name, &self.config.info, &schema.schema, has_tools)
        };
        self.request.response_schema.as_ref().filter(held)
    }

    /// The tools as the surface takes them, without those that the provider has refused; `None` without tools.
    pub(super) fn tools(&self) -> Option<Vec<Sent<'a>>> {
        let surface = self.config.surface();
        let taken = self.taken();
        let sent = taken.map(|tool| Sent {
            name: &tool.name,
            description: &tool.description,
            schema: project(&tool.input_schema, surface),
        });
        let sent: Vec<Sent<'a>> = sent.collect();
        (!sent.is_empty()).then_some(sent)
    }

    fn taken(&self) -> impl Iterator<Item = &'a Arc<ToolSpec>> {
        let learnt = self.learnt;
        let tools = self.request.tools.iter();
        tools.filter(move |tool| !learnt.is_left_out(tool))
    }

    /// The most tokens that an answer may have, where the surface wants a number: what is asked for,
    /// or what the model gives at the most, as far as its context has room for it.
    ///
    /// A provider refuses a prompt together with a longer answer than its context holds, though the
    /// answer would be short.
    pub(super) fn answer_limit(&self, usual: u64) -> u64 {
        let info = &self.config.info;
        let limit = self.request.max_output_tokens.or(info.max_output_tokens);
        let limit = limit.unwrap_or(usual);
        let Some(context) = info.context_tokens else {
            return limit;
        };
        let prompt = self.request.prompt_tokens.unwrap_or_else(|| {
            let messages = self.request.messages.iter();
            let messages: u64 = messages.map(|message| estimate_tokens(message)).sum();
            messages + specs_tokens(&self.request.tools)
        });
        // Counts are near, and not exact.
        let prompt = prompt.saturating_add(prompt / 16);
        limit.min(context.saturating_sub(prompt).max(LEAST_ANSWER))
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
        for image in self.request.images.values() {
            shown += IMAGE_TOKENS;
            if let Image::Inline { base64, .. } = &**image {
                text = text.saturating_sub(base64.len());
            }
        }
        (text / 4) as u64 + shown
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
