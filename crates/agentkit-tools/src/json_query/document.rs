//! The document that is queried, and how large it may be.

use agentkit::{event::Failure, tool::ToolContext};
use serde_json::Value;

use crate::{
    read_result,
    workspace::{blocking, file_path, read_whole},
};

/// The most bytes of a document.
const MAX_BYTES: u64 = 64 << 20;
/// The most memory that a document may take once it is read, about, in bytes.
const MAX_MEMORY: usize = 256 << 20;
/// What an object takes beyond its text, at the most: its members are kept in nodes of eleven.
const OBJECT: usize = 640;
/// What any other value takes beyond its text, at the most.
const VALUE: usize = 64;
/// So much of a large result is read at once.
const PIECE: u64 = 4 << 20;

/// Where the document is.
pub(super) enum Source {
    File(String),
    Result(String),
    Given(Value),
}

/// A document before it is read.
pub(super) enum Text {
    Bytes(Vec<u8>),
    Given(Value),
}

impl Source {
    pub(super) fn of(
        path: Option<String>,
        handle: Option<String>,
        json: Option<Value>,
    ) -> Result<Self, Failure> {
        match (path, handle, json) {
            (Some(path), None, None) => Ok(Self::File(path)),
            (None, Some(handle), None) => Ok(Self::Result(handle)),
            (None, None, Some(json)) => Ok(Self::Given(json)),
            _ => Err(Failure::last(
                "invalid_arguments",
                "give one of `path`, `handle` and `json`",
            )),
        }
    }

    pub(super) async fn load(self, context: &ToolContext) -> Result<Text, Failure> {
        match self {
            Self::File(path) => {
                let path = file_path(&path)?;
                blocking(context, move |root, _| read_whole(root, &path, MAX_BYTES))
                    .await
                    .map(Text::Bytes)
            }
            Self::Result(handle) => {
                let result = read_result::find(&handle, context)?;
                if result.bytes > MAX_BYTES {
                    return Err(too_large(&format!("has {} bytes", result.bytes)));
                }
                let mut whole = Vec::new();
                while (whole.len() as u64) < result.bytes {
                    let at = whole.len() as u64;
                    let length = PIECE.min(result.bytes - at);
                    let piece = context.blobs.read(&result.digest, at, length).await?;
                    if piece.is_empty() {
                        return Err(read_result::incomplete(&handle, result.bytes, at));
                    }
                    whole.extend_from_slice(&piece);
                }
                Ok(Text::Bytes(whole))
            }
            Self::Given(json) => Ok(Text::Given(json)),
        }
    }
}

impl Text {
    pub(super) fn parse(self) -> Result<Value, Failure> {
        match self {
            Self::Bytes(bytes) => parse(&bytes),
            Self::Given(json) => Ok(json),
        }
    }
}

/// The JSON in a string of the document.
pub(super) fn inside(document: &Value, pointer: &str) -> Result<Value, Failure> {
    let wrong = |problem: &str| {
        let shown: String = pointer.chars().take(100).collect();
        Failure::last(
            "invalid_arguments",
            format!("`inside`: {shown:?} {problem}"),
        )
    };
    match document.pointer(pointer) {
        Some(Value::String(text)) => parse(text.as_bytes()),
        Some(_) => Err(wrong("is not a string")),
        None => Err(wrong("points to nothing; it is a JSON Pointer like /text")),
    }
}

fn parse(bytes: &[u8]) -> Result<Value, Failure> {
    if memory(bytes) > MAX_MEMORY {
        return Err(too_large("holds too many values"));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        Failure::last(
            "not_json",
            format!("the document is not valid JSON: {error}"),
        )
    })
}

fn too_large(what: &str) -> Failure {
    let message = format!("the document {what}: query a part of it, or search it as text");
    Failure::last("document_too_large", message)
}

/// A bound of the memory that JSON text takes once it is read: each value but the first comes after
/// one of these characters.
fn memory(bytes: &[u8]) -> usize {
    bytes.iter().fold(bytes.len(), |memory, byte| {
        memory
            + match byte {
                b'{' => OBJECT,
                b'[' | b',' | b':' => VALUE,
                _ => 0,
            }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_would_take_much_memory_is_refused() {
        let small = format!("[{}0]", "0,".repeat(1000));
        assert!(parse(small.as_bytes()).is_ok());
        for unit in ["{\"\":0},", "{},", "[],", "0,"] {
            let text = format!("[{}0]", unit.repeat((MAX_MEMORY / 64) + 1));
            assert_eq!(
                parse(text.as_bytes()).unwrap_err().code,
                "document_too_large"
            );
        }
    }

    #[test]
    fn json_in_a_string_is_found() {
        let document = serde_json::json!({"text": "{\"a\":1}", "n": 1, "bad": "{"});
        assert_eq!(
            inside(&document, "/text").unwrap(),
            serde_json::json!({"a": 1})
        );
        for (pointer, code) in [
            ("/none", "invalid_arguments"),
            ("text", "invalid_arguments"),
            ("/n", "invalid_arguments"),
            ("", "invalid_arguments"),
            ("/bad", "not_json"),
        ] {
            assert_eq!(
                inside(&document, pointer).unwrap_err().code,
                code,
                "{pointer}"
            );
        }
    }
}
