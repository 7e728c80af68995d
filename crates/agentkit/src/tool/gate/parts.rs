//! Keeps the parts of a result within bounds, and describes them in words.

use bytes::Bytes;
use serde_json::Value;

use crate::{
    event::{ContentPart, Media},
    model::Image,
    tool::{OutputPart, digest_hex},
};

/// The most parts of a result; further parts are left out.
const MAX_PARTS: usize = 32;
/// The most bytes of an image or a recording: more than that no provider takes in base64.
const MAX_MEDIA: usize = 3_750_000;
/// The most bytes of a link's words, each.
const MAX_DESCRIPTION: usize = 2 * 1024;

/// The parts of a result as they are recorded.
pub(super) struct StoredParts {
    pub(super) parts: Vec<ContentPart>,
    pub(super) blobs: Vec<(String, Bytes)>,
    /// The parts in words: for readers who see no parts.
    pub(super) description: String,
    /// The description of left-out parts.
    pub(super) left_out: String,
}

/// Caps the parts of a result.
pub(super) fn keep(output: Vec<OutputPart>) -> StoredParts {
    let mut kept = StoredParts {
        parts: Vec::new(),
        blobs: Vec::new(),
        description: String::new(),
        left_out: String::new(),
    };
    let more = output.len().saturating_sub(MAX_PARTS);
    for part in output.into_iter().take(MAX_PARTS) {
        kept.add(part);
    }
    if more > 0 {
        kept.leave_out(&format!("[{more} more parts are left out]"));
    }
    kept
}

impl StoredParts {
    fn add(&mut self, part: OutputPart) {
        match part {
            OutputPart::Text(text) => {
                self.describe(&text);
                self.parts.push(ContentPart::Text { text });
            }
            OutputPart::Structured(value) => {
                self.describe(&value.to_string());
                self.parts.push(ContentPart::Structured { value });
            }
            OutputPart::ResourceLink {
                uri,
                name,
                description,
                media_type,
            } => {
                let cut =
                    |text: String| text[..text.floor_char_boundary(MAX_DESCRIPTION)].to_owned();
                let (uri, name) = (cut(uri), name.map(cut));
                let called = name.as_deref().unwrap_or("a resource");
                self.describe(&format!("[{called}: {uri}]"));
                self.parts.push(ContentPart::ResourceLink {
                    uri,
                    name,
                    description: description.map(cut),
                    media_type: media_type.map(cut),
                });
            }
            OutputPart::Image(bytes) => match Image::kind_of(&bytes) {
                Some(kind) => self.media("image", kind.to_owned(), bytes),
                None => {
                    self.leave_out("[an image that is no PNG, JPEG, GIF or WebP, and is left out]");
                }
            },
            OutputPart::Audio { media_type, bytes } => {
                let kind = media_type[..media_type.floor_char_boundary(100)].to_owned();
                self.media("audio", kind, bytes);
            }
        }
    }

    fn media(&mut self, what: &str, media_type: String, bytes: Bytes) {
        let size = bytes.len();
        if size > MAX_MEDIA {
            self.leave_out(&format!(
                "[{what}: {media_type}, {size} bytes; it is left out, {MAX_MEDIA} bytes are the most]"
            ));
            return;
        }
        self.describe(&format!("[{what}: {media_type}, {size} bytes]"));
        let media = Media {
            media_type,
            digest: digest_hex(&bytes),
            bytes: size as u64,
        };
        self.blobs.push((media.digest.clone(), bytes));
        self.parts.push(match what {
            "image" => ContentPart::Image { media },
            _ => ContentPart::Audio { media },
        });
    }

    fn leave_out(&mut self, description: &str) {
        self.left_out.push_str(description);
        self.describe(description);
    }

    fn describe(&mut self, description: &str) {
        if !self.description.is_empty() {
            self.description.push('\n');
        }
        self.description.push_str(description);
    }

    /// Without the parts that the words hold as well: the words are kept apart as a whole.
    pub(super) fn forget_text(&mut self) {
        self.parts.retain(|part| match part {
            ContentPart::Text { .. } | ContentPart::Structured { .. } => false,
            ContentPart::Image { .. }
            | ContentPart::Audio { .. }
            | ContentPart::ResourceLink { .. } => true,
        });
    }

