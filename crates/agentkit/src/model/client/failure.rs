//! Turns what went wrong into a [`ModelError`]: what, why, and how to mend it.

use std::{error::Error as _, fmt::Write as _, time::Duration};

use reqwest::header::{HeaderMap, LOCATION};

use super::{Config, builder::DecodeError, report::Report, retry_after::retry_after};
use crate::model::{Image, Message, MessageCall, ModelError, ModelErrorKind, Request};

/// Of what the provider says, at most so many characters are kept.
const EXCERPT_LIMIT: usize = 200;

/// The context of a model of which nothing is known, in tokens.
const DEFAULT_CONTEXT: u64 = 100_000;
/// A request of fewer tokens is not too long for any model.
const BRIEF_OVERFLOW: u64 = 2_000;

/// The head of a response.
pub(super) struct Head {
    pub(super) status: u16,
    retry_after: Option<Duration>,
    pub(super) request_id: Option<String>,
    redirect: bool,
}

impl Head {
    pub(super) fn new(status: u16, headers: &HeaderMap, config: &Config) -> Self {
        let id = ["x-request-id", "request-id"]
            .iter()
            .find_map(|name| headers.get(*name));
        let id = id.and_then(|id| id.to_str().ok());
        Self {
            status,
            retry_after: retry_after(headers),
            request_id: id
                .filter(|id| !id.is_empty())
                .map(|id| shorten(&without_secrets(config, id), EXCERPT_LIMIT)),
            redirect: (300..400).contains(&status) && headers.contains_key(LOCATION),
        }
    }
}

/// What the errors of one call need to know.
pub(super) struct Failures<'a> {
    pub(super) name: &'a str,
    /// The endpoint, without user and query.
    pub(super) endpoint: &'a str,
    pub(super) config: &'a Config,
    pub(super) request: &'a Request,
    /// About how many tokens the request has.
    pub(super) sent: u64,
}

