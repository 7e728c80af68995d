//! How an answer ended, and what kind of failure a report is: every rule about the codes and the words
//! of providers, with one table of tests.

use super::{fields::Fields, report::Report};
use crate::{event::FinishReason, model::ModelErrorKind};

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// As it should.
    Whole,
    /// Before it was whole.
    Cut(FinishReason),
    /// The model went wrong, most often in a call: what came is the beginning of an answer, and none.
    BrokenOff,
    /// The provider did.
    Failed,
}

/// How an answer ended, by the reason that a provider of any surface gives; none if it gives none.
///
/// Unknown reasons count as a whole answer: another try would bring the same.
pub(super) fn end(reason: &str) -> Option<End> {
    Some(match reason {
        "" | "null" | "FINISH_REASON_UNSPECIFIED" => return None,
        "length"
        | "max_tokens"
        | "max_output_tokens"
        | "model_length"
        | "MAX_TOKENS"
        | "model_context_window_exceeded" => End::Cut(FinishReason::Length),
        "content_filter" | "refusal" | "sensitive" | "SAFETY" | "RECITATION" | "LANGUAGE"
        | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "IMAGE_SAFETY" => {
            End::Cut(FinishReason::ContentFilter)
        }
        "OTHER"
        | "MALFORMED_FUNCTION_CALL"
        | "malformed_function_call"
        | "MALFORMED_RESPONSE"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS" => End::BrokenOff,
        "error" | "abort" | "network_error" | "insufficient_system_resource" => End::Failed,
        _ => End::Whole,
    })
}

/// Whether a document reports a failure and is no part of an answer, whatever the surface.
pub(super) fn is_failure(document: &Fields<'_>) -> bool {
    let is_error = |name: &str| document.word(name).is_some_and(|kind| kind == "error");
    if document.some("error").is_some() || is_error("type") || is_error("object") {
        return true;
    }
    let base = document.object("base_resp");
    if base.is_some_and(|base| base.some("status_code").is_some()) {
        return true;
    }
    const ANSWER: [&str; 6] = [
        "choices",
        "candidates",
        "content",
        "output",
        "response",
        "type",
    ];
    let is_code = |code: String| !matches!(&*code, "0" | "200");
    let has_message = document.word("msg").is_some() || document.word("message").is_some();
    has_message
        && document.code("code").is_some_and(is_code)
        && ANSWER.iter().all(|name| document.raw(name).is_none())
}

