//! What a tool returns, and its parts.

use bytes::Bytes;
use serde_json::Value;

use super::Then;

/// What a tool returned.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolOutput {
    /// The result; text is a string. Null if `parts` are all of it.
    pub content: Value,
    /// What else the result holds, in its order. A model is shown those that its provider takes in
    /// results of tools, and a note in place of the others.
    pub parts: Vec<OutputPart>,
    /// Files of the workspace that it wrote, path relative to it; `None` for one it removed.
    pub files: Vec<(String, Option<Bytes>)>,
    /// What follows from the call.
    pub then: Option<Then>,
}

impl From<Value> for ToolOutput {
    fn from(content: Value) -> Self {
        Self {
            content,
            ..Self::default()
        }
    }
}

impl From<Vec<OutputPart>> for ToolOutput {
    fn from(parts: Vec<OutputPart>) -> Self {
        Self {
            parts,
            ..Self::default()
        }
    }
}

/// A part of a result.
#[derive(Debug, Clone, PartialEq)]
pub enum OutputPart {
    /// Text.
    Text(String),
    /// An image: PNG, JPEG, GIF or WebP.
    Image(Bytes),
    /// A recording.
    Audio {
        /// For instance `audio/wav`.
        media_type: String,
        /// The recording.
        bytes: Bytes,
    },
    /// Something that can be read elsewhere.
    ResourceLink {
        /// Where.
        uri: String,
        /// What it is called.
        name: Option<String>,
        /// What it is.
        description: Option<String>,
        /// For instance `text/csv`.
        media_type: Option<String>,
    },
    /// A value.
    Structured(Value),
}