impl Failures<'_> {
    /// The request could not be sent, or no response came.
    pub(super) fn sending(&self, error: &reqwest::Error) -> ModelError {
        let cause = cause(error);
        if error.is_builder() {
            let message = format!("the request to {} cannot be made ({cause})", self.endpoint);
            return ModelError::new(ModelErrorKind::InvalidRequest, message);
        }
        let (kind, what) = match (error.is_timeout(), error.is_connect()) {
            (true, _) => (
                ModelErrorKind::Timeout,
                "did not accept the connection in time",
            ),
            (false, true) => (ModelErrorKind::Unreachable, "cannot be reached"),
            (false, false) => (
                ModelErrorKind::Unreachable,
                "closed the connection unanswered",
            ),
        };
        let message = format!(
            "{} {what} ({}); is the server up, and {} right?",
            self.endpoint,
            self.clean(&cause).unwrap_or_default(),
            self.variable("BASE_URL"),
        );
        ModelError {
            maybe_charged: !error.is_connect(),
            ..ModelError::new(kind, message)
        }
    }

    /// The connection broke while the answer came.
    pub(super) fn broken(&self, head: Head, error: &reqwest::Error) -> ModelError {
        let cause = self.clean(&cause(error)).unwrap_or_default();
        let message = format!(
            "the connection to {} broke during the answer ({cause})",
            self.endpoint
        );
        unknown(ModelErrorKind::Unreachable, message, Some(head))
    }

    /// The whole call took too long.
    pub(super) fn late(&self) -> ModelError {
        let message = format!(
            "{} did not answer within {} s; raise the request timeout if it needs longer",
            self.name,
            self.config.timeout.as_secs_f64(),
        );
        unknown(ModelErrorKind::Timeout, message, None)
    }

    /// The stream stood still.
    pub(super) fn idle(&self, head: Head) -> ModelError {
        let message = format!(
            "{} stopped in the middle of its answer for {} s; raise the idle timeout if it needs \
             longer",
            self.name,
            self.config.idle_timeout.as_secs_f64(),
        );
        unknown(ModelErrorKind::Timeout, message, Some(head))
    }

    /// The status says that the call failed.
    pub(super) fn answered(&self, head: Head, report: &Report) -> ModelError {
        let kind = report.kind(head.status);
        let what = format!("{} answered {}", self.name, head.status);
        // A gateway gave up waiting; the model behind it may have gone on.
        let maybe_charged = matches!(head.status, 504 | 524);
        if head.redirect {
            let remedy = format!(
                "{} must name the place it redirects to",
                self.variable("BASE_URL")
            );
            return self.reported(kind, &what, report, &remedy, head, maybe_charged);
        }
        self.classified(kind, &what, report, head, maybe_charged)
    }

    /// The status was 200, but the body is no answer.
    pub(super) fn decode_error(
        &self,
        head: Head,
        decode_error: DecodeError,
        has_output: bool,
    ) -> ModelError {
        match decode_error {
            DecodeError::Reported(report) => {
                let kind = report.kind_inside();
                let what = format!("{} failed during its answer", self.name);
                self.classified(kind, &what, &report, head, has_output)
            }
            DecodeError::Malformed(what) => {
                let message = format!(
                    "the answer of {} {what}; if it always does, is {} right? ({})",
                    self.name,
                    self.variable("BASE_URL"),
                    self.endpoint,
                );
                unknown(ModelErrorKind::MalformedResponse, message, Some(head))
            }
        }
    }

    fn classified(
        &self,
        kind: ModelErrorKind,
        what: &str,
        report: &Report,
        head: Head,
        maybe_charged: bool,
    ) -> ModelError {
        if kind != ModelErrorKind::InvalidRequest || !self.may_be_too_long(&head, report) {
            let remedy = self.remedy(kind, head.status);
            return self.reported(kind, what, report, &remedy, head, maybe_charged);
        }
        let remedy = format!(
            "the request has about {} tokens, so it may be too long; if it is not, does model `{}` \
             accept these settings and tools?",
            self.sent, self.config.model
        );
        let kind = ModelErrorKind::ContextOverflow;
        self.reported(kind, what, report, &remedy, head, maybe_charged)
    }

    /// Whether a refusal without a reason is likely one of too long a conversation. No list of phrases
    /// knows every server. The run then makes the conversation smaller once; if the next request is
    /// refused as well, that request is no longer near the window and keeps its own kind.
    fn may_be_too_long(&self, head: &Head, report: &Report) -> bool {
        let names_another = report.param.as_deref().is_some_and(|param| {
            !matches!(
                param,
                "messages" | "input" | "contents" | "prompt" | "max_tokens" | "max_output_tokens"
            )
        });
        if !matches!(head.status, 200 | 400 | 422) || names_another {
            return false;
        }
        if report.message.is_none() && report.code.is_none() {
            // Cerebras answers a long request with an empty body; other refusals have a reason.
            return self.sent >= BRIEF_OVERFLOW;
        }
        // An estimate may be half of what the provider counts.
        let context = self.config.info.context_tokens.unwrap_or(DEFAULT_CONTEXT);
        self.sent >= context / 2
    }

    fn reported(
        &self,
        kind: ModelErrorKind,
        what: &str,
        report: &Report,
        remedy: &str,
        head: Head,
        maybe_charged: bool,
    ) -> ModelError {
        let mut message = what.to_owned();
        let plain = |text: &&String| {
            text.len() <= 64
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_-.[]".contains(&b))
                && *text != &head.status.to_string()
        };
        let words = [report.code.as_ref(), report.param.as_ref()]
            .into_iter()
            .flatten();
        // Whatever a provider, or what stands before it, writes there may be the key.
        let clean = |text: &&String| self.clean(text).as_ref() == Some(*text);
        let words = words.filter(plain).filter(clean);
        let words: Vec<&str> = words.map(String::as_str).collect();
        // Writing to a string does not fail.
        if !words.is_empty() {
            let _ = write!(message, " ({})", words.join(", "));
        }
        if let Some(said) = report.message.as_deref().and_then(|said| self.clean(said)) {
            let _ = write!(message, ": {}", said.trim_end_matches('.'));
        }
        if !remedy.is_empty() {
            let _ = write!(message, "; {remedy}");
        }
        ModelError {
            kind,
            message,
            status: Some(head.status),
            retry_after: head.retry_after.or(report.retry_after),
            request_id: head.request_id,
            maybe_charged,
        }
    }

    fn remedy(&self, kind: ModelErrorKind, status: u16) -> String {
        let key = self.variable("API_KEY");
        match kind {
            ModelErrorKind::Unauthorized if self.config.key().is_none() => {
                format!("no API key was sent: set {key}")
            }
            ModelErrorKind::Unauthorized if status == 403 => {
                format!("may the key in {key} use model `{}`?", self.config.model)
            }
            ModelErrorKind::Unauthorized => format!("is {key} right?"),
            ModelErrorKind::QuotaExceeded => {
                "another try does not help: see plan, credit and limits at the provider".to_owned()
            }
            ModelErrorKind::NotFound => format!(
                "is the model name `{}` right, and {} ({})?",
                self.config.model,
                self.variable("BASE_URL"),
                self.endpoint
            ),
            ModelErrorKind::ContextOverflow => {
                "shorten the conversation, or use a model with a larger context".to_owned()
            }
            ModelErrorKind::ContentFilter => "reword the goal or the instructions".to_owned(),
            ModelErrorKind::RateLimited => {
                "wait, or let fewer tasks run at the same time".to_owned()
            }
            ModelErrorKind::InvalidRequest => {
                format!(
                    "does model `{}` accept these settings and tools?",
                    self.config.model
                )
            }
            ModelErrorKind::Unreachable
            | ModelErrorKind::Timeout
            | ModelErrorKind::Conflict
            | ModelErrorKind::ServerError
            | ModelErrorKind::MalformedResponse
            | ModelErrorKind::ScriptExhausted => String::new(),
        }
    }

    /// The variable of this provider, for instance `OPENAI_API_KEY`.
    fn variable(&self, what: &str) -> String {
        format!(
            "{}_{what}",
            self.config.provider.name().to_ascii_uppercase()
        )
    }

    /// Foreign text on one line, short, without secrets; none if it quotes the conversation.
    fn clean(&self, text: &str) -> Option<String> {
        let text = without_secrets(self.config, text);
        let words: Vec<&str> = text.split_whitespace().map(without_key).collect();
        let text = shorten(&words.join(" "), 4 * EXCERPT_LIMIT);
        (!text.is_empty() && !self.quotes(&text)).then(|| shorten(&text, EXCERPT_LIMIT))
    }

    /// Whether the text repeats a part of the conversation.
    ///
    /// It looks for short messages as a whole, and for windows of the text in every message, so
    /// that a quotation of 35 bytes is always found.
    fn quotes(&self, text: &str) -> bool {
        const WINDOW: usize = 24;
        const STEP: usize = 12;
        let windows: Vec<&str> = (0..text.len().saturating_sub(WINDOW - 1))
            .step_by(STEP)
            .filter_map(|at| {
                let end = text.floor_char_boundary(at + WINDOW);
                Some(text.get(text.floor_char_boundary(at)..end)?.trim())
            })
            .filter(|window| window.len() > WINDOW / 2)
            .collect();
        let repeats = |content: &str| {
            let whole = content.split_whitespace().collect::<Vec<_>>().join(" ");
            (whole.len() >= 8 && text.contains(&whole))
                || windows.iter().any(|window| whole.contains(window))
        };
        self.request
            .messages
            .iter()
            .any(|message| match &**message {
                Message::System { content } | Message::Tool { content, .. } => repeats(content),
                Message::User { content, images } => {
                    let shows = |image: &Image| match image {
                        Image::Url { url } => repeats(url),
                        // It may be long, and has no white space.
                        Image::Inline { base64, .. } => {
                            windows.iter().any(|window| base64.contains(window))
                        }
                    };
                    repeats(content) || images.iter().any(shows)
                }
                Message::Assistant { content, calls, .. } => {
                    let arguments = |call: &MessageCall| match call.arguments.as_str() {
                        Some(raw) => repeats(raw),
                        None => repeats(&call.arguments.to_string()),
                    };
                    repeats(content) || calls.iter().any(arguments)
                }
            })
    }
}

