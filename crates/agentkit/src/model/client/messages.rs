//! Anthropic's Messages. Source: <https://platform.claude.com/docs/en/api/messages>.

mod answer;
mod request;

pub(super) use self::{answer::Decoder, request::body};
