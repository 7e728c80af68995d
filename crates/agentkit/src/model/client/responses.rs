//! OpenAI's Responses, without state at the provider: every request carries the whole conversation.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses>.

mod answer;
mod request;

pub(super) use self::{answer::Decoder, request::body};
