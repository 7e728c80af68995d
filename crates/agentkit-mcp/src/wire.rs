//! JSON-RPC as servers write it: messages are told from noise, and nothing is assumed of their parts.

mod reader;

use serde_json::{Value, json};

use self::reader::Refused;

/// The most bytes of one message.
pub(crate) const MAX_MESSAGE: usize = 8 * 1024 * 1024;
/// The most items of a list of tools, prompts or resources, over all of its pages.
pub(crate) const MAX_ITEMS: usize = 2_000;
/// The most values of one message, without the items of a list that are left out: `[0,0,0,…]` takes thirty times its own
/// size in memory.
const MAX_VALUES: usize = 400_000;
/// How much is looked at of the ends of a message that cannot be read, to find its id.
pub(crate) const ENDS: usize = 512;
/// The most messages of one batch.
const MAX_BATCH: usize = 256;

/// The protocol without `initialize`: every request says version and capabilities itself.
pub const MODERN: &str = "2026-07-28";
/// The newest protocol with `initialize`.
pub const LEGACY: &str = "2025-11-25";
/// Protocols with `initialize` that a server may choose.
pub(crate) const LEGACY_VERSIONS: [&str; 4] = [LEGACY, "2025-06-18", "2025-03-26", "2024-11-05"];

/// Codes of errors that the protocol defines.
pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
pub(crate) const UNSUPPORTED_VERSION: i64 = -32022;
pub(crate) const MISSING_CAPABILITY: i64 = -32021;
pub(crate) const HEADER_MISMATCH: i64 = -32020;

/// Which of the two protocols a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Era {
    /// 2026-07-28: no handshake, no session.
    Modern,
    /// 2025-11-25 and older: `initialize`, sessions.
    Legacy,
}

impl Era {
    /// Its name in stores and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Modern => "modern",
            Self::Legacy => "legacy",
        }
    }

    /// The era of a name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "modern" => Some(Self::Modern),
            "legacy" => Some(Self::Legacy),
            _ => None,
        }
    }
}

/// An error that a server answered.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message} (JSON-RPC error {code})")]
pub(crate) struct RpcError {
    /// Its code.
    pub(crate) code: i64,
    /// Its message, capped.
    pub(crate) message: String,
    /// Content of the message.
    pub(crate) data: Value,
}

impl RpcError {
    /// Whether a gateway that speaks the protocol says so of a server behind it whose answer it lost: the errors
    /// `RequestTimeout` and `ConnectionClosed` of the official TypeScript library, which gateways pass on.
    pub(crate) fn is_of_gateway(&self) -> bool {
        let text = self.message.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        match self.code {
            -32001 => says(&["timed out", "timeout"]),
            -32000 => says(&["connection closed"]),
            _ => false,
        }
    }
}

/// A message of a server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Incoming {
    /// The answer to a request of ours. A null id is one that the server could not read.
    Response {
        id: Value,
        result: Result<Value, RpcError>,
    },
    /// A request of the server's.
    Request {
        id: Value,
        method: String,
        params: Value,
    },
    /// A notification.
    Notification { method: String, params: Value },
}

/// Why bytes are no message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Noise {
    /// They are something else: a line of a log, for instance.
    Other,
    /// They are the answer to the request with this id, in a form that cannot be read.
    Unreadable(u64),
    /// They hold more values than a message may.
    TooComplex,
}

/// The messages in a line, or in the data of an event. More than one if it is a batch (2025-03-26).
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Incoming>, Noise> {
    let bytes = bytes
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(bytes)
        .trim_ascii();
    if !matches!(bytes.first(), Some(b'{' | b'[')) {
        return Err(Noise::Other);
    }
    let value = match reader::message(bytes, MAX_VALUES) {
        Ok(value) => value,
        Err(Refused::TooComplex) => return Err(Noise::TooComplex),
        // Invalid UTF-8 and halves of surrogate pairs cost the character, not the message.
        Err(Refused::Invalid) => {
            let mended = mend_surrogates(&String::from_utf8_lossy(bytes));
            let mended = reader::message(mended.as_bytes(), MAX_VALUES);
            mended.map_err(|refused| match refused {
                Refused::TooComplex => Noise::TooComplex,
                Refused::Invalid => unreadable(bytes),
            })?
        }
    };
    let messages: Vec<Incoming> = match value {
        Value::Array(all) => all
            .into_iter()
            .take(MAX_BATCH)
            .filter_map(message)
            .collect(),
        one => message(one).into_iter().collect(),
    };
    match messages.is_empty() {
        true => Err(unreadable(bytes)),
        false => Ok(messages),
    }
}

