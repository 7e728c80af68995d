//! Which headers go out, and which of those that come back are shown.

use std::collections::BTreeMap;

use agentkit::event::Failure;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{self, Entry},
};
use serde_json::{Map, Value, json};

use super::unpack::ACCEPTED;

const MAX_COUNT: usize = 32;
/// The most bytes of names and values together.
const MAX_BYTES: usize = 16 * 1024;
/// Of a header that came back, so much is shown, in bytes.
const EXCERPT_LIMIT: usize = 2 * 1024;

/// Tells a server that a tool of an agent asks. The server that runs the agent, in whichever process, answers none of its
/// tools.
const TOOL: HeaderName = HeaderName::from_static("x-agentkit-tool");

/// Headers that belong to the connection, or that would have the body come in a form that is not
/// read here.
const OURS: [HeaderName; 10] = [
    TOOL,
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    header::ACCEPT_ENCODING,
];

/// Headers that do not tell who asks, and so go to another origin as well.
const CROSS_ORIGIN: [HeaderName; 5] = [
    TOOL,
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::USER_AGENT,
];

/// Headers that are shown: what they say helps to go on. Cookies are secrets.
const SHOWN_HEADERS: [HeaderName; 17] = [
    header::ACCEPT_RANGES,
    header::AGE,
    header::ALLOW,
    header::CACHE_CONTROL,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::DATE,
    header::ETAG,
    header::LAST_MODIFIED,
    header::LINK,
    header::LOCATION,
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
];

/// JSON Schema of the argument.
pub(crate) fn schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": {"type": "string"},
        "maxProperties": MAX_COUNT,
        "description": "Request headers by name",
    })
}

/// The headers of a model, and the headers that are sent unless the model gave them.
pub(crate) fn parse(given: BTreeMap<String, String>) -> Result<HeaderMap, Failure> {
    let size: usize = given
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if size > MAX_BYTES {
        let message = format!("the headers have {size} bytes, and {MAX_BYTES} is the limit");
        return Err(Failure::last("invalid_header", message));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let invalid = |problem: &str| {
            let shown: String = name.chars().take(64).collect();
            Failure::last("invalid_header", format!("header {shown:?} {problem}"))
        };
        let key: HeaderName = name
            .parse()
            .map_err(|_| invalid("is not a valid header name"))?;
        if OURS.contains(&key) || is_hop_by_hop(&key) {
            return Err(invalid("belongs to the connection: leave it out"));
        }
        let mut value: HeaderValue = value
            .parse()
            .map_err(|_| invalid("has a value that no header can carry"))?;
        value.set_sensitive(true);
        if let Entry::Occupied(_) = headers.entry(&key) {
            return Err(invalid("is given twice"));
        }
        headers.insert(key, value);
    }
    let ours = concat!("agentkit/", env!("CARGO_PKG_VERSION"));
    headers.insert(TOOL, HeaderValue::from_static("1"));
    for (name, value) in [(header::USER_AGENT, ours), (header::ACCEPT, "*/*")] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    // A range counts packed bytes, and nobody can unpack a piece out of the middle.
    if !headers.contains_key(header::RANGE) {
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
    }
    Ok(headers)
}

/// The headers that a proxy takes for itself, besides those of [`OURS`].
fn is_hop_by_hop(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("proxy-") || name == "keep-alive" || name == "http2-settings"
}

/// Drops what was meant for one origin alone: credentials above all, whatever their header is called.
pub(super) fn keep_cross_origin(headers: &mut HeaderMap) {
    let kept = CROSS_ORIGIN.into_iter().filter_map(|name| {
        let value = headers.get(&name)?.clone();
        Some((name, value))
    });
    *headers = kept.collect();
}

