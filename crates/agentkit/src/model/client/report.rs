//! What a provider says about a failure. What kind of failure that is, `classify` says.

use std::{borrow::Cow, time::Duration};

use serde_json::{Value, value::RawValue};

use super::{
    retry_after,
    sse::{Event, Sse, TooLong},
    text::without_halves,
};

/// The parts of an error body that matter; the shapes differ between servers.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) message: Option<String>,
    /// `code`, else `type`; a number is text here.
    pub(super) code: Option<String>,
    /// `type`, where there is a `code` as well.
    pub(super) class: Option<String>,
    /// The parameter that was refused.
    pub(super) param: Option<String>,
    /// How long to wait, where the body says so.
    pub(super) retry_after: Option<Duration>,
    /// More that Gemini says of the failure: reasons and exhausted quotas.
    pub(super) details: Vec<String>,
    /// OpenRouter: a moderation gave reasons.
    pub(super) moderated: bool,
    /// MiniMax: the number in its `base_resp`.
    pub(super) base_code: Option<u64>,
}

impl Report {
    /// Reads a body: JSON of a known shape, events with such JSON, a page, or plain text.
    ///
    /// JSON of an unknown shape is not quoted: it may repeat the prompt.
    pub(super) fn read(body: &[u8]) -> Self {
        let body = body.trim_ascii();
        if body.starts_with(b"\x1f\x8b") {
            return Self::of_text("a compressed body");
        }
        let text = String::from_utf8_lossy(body);
        if text.starts_with(['{', '[']) {
            return value(&text)
                .map(|v| Self::from_json(&v))
                .unwrap_or_default();
        }
        if is_stream(&text) {
            return Self::of_events(body);
        }
        if text.starts_with('<') {
            return Self::of_text(title(&text).unwrap_or("a page that is not JSON"));
        }
        Self::of_text(text)
    }

    /// Reads a part of a document.
    pub(super) fn of(raw: &RawValue) -> Self {
        value(raw.get())
            .map(|v| Self::from_json(&v))
            .unwrap_or_default()
    }

    fn of_text<'a>(text: impl Into<Cow<'a, str>>) -> Self {
        let text = text.into();
        Self {
            message: Some(text.into_owned()).filter(|text| !text.is_empty()),
            ..Self::default()
        }
    }

    /// The first event that says something, where a failure comes as a stream.
    fn of_events(body: &[u8]) -> Self {
        let mut found = None;
        let mut take = |event: Event<'_>| -> Result<(), TooLong> {
            if found.is_none() && event.data.trim_ascii().starts_with(b"{") {
                let report = Self::read(event.data);
                let says = report.message.is_some() || report.code.is_some();
                found = says.then_some(report);
            }
            Ok(())
        };
        let mut sse = Sse::default();
        let read = sse
            .push(body, &mut take)
            .and_then(|()| sse.finish(&mut take));
        read.ok().and(found).unwrap_or_default()
    }

    /// Reads `{"error": {..}}`, `{"error": ".."}`, `{"message": ..}`, `{"detail": ..}`, `{"msg": ..}`,
    /// `{"base_resp": {..}}`, or a list that holds one of them.
    pub(super) fn from_json(value: &Value) -> Self {
        let value = value.get(0).unwrap_or(value);
        let inner = |value: &'_ Value, key: &str| {
            let inner = value.get(key)?;
            let says = match inner {
                Value::String(text) => !text.is_empty(),
                Value::Object(map) => !map.is_empty(),
                _ => false,
            };
            says.then(|| inner.clone())
        };
        let nested = inner(value, "error").or_else(|| inner(value, "base_resp"));
        let nested = nested.or_else(|| value.get("message").filter(|m| m.is_object()).cloned());
        let outer = value;
        let value = nested.as_ref().unwrap_or(value);
        let text = |value: &Value, key: &str| match value.get(key)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let detail = value.get("detail");
        let first = detail.and_then(|detail| detail.get(0));
        let message = value
            .as_str()
            .map(str::to_owned)
            .or_else(|| text(value, "message"))
            .or_else(|| text(value, "msg"))
            .or_else(|| text(value, "status_msg"))
            .or_else(|| detail?.as_str().map(str::to_owned))
            .or_else(|| first?.get("msg")?.as_str().map(str::to_owned));
        let param = text(value, "param").or_else(|| {
            let place = first?.get("loc")?.as_array()?.last()?;
            place.as_str().map(str::to_owned)
        });
        let class = text(value, "type").or_else(|| text(value, "status"));
        let code = text(value, "code")
            .or_else(|| text(value, "status_code"))
            .or_else(|| text(outer, "code"));
        let (code, class) = match (code, class) {
            (None, class) => (class, None),
            both => both,
        };
        Self {
            message,
            code,
            class,
            param,
            retry_after: details(value).find_map(delay),
            details: details(value).flat_map(reasons).collect(),
            moderated: value.pointer("/metadata/reasons").is_some(),
            base_code: value.get("status_code").and_then(Value::as_u64),
        }
    }

    /// The provider withholds an answer to this prompt.
    pub(super) fn blocked(reason: &str) -> Self {
        Self {
            message: Some(format!("the prompt was blocked: {reason}")),
            code: Some("content_filter".to_owned()),
            ..Self::default()
        }
    }
}

