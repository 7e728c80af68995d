//! Results of tools as agents take them: text, pictures, links and values, each once.

use std::collections::BTreeSet;

use agentkit::{
    event::Failure,
    tool::{OutputPart, ToolOutput, digest_hex},
};
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{definition::Definition, text::shown};

/// Text that is at least so long and looks like base64 is bytes.
const LONG_BASE64: usize = 1_024;
/// The longest error that a model is told, in bytes.
const MAX_ERROR: usize = 8 * 1024;

/// Base64 as servers write it: with or without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What a `tools/call` gave.
#[must_use = "the result of a call"]
pub fn result(result: &Value, definition: Option<&Definition>) -> Result<ToolOutput, Failure> {
    let mut parts = Parts::default();
    let structured = result
        .get("structuredContent")
        .filter(|value| !value.is_null());
    for part in result["content"].as_array().into_iter().flatten() {
        parts.add(part, structured);
    }
    if result["isError"] == true {
        return Err(parts.error(structured));
    }
    let Some(structured) = structured else {
        return Ok(parts.output(None));
    };
    if let Some(why) = definition.and_then(|definition| definition.check_output(structured)) {
        tracing::warn!(why, "a structured result does not match its schema");
        let note = format!(
            "[the structured result does not match the tool's outputSchema: {}]",
            shown(&why, 500)
        );
        parts.parts.push(OutputPart::Text(note));
    }
    if parts.is_all_of(structured) {
        return Ok(parts.output(None));
    }
    if parts.are_items_of(structured) {
        parts.parts.clear();
    }
    let structured = parts.without_bytes(structured);
    Ok(parts.output(Some(structured)))
}

/// The contents of a resource.
pub fn resource(result: &Value) -> Result<ToolOutput, Failure> {
    let mut parts = Parts::default();
    for contents in result["contents"].as_array().into_iter().flatten() {
        parts.resource(contents);
    }
    Ok(parts.output(None))
}

/// The messages of a prompt.
pub fn prompt(result: &Value) -> Result<ToolOutput, Failure> {
    let mut parts = Parts::default();
    for message in result["messages"].as_array().into_iter().flatten() {
        let role = message["role"].as_str().unwrap_or("user");
        parts
            .parts
            .push(OutputPart::Text(format!("[{}]", shown(role, 40))));
        match &message["content"] {
            Value::Array(all) => all.iter().for_each(|part| parts.add(part, None)),
            part => parts.add(part, None),
        }
    }
    Ok(parts.output(None))
}

#[derive(Default)]
struct Parts {
    parts: Vec<OutputPart>,
    /// Digests of bytes that are there already.
    seen: BTreeSet<String>,
}

impl Parts {
    fn add(&mut self, part: &Value, structured: Option<&Value>) {
        match part["type"].as_str() {
            Some("text") => {
                let text = part["text"].as_str().unwrap_or_default();
                // A mirror of the structured result, for clients that know no such thing.
                let is_mirror = structured.is_some_and(|value| {
                    serde_json::from_str::<Value>(text).is_ok_and(|text| text == *value)
                });
                if !is_mirror {
                    self.text(text);
                }
            }
            Some("image" | "audio") => {
                let data = part["data"].as_str().unwrap_or_default();
                self.bytes(data, part["mimeType"].as_str().unwrap_or_default());
            }
            Some("resource") => self.resource(&part["resource"]),
            Some("resource_link") => {
                let text = |key: &str| part[key].as_str().map(|text| shown(text, 2_000));
                self.parts.push(OutputPart::ResourceLink {
                    uri: text("uri").unwrap_or_default(),
                    name: text("title").or(text("name")),
                    description: text("description"),
                    media_type: text("mimeType"),
                });
            }
            other => {
                let kind = shown(other.unwrap_or("none"), 60);
                let rest = shown(&part.to_string(), 500);
                self.text(&format!(
                    "[a part of the type `{kind}`, which is not known: {rest}]"
                ));
            }
        }
    }

    /// Whether the one text is the one field of the structured result, as servers wrap a text or a number in
    /// `{"result": …}` or `{"content": …}`. The model is told the text alone, and not twice.
    fn is_all_of(&self, structured: &Value) -> bool {
        match (&self.parts[..], only_field(structured)) {
            ([OutputPart::Text(text)], Some(value)) => is_text_of(text, value),
            _ => false,
        }
    }

