//! Calls within the text of an answer, which a server failed to parse: `<tool_call>` with JSON or XML,
//! and the marks of a few other model families.
//!
//! An answer can also quote a call, and a quotation must not run. So calls count only at the end of an
//! answer, on lines of their own and outside of fences, and only if no message of a person or a tool
//! holds the same text.

use serde_json::{Map, Value, value::RawValue};

use super::{arguments, builder::Call, fields::Fields, text::Text};
use crate::model::{Message, Request};

/// How calls begin.
const OPENERS: [&str; 8] = [
    "<tool_call>",
    "<function=",
    "<function_calls>",
    "<invoke name=",
    "<minimax:tool_call>",
    "<|tool_calls_section_begin|>",
    "<|tool_call_begin|>",
    "[TOOL_CALLS]",
];
/// Marks around calls, and after the last one.
const FRAMES: [&str; 9] = [
    "</tool_call>",
    "<function_calls>",
    "</function_calls>",
    "<minimax:tool_call>",
    "</minimax:tool_call>",
    "<|tool_calls_section_begin|>",
    "<|tool_calls_section_end|>",
    "<|im_end|>",
    "<|eot_id|>",
];

/// A call as it was written.
struct Written {
    id: String,
    name: String,
    arguments: String,
}

/// The calls that an answer ends with, and the text before them; none if the answer ends otherwise.
pub(super) fn calls(text: &str, request: &Request) -> Option<(String, Vec<Call>)> {
    if request.tools.is_empty() {
        return None;
    }
    let text = text.trim_end();
    let start = begin(text)?;
    let (before, mut rest) = text.split_at(start);
    let mut calls = Vec::new();
    while !rest.is_empty() {
        let after = block(rest, request, &mut calls)?.trim_start();
        if is_quoted(&rest[..rest.len() - after.len()], request) {
            return None;
        }
        rest = after;
    }
    let calls: Vec<Call> = calls.into_iter().map(Written::call).collect();
    (!calls.is_empty()).then(|| (before.trim_end().to_owned(), calls))
}

/// Where calls may begin: at the beginning of a line, outside of fences.
fn begin(text: &str) -> Option<usize> {
    let (mut at, mut is_fenced) = (0, false);
    for line in text.split_inclusive('\n') {
        let content = line.trim_start();
        if content.starts_with("```") || content.starts_with("~~~") {
            is_fenced = !is_fenced;
        } else if !is_fenced && OPENERS.iter().any(|opener| content.starts_with(opener)) {
            return Some(at + line.len() - content.len());
        }
        at += line.len();
    }
    None
}

/// Takes one call, or a mark around calls, and returns the text after it; none for any other text.
fn block<'a>(text: &'a str, request: &Request, calls: &mut Vec<Written>) -> Option<&'a str> {
    if let Some(frame) = FRAMES.iter().find(|frame| text.starts_with(**frame)) {
        return Some(&text[frame.len()..]);
    }
    if let Some(inner) = text.strip_prefix("<tool_call>") {
        let (inner, rest) = inner.split_once("</tool_call>").unwrap_or((inner, ""));
        let inner = inner.trim();
        match inner.as_bytes().first()? {
            b'{' | b'[' => json(inner, calls)?.trim().is_empty().then_some(())?,
            b'<' => {
                let after = function(inner, request, calls)?;
                after.trim().is_empty().then_some(())?;
            }
            _ => calls.push(pairs(inner, request)?),
        }
        return Some(rest);
    }
    if text.starts_with("<function=") {
        return function(text, request, calls);
    }
    if text.starts_with("<invoke name=") {
        let (name, rest) = attribute(text, "<invoke name=")?;
        let (inner, rest) = rest.split_once("</invoke>")?;
        let found = parameters(inner, name, request, |inner| {
            let (key, rest) = attribute(inner, "<parameter name=")?;
            let (value, rest) = rest.split_once("</parameter>")?;
            Some((key, value, rest))
        })?;
        calls.push(found);
        return Some(rest);
    }
    if let Some(inner) = text.strip_prefix("<|tool_call_begin|>") {
        let (id, inner) = inner.split_once("<|tool_call_argument_begin|>")?;
        let (arguments, rest) = inner.split_once("<|tool_call_end|>").unwrap_or((inner, ""));
        let id = id.trim();
        let name = id.strip_prefix("functions.").unwrap_or(id);
        let name = name.rsplit_once(':').map_or(name, |(name, _)| name);
        calls.push(Written {
            id: id.to_owned(),
            name: name.to_owned(),
            arguments: arguments.trim().to_owned(),
        });
        return Some(rest);
    }
    json(text.strip_prefix("[TOOL_CALLS]")?.trim_start(), calls)
}

