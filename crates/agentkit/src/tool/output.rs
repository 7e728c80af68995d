//! The return value of a tool, and its parts.

use bytes::Bytes;
use serde_json::Value;

use super::FollowUp;

/// The return value of a tool.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolOutput {
    /// The result; text is a string. Null if `parts` are all of it.
    pub content: Value,
    /// Further parts of the result, in order. A model sees the parts that its provider takes in results of
    /// tools, and a note in place of the others.
    pub parts: Vec<OutputPart>,
    /// Files of the workspace that the call wrote, with relative paths; `None` for a removed file.
    pub files: Vec<(String, Option<Bytes>)>,
    /// Request that follows the call.
    pub follow_up: Option<FollowUp>,
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
    /// A resource outside of the result.
    ResourceLink {
        /// Where.
        uri: String,
        /// Title of the resource.
        name: Option<String>,
        /// Description of the resource.
        description: Option<String>,
        /// For instance `text/csv`.
        media_type: Option<String>,
    },
    /// A value.
    Structured(Value),
}
