//! What a provider says about a failure, and what kind of failure that is.

use std::time::Duration;

use serde_json::Value;

use super::retry_after;
use crate::model::ModelErrorKind;

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
    details: Vec<String>,
    /// OpenRouter: a moderation gave reasons.
    moderated: bool,
}

impl Report {
    /// Reads a body: JSON of a known shape, a page, or plain text.
    ///
    /// JSON of an unknown shape is not quoted: it may repeat the prompt.
    pub(super) fn read(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body.trim_ascii());
        if text.starts_with(['{', '[']) {
            return serde_json::from_str(&text)
                .map(|v| Self::from_json(&v))
                .unwrap_or_default();
        }
        let message = if text.starts_with('<') {
            title(&text).unwrap_or("a page that is not JSON").to_owned()
        } else {
            text.into_owned()
        };
        Self {
            message: Some(message).filter(|text| !text.is_empty()),
            ..Self::default()
        }
    }

    /// Reads `{"error": {..}}`, `{"error": ".."}`, `{"message": ..}`, `{"detail": ..}`, or a list
    /// that holds one of them.
    pub(super) fn from_json(value: &Value) -> Self {
        let value = value.get(0).unwrap_or(value);
        let value = value
            .get("error")
            .filter(|error| !error.is_null())
            .unwrap_or(value);
        let text = |key: &str| match value.get(key)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let detail = || match value.get("detail")? {
            Value::String(text) => Some(text.clone()),
            Value::Array(list) => Some(list.first()?.get("msg")?.as_str()?.to_owned()),
            _ => None,
        };
        let (code, class) = match (text("code"), text("type").or_else(|| text("status"))) {
            (None, class) => (class, None),
            both => both,
        };
        Self {
            message: value
                .as_str()
                .map(str::to_owned)
                .or_else(|| text("message"))
                .or_else(detail),
            code,
            class,
            param: text("param"),
            retry_after: details(value).find_map(delay),
            details: details(value).flat_map(reasons).collect(),
            moderated: value.pointer("/metadata/reasons").is_some(),
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

    /// The kind of a failure with this HTTP status.
    pub(super) fn kind(&self, status: u16) -> ModelErrorKind {
        if (400..500).contains(&status)
            && let Some(kind) = self.named(status)
        {
            return kind;
        }
        match status {
            401 | 403 => ModelErrorKind::Unauthorized,
            402 => ModelErrorKind::QuotaExceeded,
            404 => ModelErrorKind::NotFound,
            408 | 409 => ModelErrorKind::Conflict,
            413 => ModelErrorKind::ContextOverflow,
            429 => ModelErrorKind::RateLimited,
            500.. => ModelErrorKind::ServerError,
            _ => ModelErrorKind::InvalidRequest,
        }
    }

    /// The kind of a failure that came inside an answer with HTTP status 200: its `code` may be a
    /// status. What is not known to be final may be tried again.
    pub(super) fn kind_inside(&self) -> ModelErrorKind {
        let status = self.code.as_deref().and_then(|code| code.parse().ok());
        if let Some(status @ 400..=599) = status {
            return self.kind(status);
        }
        if let Some(kind) = self.named(429).or_else(|| self.named(400)) {
            return kind;
        }
        let has = |word: &str| self.codes().any(|code| code.contains(word));
        if has("rate_limit") || has("too_many_requests") {
            ModelErrorKind::RateLimited
        } else if has("authentication") || has("permission") {
            ModelErrorKind::Unauthorized
        } else if has("invalid_request") {
            ModelErrorKind::InvalidRequest
        } else {
            ModelErrorKind::ServerError
        }
    }

    fn codes(&self) -> impl Iterator<Item = String> {
        self.code
            .iter()
            .chain(&self.class)
            .chain(&self.details)
            .map(|code| code.to_ascii_lowercase())
    }

    /// The kind that a code names, whatever the status. Only an overflow is also known by its
    /// words, because the common local servers give it no code of its own.
    fn named(&self, status: u16) -> Option<ModelErrorKind> {
        let by_code = self.codes().find_map(|code| match code.as_str() {
            "context_length_exceeded" | "context_window_exceeded" | "exceed_context_size_error" => {
                Some(ModelErrorKind::ContextOverflow)
            }
            "content_filter"
            | "content_policy_violation"
            | "responsibleaipolicyviolation"
            | "invalid_prompt" => Some(ModelErrorKind::ContentFilter),
            "model_not_found" | "not_found_error" => Some(ModelErrorKind::NotFound),
            "invalid_api_key" | "api_key_invalid" | "api_key_expired" => {
                Some(ModelErrorKind::Unauthorized)
            }
            code if matches!(status, 402 | 403 | 429) && is_quota(code) => {
                Some(ModelErrorKind::QuotaExceeded)
            }
            _ => None,
        });
        by_code.or_else(|| {
            let message = self.message.as_deref().unwrap_or_default();
            if status == 403 && self.moderated {
                Some(ModelErrorKind::ContentFilter)
            } else if matches!(status, 400 | 422)
                && [
                    "maximum context length",
                    "context window",
                    "exceeds the available context",
                    "prompt is too long",
                    "exceeds the maximum number of tokens",
                ]
                .iter()
                .any(|words| message.contains(words))
            {
                Some(ModelErrorKind::ContextOverflow)
            } else if matches!(status, 400 | 403 | 429)
                && message.contains("credit balance is too low")
            {
                // Anthropic has no code of its own for it.
                Some(ModelErrorKind::QuotaExceeded)
            } else {
                None
            }
        })
    }
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

/// Whether waiting does not help: money or a limit that somebody has to raise.
fn is_quota(code: &str) -> bool {
    code.starts_with("insufficient_")
        || code.starts_with("billing")
        || code.contains("spend")
        || code.contains("hard_limit")
        // A quota of Gemini that comes back tomorrow.
        || code.contains("perday")
        || matches!(
            code,
            "quota_exceeded"
                | "exceeded_current_quota_error"
                | "usage_limit_reached"
                | "usage_limit_exceeded"
                | "credit_limit_reached"
                | "account_deactivated"
        )
}

/// The title of an HTML page.
fn title(page: &str) -> Option<&str> {
    let page = page.get(page.find("<title>")? + "<title>".len()..)?;
    Some(page.get(..page.find("</title>")?)?.trim()).filter(|title| !title.is_empty())
}

#[cfg(test)]
mod tests {
    use ModelErrorKind::{
        Conflict, ContentFilter, ContextOverflow, InvalidRequest, NotFound, QuotaExceeded,
        RateLimited, ServerError, Unauthorized,
    };

    use super::*;

    #[test]
    fn every_documented_failure_has_its_kind() {
        let table: [(u16, &str, ModelErrorKind); 49] = [
            (
                400,
                r#"{"error":{"message":"bad","type":"invalid_request_error"}}"#,
                InvalidRequest,
            ),
            (
                400,
                r#"{"error":{"code":"context_length_exceeded"}}"#,
                ContextOverflow,
            ),
            (
                400,
                r#"{"error":{"code":400,"type":"exceed_context_size_error"}}"#,
                ContextOverflow,
            ),
            (
                400,
                r#"{"object":"error","message":"This model's maximum context length is 4096 tokens","code":400}"#,
                ContextOverflow,
            ),
            (400, r#"{"error":{"code":"content_filter"}}"#, ContentFilter),
            (
                400,
                r#"{"error":{"code":"content_policy_violation"}}"#,
                ContentFilter,
            ),
            (400, r#"{"error":{"code":"model_not_found"}}"#, NotFound),
            (
                400,
                r#"[{"error":{"code":400,"status":"API_KEY_INVALID"}}]"#,
                Unauthorized,
            ),
            (401, r#"{"error":{"code":"invalid_api_key"}}"#, Unauthorized),
            (401, "no", Unauthorized),
            (402, "", QuotaExceeded),
            (403, "<html>", Unauthorized),
            (
                403,
                r#"{"error":{"code":403,"metadata":{"reasons":["x"]}}}"#,
                ContentFilter,
            ),
            (404, r#"{"error":{"code":"model_not_found"}}"#, NotFound),
            (404, r#"{"error":"model 'x' not found"}"#, NotFound),
            (408, "", Conflict),
            (409, "", Conflict),
            (413, "too large", ContextOverflow),
            (418, "", InvalidRequest),
            (
                422,
                r#"{"detail":[{"loc":["body"],"msg":"field required"}]}"#,
                InvalidRequest,
            ),
            (429, "", RateLimited),
            (
                429,
                r#"{"error":{"code":"rate_limit_exceeded","type":"tokens"}}"#,
                RateLimited,
            ),
            (
                429,
                r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}"#,
                RateLimited,
            ),
            (
                429,
                r#"{"error":{"code":"insufficient_quota"}}"#,
                QuotaExceeded,
            ),
            (
                429,
                r#"{"error":{"type":"insufficient_quota","code":null}}"#,
                QuotaExceeded,
            ),
            (
                429,
                r#"{"error":{"code":"billing_hard_limit_reached"}}"#,
                QuotaExceeded,
            ),
            (
                429,
                r#"{"error":{"code":"billing_not_active"}}"#,
                QuotaExceeded,
            ),
            (
                429,
                r#"{"error":{"code":"project_spend_limit_reached"}}"#,
                QuotaExceeded,
            ),
            (
                500,
                r#"{"error":{"code":"insufficient_quota"}}"#,
                ServerError,
            ),
            (500, "", ServerError),
            (501, "", ServerError),
            (502, "<html>", ServerError),
            (503, r#"{"error":{"code":"slow_down"}}"#, ServerError),
            (504, "", ServerError),
            (520, "", ServerError),
            (524, "", ServerError),
            (529, r#"{"error":{"type":"overloaded_error"}}"#, ServerError),
            (599, "", ServerError),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#,
                ContextOverflow,
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}"#,
                QuotaExceeded,
            ),
            (
                401,
                r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
                Unauthorized,
            ),
            (
                404,
                r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-x"}}"#,
                NotFound,
            ),
            (
                429,
                r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}"#,
                RateLimited,
            ),
            (
                400,
                r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"API key not valid.","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}"#,
                Unauthorized,
            ),
            (
                400,
                r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."}}"#,
                ContextOverflow,
            ),
            (
                429,
                r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"violations":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}]}}"#,
                QuotaExceeded,
            ),
            (
                429,
                r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"violations":[{"quotaId":"GenerateRequestsPerMinutePerProject"}]}]}}"#,
                RateLimited,
            ),
            (302, "", InvalidRequest),
            (407, "", InvalidRequest),
        ];
        for (status, body, kind) in table {
            assert_eq!(
                Report::read(body.as_bytes()).kind(status),
                kind,
                "{status} {body}"
            );
        }
    }

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
    fn a_failure_inside_an_answer_has_its_kind() {
        let table = [
            (r#"{"code":429}"#, RateLimited),
            (r#"{"code":402}"#, QuotaExceeded),
            (r#"{"code":502,"message":"upstream"}"#, ServerError),
            (r#"{"code":"insufficient_quota"}"#, QuotaExceeded),
            (r#"{"code":"rate_limit_exceeded"}"#, RateLimited),
            (r#"{"code":"context_length_exceeded"}"#, ContextOverflow),
            (r#"{"type":"invalid_request_error"}"#, InvalidRequest),
            (r#"{"type":"authentication_error"}"#, Unauthorized),
            (r#"{"type":"server_error"}"#, ServerError),
            (
                r#"{"type":"error","error":{"type":"overloaded_error"}}"#,
                ServerError,
            ),
            (
                r#"{"type":"error","error":{"type":"rate_limit_error"}}"#,
                RateLimited,
            ),
            (
                r#"{"type":"error","code":"rate_limit_exceeded"}"#,
                RateLimited,
            ),
            (r#""just words""#, ServerError),
            (
                r#"{"message":"the context window is full"}"#,
                ContextOverflow,
            ),
            ("{}", ServerError),
        ];
        for (body, kind) in table {
            let report = Report::from_json(&serde_json::from_str(body).unwrap());
            assert_eq!(report.kind_inside(), kind, "{body}");
        }
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
            (r#"[{"error":{"message":"m"}}]"#, Some("m")),
            (r#"{"input":"the prompt"}"#, None),
            ("{ not json", None),
            ("", None),
            ("  m\n", Some("m")),
            ("<!doctype html><title> m </title>", Some("m")),
            ("<html>", Some("a page that is not JSON")),
        ];
        for (body, message) in table {
            assert_eq!(
                Report::read(body.as_bytes()).message.as_deref(),
                message,
                "{body}"
            );
        }
    }
}