impl Report {
    /// The kind of a failure with this HTTP status.
    pub(super) fn kind(&self, status: u16) -> ModelErrorKind {
        if matches!(status, 400 | 413 | 422 | 500..) && self.is_overflow() {
            return ModelErrorKind::ContextOverflow;
        }
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
            // Groq has_phrases so where the tokens of a minute do not suffice: no context is too small.
            413 if self.is_rate() => ModelErrorKind::RateLimited,
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
        if self.is_overflow() {
            return ModelErrorKind::ContextOverflow;
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

    /// Whether the message contains every phrase of one of the lists.
    fn has_phrases(&self, lists: &[&[&str]]) -> bool {
        let Some(message) = &self.message else {
            return false;
        };
        let message = message.to_lowercase();
        lists
            .iter()
            .any(|words| words.iter().all(|words| message.contains(words)))
    }

    /// The kind that a code or the words name, whatever the status.
    fn named(&self, status: u16) -> Option<ModelErrorKind> {
        let by_code = self.codes().find_map(|code| match code.as_str() {
            code if OVERFLOW_CODES.contains(&code) => Some(ModelErrorKind::ContextOverflow),
            "content_filter"
            | "content_policy_violation"
            | "responsibleaipolicyviolation"
            | "data_inspection_failed"
            | "invalid_prompt" => Some(ModelErrorKind::ContentFilter),
            "model_not_found" | "not_found_error" => Some(ModelErrorKind::NotFound),
            "invalid_api_key" | "invalidapikey" | "api_key_invalid" | "api_key_expired" => {
                Some(ModelErrorKind::Unauthorized)
            }
            code if matches!(status, 402 | 403 | 429) && is_quota(code) => {
                Some(ModelErrorKind::QuotaExceeded)
            }
            _ => None,
        });
        let by_number = || self.base_code.and_then(of_base_code);
        let by_words = || {
            let no_money = matches!(status, 400 | 402 | 403 | 429) && self.has_phrases(NO_MONEY);
            let no_rate = matches!(status, 413 | 429) && self.is_never_within_its_rate();
            if status == 403 && self.moderated {
                Some(ModelErrorKind::ContentFilter)
            } else if no_money || no_rate {
                Some(ModelErrorKind::QuotaExceeded)
            } else if status == 400 && self.has_phrases(WRONG_KEY) {
                Some(ModelErrorKind::Unauthorized)
            } else {
                None
            }
        };
        by_code.or_else(by_words).or_else(by_number)
    }

    /// The conversation does not fit. Few servers have a code for it.
    fn is_overflow(&self) -> bool {
        !self.is_rate() && self.has_phrases(OVERFLOW)
    }

    /// The request exceeds a rate, and no context.
    fn is_rate(&self) -> bool {
        self.has_phrases(RATE)
    }

    /// The request alone has more tokens than a minute has: `Limit 6000, Requested 7000`. No wait
    /// helps, and the limit has to be raised.
    fn is_never_within_its_rate(&self) -> bool {
        let message = self.message.as_deref().unwrap_or_default().to_lowercase();
        let number = |after: &str| -> Option<u64> {
            let (_, rest) = message.split_once(after)?;
            let digits = rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len());
            rest[..digits].parse().ok()
        };
        self.is_rate()
            && number("requested ")
                .zip(number("limit "))
                .is_some_and(|(requested, limit)| requested > limit)
    }
}

const OVERFLOW_CODES: [&str; 5] = [
    "context_length_exceeded",
    "context_window_exceeded",
    "exceed_context_size_error",
    "model_context_window_exceeded",
    "model_max_prompt_tokens_exceeded",
];

/// How servers say that a conversation does not fit.
const OVERFLOW: &[&[&str]] = &[
    &["maximum context length"],
    &["context window"],
    &["contextwindowexceeded"],
    &["context_length_exceeded"],
    &["context length exceeded"],
    &["exceed context limit"],
    &["exceeds the available context"],
    &["context size has been exceeded"],
    &["max context size"],
    &["context length is only"],
    &["exceeds", "context length"],
    &["greater than the context length"],
    &["loaded with context length"],
    &["longer than", "context length"],
    &["longer than the maximum model length"],
    &["maximum prompt length"],
    &["prompt is too long"],
    &["prompt too long"],
    &["input is too long"],
    &["range of input length"],
    &["exceeds the maximum number of tokens"],
    &["exceeded model token limit"],
    &["token count", "exceeds the limit"],
    &["reduce the length of the messages"],
    &["total message size", "exceed"],
];

const RATE: &[&[&str]] = &[&["per minute"], &["per min"], &["(tpm)"], &["rate limit"]];

const NO_MONEY: &[&[&str]] = &[
    // Anthropic has no code of its own for it.
    &["credit balance is too low"],
    &["insufficient balance"],
    &["insufficient credit"],
    &["insufficient funds"],
    &["not enough credit"],
    &["out of credits"],
    &["\u{4f59}\u{989d}\u{4e0d}\u{8db3}"],
];

const WRONG_KEY: &[&[&str]] = &[&["incorrect api key"], &["invalid api key"]];

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
                | "arrearage"
        )
}

/// MiniMax reports in its `base_resp`, with status 200. Source:
/// <https://platform.minimax.io/docs/api-reference/errorcode>.
fn of_base_code(code: u64) -> Option<ModelErrorKind> {
    Some(match code {
        1002 | 1039 | 1041 | 2045 => ModelErrorKind::RateLimited,
        1004 | 2049 => ModelErrorKind::Unauthorized,
        1008 | 2056 => ModelErrorKind::QuotaExceeded,
        1026 | 1027 => ModelErrorKind::ContentFilter,
        1042 | 2013 => ModelErrorKind::InvalidRequest,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
