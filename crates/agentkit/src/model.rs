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
    error::{MAX_RETRY_AFTER, ModelError, ModelErrorKind},
    image::{Image, ImageError},
};
use crate::{
    BoxFuture,
    event::{FinishReason, Media, Purpose, StepId, Usage},
    tool::ToolSpec,
};

/// A model: answers requests, and holds no state of a run.
pub trait Model: Send + Sync {
    /// Provider and model, for instance `openai/gpt-5`.
    fn name(&self) -> &str;

    /// Whether an LLM answers. The scripted model says no, and every surface tells so.
    fn is_llm(&self) -> bool {
        true
    }

    /// The row of the model table, if the model has a row.
    fn info(&self) -> Option<&ModelInfo> {
        None
    }

    /// Tools whose definitions the provider refuses: requests are sent without these tools.
    fn tools_left_out(&self, tools: &[Arc<ToolSpec>]) -> Vec<String> {
        let _ = tools;
        Vec::new()
    }

    /// Makes a call, without a retry. Dropping the future cancels the call.
    fn call<'a>(
        &'a self,
        request: &'a Request,
        deltas: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>>;

    /// The same model under a further name, for a chain with the model twice: two regions or two keys
    /// of a provider. The first part of the name stays the provider, for instance `openai/gpt-5@eu`.
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

/// A model under a further name: see [`Model::named`].
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

    fn tools_left_out(&self, tools: &[Arc<ToolSpec>]) -> Vec<String> {
        self.model.tools_left_out(tools)
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

    fn tools_left_out(&self, tools: &[Arc<ToolSpec>]) -> Vec<String> {
        (**self).tools_left_out(tools)
    }

    fn call<'a>(
        &'a self,
        request: &'a Request,
        deltas: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        (**self).call(request, deltas)
    }
}

/// A request to a model.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Purpose of the request. Providers never see the purpose; a scripted model answers accordingly.
    pub purpose: Purpose,
    /// The conversation so far, oldest first; shared with the run, as conversations may be long.
    pub messages: Vec<Arc<Message>>,
    /// Tools that the model may call.
    pub tools: Vec<Arc<ToolSpec>>,
    /// Only sent if configured.
    pub max_output_tokens: Option<u64>,
    /// Sent if configured, to models that accept a temperature: newer models reject the field.
    pub temperature: Option<f64>,
    /// Form of the answer. The schema is sent to models that can be held to a schema; the reader of the answer
    /// checks the answer all the same.
    pub response_schema: Option<ResponseSchema>,
    /// Number of answers in the run so far, for scripted models: the conversation does not hold every answer.
    pub answers: Option<u32>,
    /// Estimated tokens of the messages, where the run has counted: a model without a counter need not add up a
    /// long conversation.
    pub message_tokens: Option<u64>,
    /// About how many tokens the whole prompt has as its provider counts them, where the run knows.
    pub prompt_tokens: Option<u64>,
    /// The images of the tools' results, by digest. An image without an entry is left out.
    pub images: Arc<BTreeMap<String, Arc<Image>>>,
}

/// A schema for the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ResponseSchema {
    /// Name of the schema: letters, digits, `_` and `-`.
    pub name: String,
    /// A JSON Schema.
    pub schema: Value,
}

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Message {
    /// Instructions.
    System {
        /// The text.
        content: String,
    },
    /// Words of the person, or of the machine to the model.
    User {
        /// The text.
        content: String,
        /// Images of the person.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        images: Vec<Image>,
    },
    /// An answer of the model.
    Assistant {
        /// The text.
        content: String,
        /// The requested calls, in the order of the model.
        calls: Vec<MessageCall>,
        /// Opaque provider parts, replayed unchanged.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parts: Option<Value>,
    },
    /// The result of a tool call.
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

/// An answer of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The text.
    pub content: String,
    /// The requested calls, in the order of the model.
    pub calls: Vec<ResponseCall>,
    /// Usage of the call.
    pub usage: Usage,
    /// Reason of the end of the answer.
    pub finish: FinishReason,
    /// The model as the provider names it.
    pub model: String,
    /// Opaque provider parts, to be replayed unchanged.
    pub parts: Option<Value>,
    /// The provider's id of the request.
    pub request_id: Option<String>,
}

/// A call requested by a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResponseCall {
    /// The provider's id of the call.
    pub provider_id: String,
    /// The tool.
    pub name: String,
    /// The arguments exactly as received: usually JSON text.
    pub arguments: String,
}

/// Follows the making of an answer. Deltas are never log output and may be lost.
pub trait DeltaSink: Send + Sync {
    /// More text of the answer.
    fn text(&self, delta: &str);
}

/// Ignores every delta.
pub struct NoDeltas;

impl DeltaSink for NoDeltas {
    fn text(&self, _: &str) {}
}
