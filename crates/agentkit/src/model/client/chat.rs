//! OpenAI's chat completions. Source: <https://platform.openai.com/docs/api-reference/chat>.

mod answer;
mod completion;
mod request;

pub(super) use self::{answer::Decoder, request::body};
