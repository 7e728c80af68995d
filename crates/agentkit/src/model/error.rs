//! What can go wrong with a model call.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::Failure;

/// The longest wait that a provider is believed to ask for. The quotas of providers begin anew each day at the
/// latest; a longer wait is a mistake of the server, and would hold a task for as long as the mistake says. The call is
/// made again after this time, and the provider may then ask anew.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// A failed model call. It never holds a prompt or a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct ModelError {
    /// What kind of failure it is; decides whether it is retried.
    pub kind: ModelErrorKind,
    /// What the provider said, shortened; with the remedy where there is one.
    pub message: String,
    /// HTTP status, if there was a response.
    pub status: Option<u16>,
    /// How long the provider asks to wait; of a longer wait [`MAX_RETRY_AFTER`] is waited.
    pub retry_after: Option<Duration>,
    /// The provider's id of the request.
    pub request_id: Option<String>,
    /// Whether the provider may have served (and charged) the call.
    pub maybe_charged: bool,
}

/// Kinds of failures of a model call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelErrorKind {
    /// No connection, or it broke before or during the answer.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// HTTP 408 or 409.
    Conflict,
    /// HTTP 429, other than for an exhausted quota.
    RateLimited,
    /// HTTP 5xx.
    ServerError,
    /// The answer cannot be read, or ended too early.
    MalformedResponse,
    /// HTTP 401 or 403.
    Unauthorized,
    /// HTTP 402, or 429 for an exhausted quota or spending limit.
    QuotaExceeded,
    /// HTTP 404, or an unknown model.
    NotFound,
    /// The conversation does not fit the model's context.
    ContextOverflow,
    /// The provider withheld the answer.
    ContentFilter,
    /// Any other refusal of the request.
    InvalidRequest,
    /// The script has no turn for this request.
    ScriptExhausted,
}

impl ModelErrorKind {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Unreachable
            | Self::Timeout
            | Self::Conflict
            | Self::RateLimited
            | Self::ServerError
            | Self::MalformedResponse => true,
            Self::Unauthorized
            | Self::QuotaExceeded
            | Self::NotFound
            | Self::ContextOverflow
            | Self::ContentFilter
            | Self::InvalidRequest
            | Self::ScriptExhausted => false,
        }
    }

    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Unreachable => "model_unreachable",
            Self::Timeout => "model_timeout",
            Self::Conflict => "model_conflict",
            Self::RateLimited => "model_rate_limited",
            Self::ServerError => "model_server_error",
            Self::MalformedResponse => "model_malformed_response",
            Self::Unauthorized => "model_unauthorized",
            Self::QuotaExceeded => "model_quota_exceeded",
            Self::NotFound => "model_not_found",
            Self::ContextOverflow => "model_context_overflow",
            Self::ContentFilter => "model_content_filter",
            Self::InvalidRequest => "model_invalid_request",
            Self::ScriptExhausted => "script_exhausted",
        }
    }
}

impl std::fmt::Display for ModelErrorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

impl ModelError {
    /// A failure without a response.
    pub fn new(kind: ModelErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            status: None,
            retry_after: None,
            request_id: None,
            maybe_charged: false,
        }
    }

    /// The error as it is recorded.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure {
            code: self.kind.code().to_owned(),
            message: self.message.clone(),
            retryable: self.kind.is_retryable(),
        }
    }
}