/// Whether bytes begin as an answer does, although they are none: text with a raw control character, values that nest
/// too deep, an answer without a result.
fn unreadable(bytes: &[u8]) -> Noise {
    let head = &bytes[..bytes.len().min(ENDS)];
    let text = String::from_utf8_lossy(head);
    let is_answer =
        text.starts_with('{') && text.contains("\"jsonrpc\"") && !text.contains("\"method\"");
    match id_of_too_large(head, &[]).filter(|_| is_answer) {
        Some(id) => Noise::Unreadable(id),
        None => Noise::Other,
    }
}

fn message(mut value: Value) -> Option<Incoming> {
    if value.get("jsonrpc")?.as_str() != Some("2.0") {
        return None;
    }
    let id = value.get_mut("id").map(Value::take);
    let params = value.get_mut("params").map(Value::take).unwrap_or_default();
    match (value.get("method").and_then(Value::as_str), id) {
        (Some(method), Some(id)) if !id.is_null() => Some(Incoming::Request {
            id,
            method: method.to_owned(),
            params,
        }),
        (Some(method), _) => Some(Incoming::Notification {
            method: method.to_owned(),
            params,
        }),
        (None, id) => {
            let result = match value.get_mut("error").map(Value::take) {
                Some(error) if !error.is_null() => Err(rpc_error(&error)),
                _ => Ok(value.get_mut("result").map(Value::take)?),
            };
            Some(Incoming::Response {
                id: id.unwrap_or_default(),
                result,
            })
        }
    }
}

/// An error object, however much of it is there.
pub(crate) fn rpc_error(error: &Value) -> RpcError {
    let message = match &error["message"] {
        Value::String(text) => text.clone(),
        Value::Null if error.is_string() => error.as_str().unwrap_or_default().to_owned(),
        Value::Null => "the server gave no message".to_owned(),
        other => other.to_string(),
    };
    RpcError {
        code: error["code"].as_i64().unwrap_or(0),
        message: crate::text::shown(&message, 2_000),
        data: error["data"].clone(),
    }
}

