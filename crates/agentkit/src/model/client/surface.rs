//! The surfaces of the providers: which one speaks how.

use reqwest::header::{AUTHORIZATION, HeaderName};
use serde::{Deserialize, Serialize};

use super::{
    Config,
    builder::Decode,
    chat, generate_content, messages,
    request::{Mode, Outgoing},
    responses,
};

/// A way to ask a model, and to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiSurface {
    /// OpenAI's chat completions: also what OpenRouter, Ollama, vLLM, llama.cpp and most gateways
    /// speak.
    Chat,
    /// OpenAI's Responses, used without state at the provider.
    Responses,
    /// Anthropic's Messages.
    Messages,
    /// Gemini's generateContent.
    GenerateContent,
}

impl ApiSurface {
    /// The name in the model table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::GenerateContent => "generate_content",
        }
    }

    /// The version that a base URL ends in where the user left it out.
    pub(super) fn version(self) -> Option<&'static str> {
        match self {
            Self::Chat | Self::Responses => None,
            Self::Messages => Some("v1"),
            Self::GenerateContent => Some("v1beta"),
        }
    }

    /// The parts of the path after the base URL.
    pub(super) fn path(self, config: &Config) -> Vec<String> {
        let owned = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect();
        match self {
            Self::Chat => owned(&["chat", "completions"]),
            Self::Responses => owned(&["responses"]),
            Self::Messages => owned(&["messages"]),
            Self::GenerateContent => generate_content::path(&config.model, config.mode()),
        }
    }

    /// The query of a URL.
    pub(super) fn query(self, mode: Mode) -> Option<(&'static str, &'static str)> {
        match (self, mode) {
            (Self::GenerateContent, Mode::Stream) => Some(("alt", "sse")),
            (Self::Chat | Self::Responses | Self::Messages, _) | (_, Mode::Whole) => None,
        }
    }

    /// The header that carries a key.
    pub(super) fn key(self, key: &str) -> (HeaderName, String) {
        match self {
            Self::Chat | Self::Responses => (AUTHORIZATION, format!("Bearer {key}")),
            Self::Messages => (HeaderName::from_static("x-api-key"), key.to_owned()),
            Self::GenerateContent => (HeaderName::from_static("x-goog-api-key"), key.to_owned()),
        }
    }

    /// A header that every request carries.
    pub(super) fn header(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Messages => Some(("anthropic-version", "2023-06-01")),
            Self::Chat | Self::Responses | Self::GenerateContent => None,
        }
    }

    /// The body of a request.
    pub(super) fn body(self, outgoing: &Outgoing<'_>) -> Vec<u8> {
        match self {
            Self::Chat => chat::body(outgoing),
            Self::Responses => responses::body(outgoing),
            Self::Messages => messages::body(outgoing),
            Self::GenerateContent => generate_content::body(outgoing),
        }
    }

    /// What reads an answer.
    pub(super) fn decoder(self) -> Box<dyn Decode> {
        match self {
            Self::Chat => Box::<chat::Decoder>::default(),
            Self::Responses => Box::<responses::Decoder>::default(),
            Self::Messages => Box::<messages::Decoder>::default(),
            Self::GenerateContent => Box::<generate_content::Decoder>::default(),
        }
    }
}