fn value(json: &str) -> Option<Value> {
    serde_json::from_str(&without_halves(json)).ok()
}

/// Whether a body is a stream of events: an error status does not keep some servers from that.
fn is_stream(text: &str) -> bool {
    ["data:", "event:", "error:", "id:", ":"]
        .iter()
        .any(|field| text.starts_with(field))
}

/// Gemini's `details`, as google.rpc defines them.
fn details(error: &Value) -> impl Iterator<Item = &Value> {
    error
        .get("details")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// The delay of a `RetryInfo`, for instance `34.07s`.
fn delay(detail: &Value) -> Option<Duration> {
    let text = detail.get("retryDelay")?.as_str()?;
    retry_after::seconds(text.strip_suffix('s')?.parse().ok()?)
}

/// The reason of an `ErrorInfo`, or the quotas of a `QuotaFailure`.
fn reasons(detail: &Value) -> Vec<String> {
    let violations = detail.get("violations").and_then(Value::as_array);
    let quotas = violations
        .into_iter()
        .flatten()
        .map(|violation| violation.get("quotaId"));
    let texts = std::iter::once(detail.get("reason")).chain(quotas);
    texts
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// The title of an HTML page.
fn title(page: &str) -> Option<&str> {
    let page = page.get(page.find("<title>")? + "<title>".len()..)?;
    Some(page.get(..page.find("</title>")?)?.trim()).filter(|title| !title.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_may_stand_in_the_body() {
        let wait = |delay: &str| {
            let body = format!(
                r#"{{"error":{{"details":[{{"reason":"X"}},{{"retryDelay":"{delay}"}}]}}}}"#
            );
            Report::read(body.as_bytes()).retry_after
        };
        assert_eq!(wait("34.5s"), Some(Duration::from_millis(34_500)));
        assert_eq!(wait("0s"), Some(Duration::ZERO));
        for nonsense in ["", "s", "34", "NaNs", "soon"] {
            assert_eq!(wait(nonsense), None, "{nonsense}");
        }
        assert!(wait("1e300s").is_some_and(|wait| wait < Duration::from_secs(100_000_000)));
    }

    #[test]
    fn finds_the_message() {
        let table = [
            (
                r#"{"error":{"message":"m","code":"c","param":"p"}}"#,
                Some("m"),
            ),
            (r#"{"error":"m"}"#, Some("m")),
            (r#"{"message":"m"}"#, Some("m")),
            (r#"{"detail":"m"}"#, Some("m")),
            (
                r#"{"detail":[{"msg":"m","input":"the prompt"}]}"#,
                Some("m"),
            ),
            (
                r#"{"object":"error","message":{"detail":[{"msg":"m","loc":["body","p"]}]}}"#,
                Some("m"),
            ),
            (r#"{"code":401,"msg":"m"}"#, Some("m")),
            (
                r#"{"choices":null,"base_resp":{"status_code":1008,"status_msg":"m"}}"#,
                Some("m"),
            ),
            (r#"[{"error":{"message":"m"}}]"#, Some("m")),
            ("data: {\"error\":{\"message\":\"m\"}}\n\n", Some("m")),
            (
                ": busy\n\nevent: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"m\"}}",
                Some("m"),
            ),
            ("error: {\"code\":400,\"message\":\"m\"}", Some("m")),
            ("data: [DONE]\n\n", None),
            (r#"{"error":{"message":"m\ud83d"}}"#, Some("m\u{fffd}")),
            (r#"{"input":"the prompt"}"#, None),
            ("{ not json", None),
            ("", None),
            ("  m\n", Some("m")),
            ("<!doctype html><title> m </title>", Some("m")),
            ("<html>", Some("a page that is not JSON")),
            ("\u{1f}\u{8b}", Some("\u{1f}\u{8b}")),
        ];
        for (body, message) in table {
            assert_eq!(
                Report::read(body.as_bytes()).message.as_deref(),
                message,
                "{body}"
            );
        }
        let packed = Report::read(b"\x1f\x8b\x08\x00");
        assert_eq!(packed.message.as_deref(), Some("a compressed body"));
    }

    #[test]
    fn finds_the_parameter_that_was_refused() {
        for body in [
            r#"{"error":{"message":"m","param":"p"}}"#,
            r#"{"detail":[{"msg":"m","loc":["body","p"]}]}"#,
            r#"{"object":"error","message":{"detail":[{"msg":"m","loc":["body","p"]}]}}"#,
        ] {
            let report = Report::read(body.as_bytes());
            assert_eq!(report.param.as_deref(), Some("p"), "{body}");
        }
    }
}