    /// The shown content of a result with these parts: its own content, and a note about left-out parts;
    /// without content of its own, the parts in words.
    pub(super) fn content(&self, content: Value) -> Value {
        match content {
            Value::Null if !self.description.is_empty() => self.description.as_str().into(),
            content if self.left_out.is_empty() => content,
            Value::String(text) => format!("{text}\n{}", self.left_out).into(),
            content => format!("{content}\n{}", self.left_out).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        StepId,
        tool::{GateLimits, ToolOutput, gate::cap},
    };

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

    fn capped(content: Value, parts: Vec<OutputPart>) -> crate::tool::Outcome {
        let output = ToolOutput {
            content,
            parts,
            ..ToolOutput::default()
        };
        cap::output("t", output, StepId(2), GateLimits::default()).unwrap()
    }

    fn link(uri: String) -> OutputPart {
        OutputPart::ResourceLink {
            uri,
            name: Some("table".to_owned()),
            description: None,
            media_type: None,
        }
    }

    #[test]
    fn parts_are_kept_and_said_in_words() {
        let audio = OutputPart::Audio {
            media_type: "audio/wav".to_owned(),
            bytes: Bytes::from_static(b"RIFF"),
        };
        let outcome = capped(
            Value::Null,
            vec![
                OutputPart::Text("a chart".to_owned()),
                OutputPart::Image(Bytes::from_static(PNG)),
                audio,
                link("https://a.example/t.csv".to_owned()),
                OutputPart::Structured(json!({"n": 1})),
            ],
        );
        let description = "a chart\n[image: image/png, 8 bytes]\n[audio: audio/wav, 4 bytes]\n[table: \
                     https://a.example/t.csv]\n{\"n\":1}";
        assert_eq!(outcome.output, json!(description));
        assert_eq!(outcome.parts.len(), 5);
        let digests: Vec<_> = outcome
            .parts
            .iter()
            .filter_map(ContentPart::media)
            .collect();
        assert_eq!(digests.len(), 2);
        for (media, (digest, bytes)) in digests.iter().zip(&outcome.blobs) {
            assert_eq!((&media.digest, media.bytes), (digest, bytes.len() as u64));
        }
        // Content of the tool's own stands as it is.
        let image = || vec![OutputPart::Image(Bytes::from_static(PNG))];
        assert_eq!(capped(json!({"n": 1}), image()).output, json!({"n": 1}));
    }

    #[test]
    fn what_no_model_takes_is_left_out_and_said() {
        let mut large = PNG.to_vec();
        large.resize(MAX_MEDIA + 1, 0);
        for (image, word) in [
            (Bytes::from(large), "bytes are the most"),
            (Bytes::from_static(b"BM"), "no PNG"),
        ] {
            for content in [Value::Null, json!("seen"), json!({"seen": 1})] {
                let outcome = capped(content, vec![OutputPart::Image(image.clone())]);
                assert_eq!((outcome.parts.len(), outcome.blobs.len()), (0, 0));
                assert!(
                    outcome.output.as_str().unwrap().contains(word),
                    "{}",
                    outcome.output
                );
            }
        }
        let many = (0..40).map(|n| OutputPart::Text(n.to_string())).collect();
        let outcome = capped(Value::Null, many);
        assert_eq!(outcome.parts.len(), MAX_PARTS);
        assert!(
            outcome
                .output
                .as_str()
                .unwrap()
                .ends_with("[8 more parts are left out]")
        );
        let outcome = capped(Value::Null, vec![link("x".repeat(100_000))]);
        assert!(serde_json::to_vec(&outcome.parts).unwrap().len() < 2 * MAX_DESCRIPTION);
    }

    #[test]
    fn parts_that_are_too_large_to_show_are_recorded_once() {
        let parts = vec![
            OutputPart::Text("x".repeat(50_000)),
            OutputPart::Image(Bytes::from_static(PNG)),
        ];
        let outcome = capped(Value::Null, parts);
        assert!(outcome.handle.is_some());
        assert!(outcome.output["preview"].is_string());
        assert!(
            matches!(outcome.parts[..], [ContentPart::Image { .. }]),
            "{:?}",
            outcome.parts
        );
    }
}
