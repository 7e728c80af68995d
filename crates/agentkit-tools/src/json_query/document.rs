//! The document that is queried, and how large it may be.

use agentkit::{event::Failure, tool::ToolContext};
use encoding_rs::Encoding;
use serde_json::Value;

use crate::{
    encoding,
    json::{self, Limits, Node, Problem},
    read_result,
    workspace::{blocking, file_path, read_whole},
};

/// The most bytes of a document.
const MAX_BYTES: u64 = 64 << 20;
/// The most memory that a document may take once it is read, about, in bytes.
const MAX_MEMORY: usize = 256 << 20;
/// Depth that a document may have.
const MAX_DEPTH: usize = 128;

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
                let whole = read_result::whole(&handle, context, MAX_BYTES).await?;
                Ok(Text::Bytes(whole))
            }
            Self::Given(json) => Ok(Text::Given(json)),
        }
    }
}

/// A document, and what is to be told of how it was read.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) node: Node,
    /// The encoding, where it is not plain UTF-8.
    pub(super) encoding: Option<String>,
    /// How many lone surrogates were read as U+FFFD.
    pub(super) surrogates: usize,
}

impl Text {
    pub(super) fn parse(self, encoding: Option<&'static Encoding>) -> Result<Document, Failure> {
        let bytes = match self {
            Self::Bytes(bytes) => bytes,
            Self::Given(json) => {
                return Ok(Document {
                    node: json.into(),
                    encoding: None,
                    surrogates: 0,
                });
            }
        };
        let text = encoding::decode(bytes, encoding).ok_or_else(|| {
            let message = "the document is not text, so it is not JSON";
            Failure::last("not_json", message)
        })?;
        Ok(Document {
            encoding: text.how.told(),
            ..parse(&text.content)?
        })
    }
}

impl Document {
    /// The JSON in a string of the document.
    pub(super) fn inside(self, pointer: &str) -> Result<Self, Failure> {
        let wrong = |problem: &str| {
            let shown: String = pointer.chars().take(100).collect();
            Failure::last(
                "invalid_arguments",
                format!("`inside`: {shown:?} {problem}"),
            )
        };
        match self.node.pointer(pointer) {
            Some(Node::String(text)) => Ok(Self {
                encoding: self.encoding,
                ..parse(text)?
            }),
            Some(_) => Err(wrong("is not a string")),
            None => Err(wrong("points to nothing; it is a JSON Pointer like /text")),
        }
    }
}

fn parse(text: &str) -> Result<Document, Failure> {
    // What web pages and spreadsheets put before it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let limits = Limits {
        depth: MAX_DEPTH,
        memory: MAX_MEMORY,
    };
    let reading = json::read(text, limits).map_err(|problem| match problem {
        Problem::Syntax { .. } => Failure::last(
            "not_json",
            format!("the document is not valid JSON: {problem}"),
        ),
        Problem::TooDeep => too_large(&format!("nests deeper than {MAX_DEPTH} levels")),
        Problem::TooLarge => too_large("holds too many values"),
    })?;
    Ok(Document {
        node: reading.node,
        encoding: None,
        surrogates: reading.surrogates,
    })
}

fn too_large(what: &str) -> Failure {
    let message = format!("the document {what}: query a part of it, or search it as text");
    Failure::last("document_too_large", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Document, Failure> {
        Text::Bytes(text.as_bytes().to_vec()).parse(None)
    }

    #[test]
    fn a_document_that_would_take_much_memory_is_refused() {
        let small = format!("[{}0]", "0,".repeat(1000));
        assert!(read(&small).is_ok());
        for unit in ["{\"\":0},", "{},", "[],", "0,"] {
            let text = format!("[{}0]", unit.repeat((MAX_MEMORY / 48) + 1));
            assert_eq!(read(&text).unwrap_err().code, "document_too_large");
        }
    }

    #[test]
    fn json_in_a_string_is_found() {
        let document = || read(r#"{"text": "\ufeff{\"a\":1}", "n": 1, "bad": "{"}"#).unwrap();
        let found = document().inside("/text").unwrap();
        assert_eq!(found.node.to_value(&mut 0), serde_json::json!({"a": 1}));
        for (pointer, code) in [
            ("/none", "invalid_arguments"),
            ("text", "invalid_arguments"),
            ("/n", "invalid_arguments"),
            ("", "invalid_arguments"),
            ("/bad", "not_json"),
        ] {
            let error = document().inside(pointer).unwrap_err();
            assert_eq!(error.code, code, "{pointer}");
        }
    }
}