/// A request of ours.
pub(crate) fn request(id: u64, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

/// A notification of ours.
pub(crate) fn notification(method: &str, params: &Value) -> Value {
    match params {
        Value::Null => json!({"jsonrpc": "2.0", "method": method}),
        params => json!({"jsonrpc": "2.0", "method": method, "params": params}),
    }
}

/// Our answer to a request of the server's.
pub(crate) fn response(id: &Value, result: Result<Value, (i64, &str)>) -> Value {
    match result {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err((code, message)) => {
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
        }
    }
}

/// The number that is the id of a message too large to read, found near its beginning or its end.
pub(crate) fn id_of_too_large(head: &[u8], tail: &[u8]) -> Option<u64> {
    [head, tail].into_iter().find_map(|part| {
        let text = String::from_utf8_lossy(part);
        let mut rest = &*text;
        while let Some(at) = rest.find("\"id\"") {
            rest = &rest[at + 4..];
            let value = rest.trim_start().strip_prefix(':')?.trim_start();
            let value = value.strip_prefix('"').unwrap_or(value);
            let digits: String = value.chars().take_while(char::is_ascii_digit).collect();
            if let Ok(id) = digits.parse() {
                return Some(id);
            }
        }
        None
    })
}

/// JSON text with `\ufffd` for each half of a surrogate pair that has no other half.
fn mend_surrogates(text: &str) -> String {
    let mut mended = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        mended.push_str(&rest[..at]);
        rest = &rest[at..];
        let unit = |from: &str| -> Option<u16> {
            let hex = from.strip_prefix("\\u")?.get(..4)?;
            u16::from_str_radix(hex, 16).ok()
        };
        let next = rest.get(6..).unwrap_or_default();
        let taken = match unit(rest) {
            Some(0xd800..=0xdbff) if matches!(unit(next), Some(0xdc00..=0xdfff)) => 12,
            Some(0xd800..=0xdfff) => {
                mended.push_str("\\ufffd");
                rest = next;
                continue;
            }
            Some(_) => 6,
            None => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
        };
        mended.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    mended.push_str(rest);
    mended
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(text: &str) -> Option<Incoming> {
        parse(text.as_bytes()).ok()?.pop()
    }

    /// ahead-tools/1.
    #[test]
    fn noise_is_no_message() {
        for text in [
            "Server started",
            " ",
            "12",
            "\"x\"",
            "{}",
            "[]",
            r#"{"level":"info","msg":"x"}"#,
            r#"{"level":"info","method":"GET","id":1}"#,
            r#"{"jsonrpc":"2.0","method":"x","id":1"#,
            "{not json}",
        ] {
            assert_eq!(parse(text.as_bytes()), Err(Noise::Other), "{text}");
        }
    }

    /// An answer without a result is written where `undefined` is left out of JSON.
    #[test]
    fn answers_that_cannot_be_read_are_known_by_their_ids() {
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":7,"result":{}1{}}}"#,
            "[".repeat(1_000),
            "]".repeat(1_000)
        );
        for text in [
            r#"{"jsonrpc":"2.0","id":7}"#,
            "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"a\":\"\u{0}\"}}",
            r#"{"jsonrpc":"2.0","id":"7","result":{"a":nan}}"#,
            &deep,
        ] {
            assert_eq!(parse(text.as_bytes()), Err(Noise::Unreadable(7)), "{text}");
        }
    }

    /// ahead-tools/1.
    #[test]
    fn odd_characters_cost_no_message() {
        let result = |text: &[u8]| match parse(text).unwrap().pop().unwrap() {
            Incoming::Response { result, .. } => result.unwrap(),
            other => panic!("{other:?}"),
        };
        let around = |inside: &[u8]| {
            [
                br#"{"jsonrpc":"2.0","id":1,"result":{"a":""#,
                inside,
                br#""}}"#,
            ]
            .concat()
        };
        for (inside, expected) in [
            (&b"\xe2\x80\xa8"[..], "\u{2028}"),
            (b"\\r", "\r"),
            (b"a\xffb", "a\u{fffd}b"),
            (b"\\ud83d", "\u{fffd}"),
            (b"\\ud83d\\ude00", "\u{1f600}"),
            (b"\\ude00\\ud83d \\\\ud83d", "\u{fffd}\u{fffd} \\ud83d"),
        ] {
            assert_eq!(result(&around(inside))["a"], expected);
        }
        let with_bom = [b"\xef\xbb\xbf", &*around(b"x"), b" \r"].concat();
        assert_eq!(result(&with_bom)["a"], "x");
    }

    #[test]
    fn messages_are_told_apart() {
        assert!(matches!(
            one(r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#),
            Some(Incoming::Request { .. })
        ));
        assert!(matches!(
            one(r#"{"jsonrpc":"2.0","method":"notifications/x","params":{}}"#),
            Some(Incoming::Notification { .. })
        ));
        let Some(Incoming::Response {
            id,
            result: Err(error),
        }) = one(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700}}"#)
        else {
            panic!()
        };
        assert_eq!((id, error.code), (Value::Null, -32700));
    }

    #[test]
    fn a_message_of_too_many_values_is_not_read() {
        let many = format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":[{}0]}}"#,
            "0,".repeat(MAX_VALUES)
        );
        assert_eq!(parse(many.as_bytes()), Err(Noise::TooComplex));
        let commas = format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":"{}"}}"#,
            ",".repeat(MAX_VALUES)
        );
        assert!(parse(commas.as_bytes()).is_ok());
    }

    /// A list is cut where the host stops to use it, however much it has in all.
    #[test]
    fn a_list_of_too_many_tools_is_read_up_to_the_bound() {
        let tool = r#"{"name":"x","inputSchema":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}"#;
        let tools = vec![tool; 20_000].join(",");
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{tools}]}}}}"#);
        let Some(Incoming::Response { result, .. }) = one(&text) else {
            panic!("no answer");
        };
        assert_eq!(
            result.unwrap()["tools"].as_array().unwrap().len(),
            MAX_ITEMS + 1
        );
    }

    #[test]
    fn the_id_of_what_is_too_large_is_found() {
        for (head, tail, expected) in [
            (r#"{"jsonrpc":"2.0","id":7,"result":{"x":""#, "", Some(7)),
            (r#"{"result":{"x":""#, r#"aaa"}, "id" : 12}"#, Some(12)),
            (r#"{"result":{"id":"x""#, "", None),
            ("", "", None),
        ] {
            assert_eq!(id_of_too_large(head.as_bytes(), tail.as_bytes()), expected);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\":,\\\\ud8def0-9 ]{0,60}") {
            let _ = parse(&bytes);
            let _ = parse(format!(r#"{{"jsonrpc":"2.0","id":1,"result":"{text}"}}"#).as_bytes());
            let _ = mend_surrogates(&text);
        }
    }
}