/// The text without the key and the values of the configured headers.
fn without_secrets(config: &Config, text: &str) -> String {
    let headers = config.headers.iter().map(|(_, value)| value.as_str());
    // A header's value as a whole, and without what stands before the secret, as in `Bearer ..`.
    let headers = headers.flat_map(|value| std::iter::once(value).chain(value.split(' ')));
    let secrets = headers.filter(|value| value.len() >= 8).chain(config.key());
    secrets.fold(text.to_owned(), |text, secret| {
        text.replace(secret, "[secret]")
    })
}

/// The word, unless it holds a key of a common form (`sk-...`, Google's `AIza...`), be it a masked
/// one.
fn without_key(word: &str) -> &str {
    let begins = |form| match word.find(form) {
        Some(at) => !word[..at].ends_with(char::is_alphanumeric),
        None => false,
    };
    if begins("sk-") || begins("AIza") {
        "[secret]"
    } else {
        word
    }
}

/// A failure that leaves open whether the provider served the call.
fn unknown(kind: ModelErrorKind, message: String, head: Option<Head>) -> ModelError {
    ModelError {
        status: head.as_ref().map(|head| head.status),
        request_id: head.and_then(|head| head.request_id),
        maybe_charged: true,
        ..ModelError::new(kind, message)
    }
}

/// The innermost cause, which is the one that says something.
fn cause(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(|cause| cause.source()) {
        cause = Some(inner);
    }
    // The error itself may show the URL, so it does not stand in for a missing cause.
    cause.map_or_else(|| "no cause given".to_owned(), ToString::to_string)
}

fn shorten(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