/// Calls as JSON: an object, or a list of them.
fn json<'a>(text: &'a str, calls: &mut Vec<Written>) -> Option<&'a str> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&'a RawValue>();
    let value = values.next()?.ok()?;
    let rest = &text[values.byte_offset()..];
    let objects = match value.get().starts_with('[') {
        true => super::fields::items(value),
        false => vec![value],
    };
    for object in objects {
        let object = Fields::of(object)?;
        let object = object.object("function").unwrap_or(object);
        let name = object.word("name").or_else(|| object.word("function"))?;
        let arguments = ["arguments", "parameters"]
            .iter()
            .find_map(|key| object.json_text(key));
        calls.push(Written {
            id: object.word("id").unwrap_or_default().into_owned(),
            name: name.into_owned(),
            arguments: arguments.map_or_else(|| "{}".to_owned(), |text| text.whole().into_owned()),
        });
    }
    Some(rest)
}

/// `<function=NAME><parameter=KEY>VALUE</parameter>..</function>`
fn function<'a>(text: &'a str, request: &Request, calls: &mut Vec<Written>) -> Option<&'a str> {
    let (name, rest) = text.strip_prefix("<function=")?.split_once('>')?;
    let (inner, rest) = rest.split_once("</function>").unwrap_or((rest, ""));
    let found = parameters(inner, name, request, |inner| {
        let (key, rest) = inner.strip_prefix("<parameter=")?.split_once('>')?;
        // The end is left out now and then.
        let end = rest
            .find("</parameter>")
            .or_else(|| rest.find("\n<parameter="));
        let (value, rest) = rest.split_at(end.unwrap_or(rest.len()));
        Some((
            key,
            value,
            rest.strip_prefix("</parameter>").unwrap_or(rest),
        ))
    })?;
    calls.push(found);
    Some(rest)
}

/// `NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value>..`
fn pairs(inner: &str, request: &Request) -> Option<Written> {
    let end = inner.find('<').unwrap_or(inner.len());
    let (name, inner) = inner.split_at(end);
    let name = name.trim();
    if name.is_empty() || name.contains(char::is_whitespace) {
        return None;
    }
    parameters(inner, name, request, |inner| {
        let (key, rest) = inner.strip_prefix("<arg_key>")?.split_once("</arg_key>")?;
        let rest = rest.trim_start().strip_prefix("<arg_value>")?;
        let (value, rest) = rest.split_once("</arg_value>")?;
        Some((key, value, rest))
    })
}

/// A call whose parameters `next` reads one by one: name, value and what follows.
fn parameters<'a>(
    mut inner: &'a str,
    name: &str,
    request: &Request,
    next: impl Fn(&'a str) -> Option<(&'a str, &'a str, &'a str)>,
) -> Option<Written> {
    let name = name.trim();
    let spec = request.tools.iter().find(|spec| spec.name == name);
    let schema = spec.map_or(&Value::Null, |spec| &spec.input_schema);
    let mut found = Map::new();
    inner = inner.trim_start();
    while !inner.is_empty() {
        let (key, value, rest) = next(inner)?;
        // The line breaks after the beginning and before the end belong to the form.
        let value = value.strip_prefix('\n').unwrap_or(value);
        let value = value.strip_suffix('\n').unwrap_or(value);
        let key = key.trim();
        found.insert(key.to_owned(), arguments::parameter(schema, key, value));
        inner = rest.trim_start();
    }
    Some(Written {
        id: String::new(),
        name: name.to_owned(),
        arguments: Value::Object(found).to_string(),
    })
}

/// `name="VALUE">`
fn attribute<'a>(text: &'a str, begin: &str) -> Option<(&'a str, &'a str)> {
    let rest = text.strip_prefix(begin)?.strip_prefix('"')?;
    rest.split_once("\">")
}

/// Whether a message of a person or a tool holds this text, so that the model may be quoting.
fn is_quoted(block: &str, request: &Request) -> bool {
    let block = squeezed(block);
    request.messages.iter().any(|message| match &**message {
        Message::User { content, .. } | Message::Tool { content, .. } => {
            content.contains('<') && squeezed(content).contains(&block)
                || content.contains("TOOL_CALLS") && squeezed(content).contains(&block)
        }
        Message::System { .. } | Message::Assistant { .. } => false,
    })
}

/// A text without white space and escapes, which change where a text is quoted.
fn squeezed(text: &str) -> String {
    let mut squeezed = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\\' {
            chars.next_if(|c| matches!(c, 'n' | 'r' | 't'));
        } else if !c.is_whitespace() {
            squeezed.push(c);
        }
    }
    squeezed
}

