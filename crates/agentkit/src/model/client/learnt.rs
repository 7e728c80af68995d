//! Fields that a server turned out to want or to refuse.
//!
//! Servers of one surface disagree about a few fields, and no table knows them all. A request that is
//! refused for such a field was not served, so it is sent once more in the other way, and so are those
//! after it.

use std::sync::atomic::{AtomicU8, Ordering};

use super::{fields::Fields, report::Report};
use crate::model::catalog::OutputLimit;

/// Lessons from refusals.
#[derive(Debug, Default)]
pub(super) struct Learnt {
    limit: AtomicU8,
    thoughts: AtomicU8,
}

/// Whether a turn of the model goes back with its `reasoning_content`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thoughts {
    /// Where it has one.
    Own,
    /// Always: the server refuses a turn without.
    Required,
    /// Never.
    Refused,
}

impl Learnt {
    /// The field that bounds an answer on `chat`; `usual` is what the model table says.
    pub(super) fn limit(&self, usual: Option<OutputLimit>) -> OutputLimit {
        match self.limit.load(Ordering::Relaxed) {
            0 => usual.unwrap_or_default(),
            1 => OutputLimit::MaxCompletionTokens,
            _ => OutputLimit::MaxTokens,
        }
    }

    pub(super) fn thoughts(&self) -> Thoughts {
        match self.thoughts.load(Ordering::Relaxed) {
            0 => Thoughts::Own,
            1 => Thoughts::Required,
            _ => Thoughts::Refused,
        }
    }

    /// Looks at a refusal; true if the request should be sent once more in the other way.
    pub(super) fn learn(&self, status: u16, report: &Report, sent: &[u8]) -> bool {
        if !matches!(status, 400 | 422) {
            return false;
        }
        let message = report.message.as_deref().unwrap_or_default();
        let names = |field: &str| report.param.as_deref() == Some(field) || message.contains(field);
        let sent = std::str::from_utf8(sent).ok().and_then(Fields::read);
        let sent = sent.unwrap_or_default();
        let has_thoughts = || {
            let mut messages = sent.objects("messages");
            messages.any(|message| message.raw(Thoughts::FIELD).is_some())
        };
        let (slot, other) = if sent.raw("max_completion_tokens").is_some()
            && names("max_completion_tokens")
            && !is_about_value(message)
        {
            (&self.limit, 2)
        } else if sent.raw("max_tokens").is_some()
            && names("max_tokens")
            && message.contains("max_completion_tokens")
        {
            (&self.limit, 1)
        } else if names(Thoughts::FIELD) {
            (&self.thoughts, if has_thoughts() { 2 } else { 1 })
        } else {
            return false;
        };
        // A server that refuses both ways teaches nothing.
        slot.compare_exchange(0, other, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

impl Thoughts {
    pub(super) const FIELD: &str = "reasoning_content";
}

/// Whether a number is refused, and not its name.
fn is_about_value(message: &str) -> bool {
    let message = message.to_lowercase();
    [
        "too large",
        "at most",
        "at least",
        "less than",
        "greater than",
        "exceed",
        "maximum",
    ]
    .iter()
    .any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learns(learnt: &Learnt, status: u16, refusal: &str, sent: &str) -> bool {
        learnt.learn(status, &Report::read(refusal.as_bytes()), sent.as_bytes())
    }

    #[test]
    fn a_refused_limit_gets_its_other_name() {
        const NEWER: &str = r#"{"max_completion_tokens":5}"#;
        const OLDER: &str = r#"{"max_tokens":5}"#;
        let mistral = r#"{"detail":[{"type":"extra_forbidden","loc":["body","max_completion_tokens"],"msg":"Extra inputs are not permitted"}]}"#;
        let openai = r#"{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.","param":"max_tokens"}}"#;
        let value = r#"{"error":{"message":"max_completion_tokens is too large: 5","param":"max_completion_tokens"}}"#;
        for (status, refusal, sent, taught) in [
            (422, mistral, NEWER, Some(OutputLimit::MaxTokens)),
            (400, openai, OLDER, Some(OutputLimit::MaxCompletionTokens)),
            (400, value, NEWER, None),
            (422, mistral, OLDER, None),
            (422, mistral, "{}", None),
            (401, mistral, NEWER, None),
            (400, "no", NEWER, None),
        ] {
            let learnt = Learnt::default();
            assert_eq!(
                learns(&learnt, status, refusal, sent),
                taught.is_some(),
                "{refusal}"
            );
            assert_eq!(learnt.limit(None), taught.unwrap_or_default());
            assert!(!learns(&learnt, status, refusal, sent));
        }
        let learnt = Learnt::default();
        assert_eq!(
            learnt.limit(Some(OutputLimit::MaxTokens)),
            OutputLimit::MaxTokens
        );
    }

    #[test]
    fn a_server_says_whether_it_wants_thoughts() {
        let missing = r#"{"error":{"message":"Missing `reasoning_content` field in the assistant message at message index 2."}}"#;
        let unknown = r#"{"error":{"message":"property 'reasoning_content' is unsupported"}}"#;
        let with = r#"{"messages":[{"role":"assistant","reasoning_content":"x"}]}"#;
        let without = r#"{"messages":[{"role":"assistant"}]}"#;
        for (refusal, sent, taught) in [
            (missing, without, Thoughts::Required),
            (unknown, with, Thoughts::Refused),
            ("no", with, Thoughts::Own),
        ] {
            let learnt = Learnt::default();
            assert_eq!(learns(&learnt, 400, refusal, sent), taught != Thoughts::Own);
            assert_eq!(learnt.thoughts(), taught, "{refusal}");
        }
    }
}
