//! Models: the trait, the request and the answer, and the clients.

pub mod cassette;
pub mod catalog;
pub mod client;
mod error;
mod image;
mod parts;
#[cfg(feature = "scripted")]
pub mod scripted;

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::{
    catalog::{Catalog, ModelInfo, Prices},
    error::{ModelError, ModelErrorKind},
    image::{Image, ImageError},
};
use crate::{
    BoxFuture,
    event::{FinishReason, Media, Purpose, StepId, Usage},
    tool::ToolSpec,
};

/// A model that answers one request at a time. It holds no state of a run.
pub trait Model: Send + Sync {
    /// Provider and model, for instance `openai/gpt-5`.
    fn name(&self) -> &str;

    /// Whether an LLM answers. The scripted model says no, and every surface tells so.
    fn is_llm(&self) -> bool {
        true
    }

    /// What the model table knows of it, if it has a row there.
    fn info(&self) -> Option<&ModelInfo> {
        None
    }

    /// Makes one call, without retrying. Dropping the future cancels it.
    fn call<'a>(
        &'a self,
        request: &'a Request,
        deltas: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>>;

    /// The same model under a name of its own, for a chain that has it twice: two regions or two keys
    /// of one provider. The first part of the name stays the provider, for instance `openai/gpt-5@eu`.
    fn named(self, name: impl Into<String>) -> Named<Self>
    where
        Self: Sized,
    {
        Named {
            name: name.into(),
            model: self,
        }
    }
}

/// A model under another name: see [`Model::named`].
#[derive(Debug, Clone)]
pub struct Named<M> {
    name: String,
    model: M,
}

impl<M: Model> Model for Named<M> {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_llm(&self) -> bool {
        self.model.is_llm()
    }

    fn info(&self) -> Option<&ModelInfo> {
        self.model.info()
    }

    fn call<'a>(
        &'a self,
        request: &'a Request,
        deltas: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        self.model.call(request, deltas)
    }
}

impl<M: Model + ?Sized> Model for Arc<M> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn is_llm(&self) -> bool {
        (**self).is_llm()
    }

    fn info(&self) -> Option<&ModelInfo> {
        (**self).info()
    }

    fn call<'a>(
        &'a self,
        request: &'a Request,
        deltas: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        (**self).call(request, deltas)
    }
}

/// What a model is asked.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// What it is for. No provider is told; a scripted model answers accordingly.
    pub purpose: Purpose,
    /// The conversation so far, oldest first; shared with the run, which may be long.
    pub messages: Vec<Arc<Message>>,
    /// The tools that it may call.
    pub tools: Vec<Arc<ToolSpec>>,
    /// Only sent if configured.
    pub max_output_tokens: Option<u64>,
    /// Only sent if configured, and to models that accept it: newer ones reject it.
    pub temperature: Option<f64>,
    /// What the answer has to look like. It is sent where the model can be held to it; whoever
    /// reads the answer checks it all the same.
    pub response_schema: Option<ResponseSchema>,
    /// How often a model has answered in the run, for one that follows a script: the conversation
    /// does not hold every answer.
    pub answers: Option<u32>,
    /// About how many tokens the messages have, where the run has counted them as they came: a model
    /// that counts none itself need not add up a long conversation.
    pub message_tokens: Option<u64>,
    /// About how many tokens the whole prompt has as its provider counts them, where the run knows.
    pub prompt_tokens: Option<u64>,
    /// The images of the tools' results, by digest. One that is not here is left out.
    pub images: Arc<BTreeMap<String, Arc<Image>>>,
}

/// A schema for the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ResponseSchema {
    /// A name for it: letters, digits, `_` and `-`.
    pub name: String,
    /// A JSON Schema.
    pub schema: Value,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Message {
    /// Instructions.
    System {
        /// The text.
        content: String,
    },
    /// What the person asks, or what the machine tells the model.
    User {
        /// The text.
        content: String,
        /// What the person shows.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        images: Vec<Image>,
    },
    /// What the model said.
    Assistant {
        /// The text.
        content: String,
        /// The calls it asked for, in its order.
        calls: Vec<MessageCall>,
        /// Opaque provider parts, replayed unchanged.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parts: Option<Value>,
    },
    /// What a tool call returned.
    Tool {
        /// The call.
        step: StepId,
        /// The provider's id of the call.
        provider_id: String,
        /// The tool.
        name: String,
        /// The result as text (JSON unless it is a string).
        content: String,
        /// Whether the call failed.
        is_error: bool,
        /// The images among its parts: their bytes are in [`Request::images`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        images: Vec<Media>,
    },
}

impl Message {
    /// Words of the person.
    pub fn user(content: impl Into<String>) -> Self {
        Self::User {
            content: content.into(),
            images: Vec::new(),
        }
    }
}

/// A call inside an assistant message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MessageCall {
    /// The call.
    pub step: StepId,
    /// The provider's id of the call.
    pub provider_id: String,
    /// The tool.
    pub name: String,
    /// The arguments; a string holding the raw text if they were not JSON.
    pub arguments: Value,
}

/// What a model answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The text.
    pub content: String,
    /// The calls it asks for, in its order.
    pub calls: Vec<ResponseCall>,
    /// What it used.
    pub usage: Usage,
    /// Why it stopped.
    pub finish: FinishReason,
    /// The model as the provider names it.
    pub model: String,
    /// Opaque provider parts, to be replayed unchanged.
    pub parts: Option<Value>,
    /// The provider's id of the request.
    pub request_id: Option<String>,
}

/// A call that a model asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResponseCall {
    /// The provider's id of the call.
    pub provider_id: String,
    /// The tool.
    pub name: String,
    /// The arguments exactly as they came: JSON text, one hopes.
    pub arguments: String,
}

/// Follows an answer while it is made. Deltas are never log output and may be lost.
pub trait DeltaSink: Send + Sync {
    /// More text of the answer.
    fn text(&self, delta: &str);
}

/// Ignores every delta.
pub struct NoDeltas;

impl DeltaSink for NoDeltas {
    fn text(&self, _: &str) {}
}