    /// Whether the texts are the items of the list that is the one field of the structured result.
    fn are_items_of(&self, structured: &Value) -> bool {
        let Some(Value::Array(items)) = only_field(structured) else {
            return false;
        };
        let mut pairs = self.parts.iter().zip(items);
        self.parts.len() == items.len()
            && pairs.all(|(part, item)| match part {
                OutputPart::Text(text) => is_text_of(text, item),
                _ => false,
            })
    }

    fn text(&mut self, text: &str) {
        match is_long_base64(text) {
            // Half a megabyte of letters that no model reads.
            true => self.bytes(text, ""),
            false => self.parts.push(OutputPart::Text(text.to_owned())),
        }
    }

    fn resource(&mut self, resource: &Value) {
        let uri = shown(resource["uri"].as_str().unwrap_or_default(), 500);
        let media_type = resource["mimeType"].as_str().unwrap_or_default();
        match (resource["text"].as_str(), resource["blob"].as_str()) {
            (Some(text), _) => {
                if !uri.is_empty() {
                    self.parts.push(OutputPart::Text(format!("[{uri}]")));
                }
                self.parts.push(OutputPart::Text(text.to_owned()));
            }
            (None, Some(blob)) => self.bytes(blob, media_type),
            (None, None) => self
                .parts
                .push(OutputPart::Text(format!("[{uri}: no contents]"))),
        }
    }

    /// Bytes in base64: a picture or a recording, else its size in words.
    fn bytes(&mut self, data: &str, media_type: &str) {
        let Some(bytes) = decoded(data) else {
            let note = format!("[data that is not base64 ({} characters)]", data.len());
            self.parts.push(OutputPart::Text(note));
            return;
        };
        if !self.seen.insert(digest_hex(&bytes)) {
            return;
        }
        let is_image = agentkit::model::Image::kind_of(&bytes).is_some();
        self.parts.push(if is_image {
            // Whatever the server calls it.
            OutputPart::Image(Bytes::from(bytes))
        } else if media_type.starts_with("audio/") {
            OutputPart::Audio {
                media_type: shown(media_type, 100),
                bytes: Bytes::from(bytes),
            }
        } else {
            let kind = if media_type.is_empty() {
                "bytes"
            } else {
                media_type
            };
            OutputPart::Text(format!(
                "[{}, {} bytes, which cannot be shown]",
                shown(kind, 100),
                bytes.len()
            ))
        });
    }

    /// The value with long base64 taken out: pictures become parts.
    fn without_bytes(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) if is_long_base64(text) => {
                let before = self.parts.len();
                self.bytes(text, "");
                match self.parts.len() > before {
                    true if matches!(self.parts.last(), Some(OutputPart::Text(_))) => {
                        let Some(OutputPart::Text(note)) = self.parts.pop() else {
                            return Value::Null;
                        };
                        note.into()
                    }
                    _ => "[bytes that are shown as a part of this result]".into(),
                }
            }
            Value::Array(items) => items.iter().map(|item| self.without_bytes(item)).collect(),
            Value::Object(fields) => fields
                .iter()
                .map(|(key, value)| (key.clone(), self.without_bytes(value)))
                .collect(),
            other => other.clone(),
        }
    }

    fn output(self, structured: Option<Value>) -> ToolOutput {
        let mut parts = self.parts;
        let is_text = parts.iter().all(|part| matches!(part, OutputPart::Text(_)));
        match structured {
            Some(value) if parts.is_empty() => value.into(),
            Some(value) if parts.iter().any(|part| matches!(part, OutputPart::Text(_))) => {
                parts.push(OutputPart::Structured(value));
                parts.into()
            }
            Some(value) => ToolOutput {
                content: value,
                parts,
                ..ToolOutput::default()
            },
            None if parts.is_empty() => json!({"note": "the tool returned no content"}).into(),
            None if is_text => {
                let texts = parts.iter().map(|part| match part {
                    OutputPart::Text(text) => text.as_str(),
                    _ => "",
                });
                Value::String(texts.collect::<Vec<_>>().join("\n")).into()
            }
            None => parts.into(),
        }
    }

    /// The error that a tool reports, in words; never held against the tool's schema.
    fn error(self, structured: Option<&Value>) -> Failure {
        let mut words: Vec<String> = Vec::new();
        for part in &self.parts {
            match part {
                OutputPart::Text(text) => words.push(text.clone()),
                OutputPart::Image(bytes) => {
                    words.push(format!("[an image of {} bytes]", bytes.len()))
                }
                OutputPart::Audio { bytes, .. } => {
                    words.push(format!("[a recording of {} bytes]", bytes.len()))
                }
                OutputPart::ResourceLink { uri, .. } => words.push(format!("[{uri}]")),
                OutputPart::Structured(value) => words.push(value.to_string()),
            }
        }
        if let Some(value) = structured {
            words.push(value.to_string());
        }
        let message = match words.is_empty() {
            true => "the tool failed and did not say why".to_owned(),
            false => words.join("\n"),
        };
        let end = message.floor_char_boundary(MAX_ERROR);
        Failure::last("tool_error", &message[..end])
    }
}

