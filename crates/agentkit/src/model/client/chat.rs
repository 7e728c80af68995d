//! OpenAI's chat completions. Source: <https://platform.openai.com/docs/api-reference/chat>.

mod answer;
mod request;

pub(super) use self::{answer::Decoder, request::body};
