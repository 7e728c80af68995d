//! Fuzz target: the words of a model, read as calls, as JSON, and without their thoughts.

use std::sync::Arc;

use serde_json::json;

use super::{Parsed, lenient, parse_reply, thoughts};
use crate::tool::ToolSpec;

/// A call that is read out of a text has the name of a tool, and words that stand in the text.
pub(crate) fn text(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let schema = json!({"type": "object", "properties": {"path": {"type": "string"}}});
    let tools = ["list_files", "read_file"]
        .map(|name| Arc::new(ToolSpec::new(name, "A tool.", schema.clone())));
    if let Ok(Parsed::Calls { prose, calls }) = parse_reply(&text, &tools) {
        assert!(!calls.is_empty());
        assert!(text.trim().starts_with(&prose));
    }
    let _ = lenient::whole(&text, |value| value.is_object());
    for (start, _, end) in lenient::containers(&text) {
        assert!(start < end && text.is_char_boundary(start) && text.is_char_boundary(end));
    }
    let blanked = thoughts::blanked(&text);
    assert_eq!(blanked.len(), text.len());
}