impl Written {
    fn call(self) -> Call {
        let mut call = Call {
            id: self.id,
            name: self.name,
            ..Call::default()
        };
        call.arguments.push(&Text::from(&*self.arguments));
        call
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::{event::StepId, tool::ToolSpec};

    fn request(shown: &str) -> Request {
        let schema = json!({"type": "object",
            "properties": {"path": {"type": "string"}, "depth": {"type": "integer"}}});
        Request {
            messages: vec![Arc::new(Message::Tool {
                step: StepId(2),
                provider_id: String::new(),
                name: "read_file".to_owned(),
                content: shown.to_owned(),
                is_error: false,
                images: Vec::new(),
            })],
            tools: vec![Arc::new(ToolSpec::new(
                "list_files",
                "Lists files.",
                schema,
            ))],
            ..Request::default()
        }
    }

    fn read(text: &str) -> Option<(String, Vec<(String, Value)>)> {
        let (words, calls) = calls(text, &request("nothing"))?;
        let calls = calls.into_iter().map(|call| {
            let arguments = call.arguments.finish();
            (
                call.name,
                serde_json::from_str(&arguments).unwrap_or(Value::from(arguments)),
            )
        });
        Some((words, calls.collect()))
    }

    #[test]
    fn calls_at_the_end_of_an_answer_are_calls() {
        let one = |arguments: Value| vec![("list_files".to_owned(), arguments)];
        let here = json!({"path": "."});
        for (text, words, calls) in [
            (
                "<tool_call>\n{\"name\": \"list_files\", \"arguments\": {\"path\": \".\"}}\n</tool_call>",
                "",
                one(here.clone()),
            ),
            (
                "I look.\n\n<tool_call> {\"name\":\"list_files\",\"arguments\":\"{\\\"path\\\":\\\".\\\"}\"} </tool_call>\n",
                "I look.",
                one(here.clone()),
            ),
            (
                "<tool_call>{\"name\":\"list_files\",\"parameters\":{}}</tool_call><|im_end|>",
                "",
                one(json!({})),
            ),
            // Without its end, which the server took for one of its own.
            (
                "<tool_call>\n{\"name\": \"list_files\"}",
                "",
                one(json!({})),
            ),
            (
                "<tool_call>{\"name\":\"a\"}</tool_call>\n<tool_call>{\"name\":\"b\",\"arguments\":{\"x\":1}}</tool_call>",
                "",
                vec![
                    ("a".to_owned(), json!({})),
                    ("b".to_owned(), json!({"x": 1})),
                ],
            ),
            (
                "<tool_call>\n<function=list_files>\n<parameter=path>\n.\n</parameter>\n<parameter=depth>\n2\n</parameter>\n</function>\n</tool_call>",
                "",
                one(json!({"path": ".", "depth": 2})),
            ),
            (
                "Now.\n<function=list_files>\n<parameter=path>\n5\n</parameter>\n</function>\n</tool_call>",
                "Now.",
                one(json!({"path": "5"})),
            ),
            (
                "<tool_call>list_files\n<arg_key>path</arg_key>\n<arg_value>.</arg_value>\n</tool_call>",
                "",
                one(here.clone()),
            ),
            (
                "<function_calls>\n<invoke name=\"list_files\">\n<parameter name=\"path\">.</parameter>\n</invoke>\n</function_calls>",
                "",
                one(here.clone()),
            ),
            (
                "<|tool_calls_section_begin|><|tool_call_begin|>functions.list_files:0<|tool_call_argument_begin|>{\"path\":\".\"}<|tool_call_end|><|tool_calls_section_end|>",
                "",
                one(here.clone()),
            ),
            (
                "[TOOL_CALLS] [{\"name\": \"list_files\", \"arguments\": {\"path\": \".\"}}]",
                "",
                one(here.clone()),
            ),
        ] {
            assert_eq!(read(text), Some((words.to_owned(), calls)), "{text}");
        }
    }

    #[test]
    fn what_only_speaks_of_calls_is_an_answer() {
        let call =
            "<tool_call>{\"name\":\"list_files\",\"arguments\":{\"path\":\".\"}}</tool_call>";
        for text in [
            "",
            "42",
            "I would write <tool_call>{\"name\":\"list_files\"}</tool_call>",
            "<tool_call> is how a call begins.",
            "<tool_call>oops, no</tool_call>",
            "<tool_call>{\"name\":\"list_files\"</tool_call>",
            "<tool_call>{\"x\":1}</tool_call>",
            &format!("{call}\nThat is how to call it."),
            &format!("```xml\n{call}\n```"),
            &format!("```xml\n{call}"),
            &format!("> {call}"),
            &format!("`{call}`"),
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        // The same was in a file that the model read, and it says what is in there.
        for shown in [
            call.to_owned(),
            json!({"text": format!("\n {call}")}).to_string(),
        ] {
            assert!(calls(call, &request(&shown)).is_none(), "{shown}");
            let spaced = call.replace(':', ": ");
            assert!(calls(&spaced, &request(&shown)).is_none(), "{shown}");
        }
        assert!(calls(call, &request("<tool_call>")).is_some());
        let without_tools = Request::default();
        assert!(calls(call, &without_tools).is_none());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(
            text in "(<tool_call>|</tool_call>|<function=|>|<parameter=|\\{\"name\":\"x\"\\}|<arg_key>|\\[TOOL_CALLS\\]|<invoke name=\"|ä|\n| ){0,12}",
        ) {
            let _ = calls(&text, &request(""));
        }
    }
}
