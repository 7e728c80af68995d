//! The parts of a tool's result, as they are recorded.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A part of a tool's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ContentPart {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// An image.
    Image {
        /// Its bytes.
        #[serde(flatten)]
        media: Media,
    },
    /// A recording.
    Audio {
        /// Its bytes.
        #[serde(flatten)]
        media: Media,
    },
    /// A resource outside of the log.
    ResourceLink {
        /// Where.
        uri: String,
        /// Title of the resource.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Description of the resource.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// For instance `text/csv`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        media_type: Option<String>,
    },
    /// A value.
    Structured {
        /// The value.
        value: Value,
    },
}

/// Bytes that are kept in the blob store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    /// For instance `image/png`.
    pub media_type: String,
    /// SHA-256 of the bytes, in hex.
    pub digest: String,
    /// How many there are.
    pub bytes: u64,
}

impl ContentPart {
    /// Its bytes in the blob store, if it has any.
    #[must_use]
    pub fn media(&self) -> Option<&Media> {
        match self {
            Self::Image { media } | Self::Audio { media } => Some(media),
            Self::Text { .. } | Self::ResourceLink { .. } | Self::Structured { .. } => None,
        }
    }

    /// The part as an image; `None` for other parts.
    #[must_use]
    pub fn image(&self) -> Option<&Media> {
        match self {
            Self::Image { media } => Some(media),
            Self::Audio { .. }
            | Self::Text { .. }
            | Self::ResourceLink { .. }
            | Self::Structured { .. } => None,
        }
    }
}