/// Adds the headers of an answer that are shown to a result, and which of them are cut.
pub(super) fn show(headers: &HeaderMap, result: &mut Value) {
    let mut shown = Map::new();
    let mut cut = Vec::new();
    for name in &SHOWN_HEADERS {
        let values: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        if values.is_empty() {
            continue;
        }
        let mut text = values.join(", ");
        if text.len() > EXCERPT_LIMIT {
            text.truncate(text.floor_char_boundary(EXCERPT_LIMIT));
            cut.push(name.as_str());
        }
        shown.insert(name.to_string(), text.into());
    }
    result["headers"] = shown.into();
    if !cut.is_empty() {
        result["headers_cut"] = json!(cut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(pairs: &[(&str, &str)]) -> Result<HeaderMap, Failure> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        parse(pairs.iter().map(own).collect())
    }

    #[test]
    fn headers_of_the_connection_are_refused() {
        for name in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "Connection",
            "Keep-Alive",
            "TE",
            "Trailer",
            "Upgrade",
            "Expect",
            "Accept-Encoding",
            "Proxy-Authorization",
            "Proxy-Connection",
            "HTTP2-Settings",
        ] {
            let error = parsed(&[(name, "x")]).unwrap_err();
            assert_eq!(error.code, "invalid_header");
            assert!(
                error.message.contains("belongs to the connection"),
                "{name}"
            );
        }
    }

    #[test]
    fn nothing_smuggles_a_line() {
        for (name, value) in [
            ("X-A", "b\r\nHost: c"),
            ("X-A", "b\nc"),
            ("X-A", "b\0"),
            ("X-A\r\nHost", "b"),
            ("X A", "b"),
            ("X-A:", "b"),
            ("", "b"),
        ] {
            let error = parsed(&[(name, value)]).unwrap_err();
            assert_eq!(error.code, "invalid_header", "{name:?} {value:?}");
            assert!(!error.message.contains('\n'));
        }
        let twice = parsed(&[("X-A", "b"), ("x-a", "c")]).unwrap_err();
        assert!(twice.message.contains("given twice"));
        let long = "x".repeat(MAX_BYTES);
        assert!(
            parsed(&[("X-A", &long)])
                .unwrap_err()
                .message
                .contains("limit")
        );
    }

    #[test]
    fn a_value_is_never_told() {
        let error = parsed(&[("Authorization", "Bearer s\u{1}cret")]).unwrap_err();
        assert!(!error.message.contains("cret"), "{}", error.message);
    }

    #[test]
    fn other_origins_learn_nothing() {
        let mut headers = parsed(&[
            ("Authorization", "a"),
            ("Cookie", "b"),
            ("X-Api-Key", "c"),
            ("Accept", "text/html"),
            ("Referer", "d"),
        ])
        .unwrap();
        keep_cross_origin(&mut headers);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let kept = ["accept", "accept-encoding", "user-agent", "x-agentkit-tool"];
        assert_eq!(names, kept);
        assert_eq!(headers["accept"], "text/html");
    }

    #[test]
    fn a_range_is_asked_for_as_it_is() {
        assert_eq!(parsed(&[]).unwrap()["accept-encoding"], ACCEPTED);
        let range = parsed(&[("Range", "bytes=0-99")]).unwrap();
        assert!(!range.contains_key("accept-encoding"));
    }

    #[test]
    fn few_headers_are_shown_and_of_those_not_all() {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "text/plain".parse().unwrap());
        headers.insert("set-cookie", "secret".parse().unwrap());
        headers.insert("etag", "x".repeat(5000).parse().unwrap());
        headers.append("link", "a".parse().unwrap());
        headers.append("link", "b".parse().unwrap());
        let mut result = json!({});
        show(&headers, &mut result);
        let shown = &result["headers"];
        assert_eq!(shown["link"], "a, b");
        assert_eq!(shown["etag"].as_str().unwrap().len(), EXCERPT_LIMIT);
        assert_eq!(shown.get("set-cookie"), None);
        // tools/T2: what is cut is told.
        assert_eq!(result["headers_cut"], json!(["etag"]));
    }
}
