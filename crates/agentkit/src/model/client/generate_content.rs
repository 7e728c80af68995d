//! Gemini's generateContent. Source: <https://ai.google.dev/api/generate-content>.

mod answer;
mod request;

pub(super) use self::{
    answer::Decoder,
    request::{body, path},
};