/// The value of an object's only field.
fn only_field(value: &Value) -> Option<&Value> {
    let fields = value.as_object().filter(|fields| fields.len() == 1)?;
    fields.values().next()
}

/// Whether a text is a value in words: the same text, or its JSON.
fn is_text_of(text: &str, value: &Value) -> bool {
    match value {
        Value::String(value) => text == value,
        value => serde_json::from_str::<Value>(text).is_ok_and(|text| text == *value),
    }
}

/// The bytes of base64, with or without the beginning of a `data:` URL.
fn decoded(data: &str) -> Option<Vec<u8>> {
    let data = match data.trim_start().strip_prefix("data:") {
        Some(rest) => rest.split_once(',')?.1,
        None => data,
    };
    let plain: String = data.chars().filter(|c| !c.is_whitespace()).collect();
    let plain = plain.replace('-', "+").replace('_', "/");
    LENIENT.decode(plain.as_bytes()).ok()
}

/// Whether text is so long and of such characters that it can only be base64.
fn is_long_base64(text: &str) -> bool {
    let data = match text.strip_prefix("data:") {
        Some(rest) => rest.split_once(";base64,").map_or("", |(_, data)| data),
        None => text,
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte);
    data.len() >= LONG_BASE64
        && data.bytes().all(fits)
        // A long word of one letter is data too, but no picture.
        && data.bytes().any(|byte| byte.is_ascii_uppercase())
        && data.bytes().any(|byte| byte.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD;

    use super::*;
    use crate::definition::{Kind, Listed};

    /// A PNG of many pixels.
    fn png() -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        bytes.extend((0..110_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8));
        bytes
    }

    /// ahead-tools/14.
    #[test]
    fn a_picture_is_a_picture_once() {
        let data = BASE64_STANDARD.encode(png());
        let value = json!({"image": data, "width": 5});
        let output = result(
            &json!({
                "content": [
                    {"type": "image", "data": data, "mimeType": "text/plain"},
                    {"type": "image", "data": format!("data:image/png;base64,{data}"), "mimeType": "image/jpeg"},
                    {"type": "text", "text": value.to_string()},
                ],
                "structuredContent": value,
            }),
            None,
        )
        .unwrap();
        assert_eq!(output.parts, [OutputPart::Image(png().into())]);
        assert_eq!(output.content["width"], 5);
        assert!(output.content.to_string().len() < 200, "{}", output.content);
    }

    /// As servers write it that wrap what a function returns: each large text would be told twice.
    #[test]
    fn a_wrapped_text_is_told_once() {
        let told = |texts: &[&str], structured: Value| {
            let parts = texts
                .iter()
                .map(|text| json!({"type": "text", "text": text}));
            let content: Vec<Value> = parts.collect();
            result(
                &json!({"content": content, "structuredContent": structured}),
                None,
            )
            .unwrap()
        };
        let once = told(&["a\nb"], json!({"content": "a\nb"}));
        assert_eq!((once.content, once.parts), (json!("a\nb"), Vec::new()));
        assert_eq!(told(&["3"], json!({"result": 3})).content, "3");
        let list = told(&["a", "{\"n\": 1}"], json!({"result": ["a", {"n": 1}]}));
        assert_eq!(list.content, json!({"result": ["a", {"n": 1}]}));
        assert_eq!(list.parts, Vec::new());
        // Whatever differs is told.
        for (texts, structured) in [
            (&["a"][..], json!({"result": "b"})),
            (&["a"], json!({"result": "a", "more": 1})),
            (&["a", "b"], json!({"result": ["a"]})),
        ] {
            let told = told(texts, structured.clone());
            assert!(
                told.parts.contains(&OutputPart::Structured(structured)),
                "{told:?}"
            );
        }
    }

    /// ahead-tools/14: only in the structured result, or in text.
    #[test]
    fn long_base64_is_no_text() {
        let data = BASE64_STANDARD.encode(png());
        let only = result(
            &json!({"content": [], "structuredContent": {"a": data}}),
            None,
        )
        .unwrap();
        assert_eq!(only.parts.len(), 1);
        let text = result(&json!({"content": [{"type": "text", "text": data}]}), None).unwrap();
        assert!(matches!(&text.parts[..], [OutputPart::Image(_)]));
        let other = BASE64_STANDARD.encode(&png()[8..]);
        let output = result(&json!({"content": [{"type": "text", "text": other}]}), None).unwrap();
        assert_eq!(
            output.content,
            "[bytes, 110000 bytes, which cannot be shown]"
        );
        let word = result(
            &json!({"content": [{"type": "text", "text": "a".repeat(5_000)}]}),
            None,
        )
        .unwrap();
        assert_eq!(word.content.as_str().unwrap().len(), 5_000);
    }

    fn with_output(schema: Value) -> Definition {
        let raw = json!({"name": "t", "inputSchema": {}, "outputSchema": schema});
        Definition::of(&Listed::of(Kind::Tool, "t", &raw)).unwrap()
    }

    /// ahead-tools/13.
    #[test]
    fn an_error_is_told_whatever_the_schema_says() {
        let tool = with_output(json!({"type": "object", "required": ["ok"]}));
        let error = result(
            &json!({"isError": true, "content": [{"type": "text", "text": "no such repository"}],
                "structuredContent": {"code": 404}}),
            Some(&tool),
        )
        .unwrap_err();
        assert_eq!(error.message, "no such repository\n{\"code\":404}");
        let only = result(
            &json!({"isError": true, "structuredContent": {"why": "x"}}),
            Some(&tool),
        )
        .unwrap_err();
        assert_eq!(only.message, "{\"why\":\"x\"}");
        assert_eq!(
            result(&json!({"isError": true}), None).unwrap_err().code,
            "tool_error"
        );
    }

    /// ahead-tools/13.
    #[test]
    fn a_result_unlike_its_schema_reaches_the_model_with_a_note() {
        let tool = with_output(json!({"type": "object", "required": ["ok"]}));
        let output = result(
            &json!({"content": [{"type": "text", "text": "fine"}], "structuredContent": {"no": 1}}),
            Some(&tool),
        )
        .unwrap();
        let [
            OutputPart::Text(text),
            OutputPart::Text(note),
            OutputPart::Structured(value),
        ] = &output.parts[..]
        else {
            panic!("{output:?}")
        };
        assert_eq!(text, "fine");
        assert!(note.contains("does not match"), "{note}");
        assert_eq!(*value, json!({"no": 1}));
        let without = result(
            &json!({"content": [{"type": "text", "text": "fine"}]}),
            Some(&tool),
        )
        .unwrap();
        assert_eq!(without.content, "fine");
    }

    /// ahead-tools/16.
    #[test]
    fn an_odd_part_costs_itself() {
        let output = result(
            &json!({"content": [
                {"type": "text", "text": "a", "annotations": {"audience": ["system"]}},
                {"type": "hologram", "data": 1},
                5,
                {"type": "image", "data": "***", "mimeType": "image/png"},
                {"type": "resource_link", "uri": "file:///x", "name": "x"},
                {"type": "resource", "resource": {"uri": "file:///y", "text": "body"}},
                {"type": "text", "text": "b"},
            ]}),
            None,
        )
        .unwrap();
        assert_eq!(output.parts.len(), 8, "{output:?}");
        assert!(matches!(&output.parts[1], OutputPart::Text(text) if text.contains("`hologram`")));
        assert!(matches!(&output.parts[4], OutputPart::ResourceLink { .. }));
    }

    #[test]
    fn texts_are_one_text() {
        let two =
            json!({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]});
        assert_eq!(result(&two, None).unwrap().content, "a\nb");
        assert_eq!(
            result(&json!({"structuredContent": {"a": 1}}), None)
                .unwrap()
                .content,
            json!({"a": 1})
        );
        assert!(result(&json!({}), None).unwrap().content["note"].is_string());
    }

    #[test]
    fn resources_and_prompts_are_read() {
        let output = resource(&json!({"contents": [{"uri": "a://b", "text": "hello"}]})).unwrap();
        assert_eq!(output.content, "[a://b]\nhello");
        let output = prompt(&json!({"messages": [
            {"role": "user", "content": {"type": "text", "text": "Say it."}},
            {"role": "assistant", "content": [{"type": "text", "text": "It."}]},
        ]}))
        .unwrap();
        assert_eq!(output.content, "[user]\nSay it.\n[assistant]\nIt.");
    }
}
