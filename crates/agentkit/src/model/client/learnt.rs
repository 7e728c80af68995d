//! Fields that a server turned out to want or to refuse.
//!
//! Servers of one surface disagree about a few fields, and no table knows them all. A request that is
//! refused for such a field was not served, so it is sent once more in the other way, and so are those
//! after it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU8, Ordering},
    },
};

use super::{fields::Fields, report::Report};
use crate::{model::catalog::OutputLimit, tool::ToolSpec};

/// The most tools that are left out.
const MAX_LEFT_OUT: usize = 256;

/// Lessons from refusals.
#[derive(Debug, Default)]
pub(super) struct Learnt {
    limit: AtomicU8,
    thoughts: AtomicU8,
    /// Tools whose definitions the provider refuses: the digest of the definition by name. A tool that is defined
    /// anew is sent again.
    left_out: RwLock<BTreeMap<String, String>>,
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

    /// Whether a tool is left out of requests.
    pub(super) fn is_left_out(&self, tool: &ToolSpec) -> bool {
        let left_out = self.left_out.read().unwrap_or_else(PoisonError::into_inner);
        let refused = left_out.get(&tool.name);
        refused.is_some_and(|digest| *digest == tool.digest())
    }

    /// Looks at a refusal of a request with these tools. Where it is about the definition of a tool, the tool is
    /// left out from now on, and its name returned.
    pub(super) fn leave_out(
        &self,
        status: u16,
        report: &Report,
        tools: &[&Arc<ToolSpec>],
    ) -> Option<String> {
        if !matches!(status, 400 | 422) {
            return None;
        }
        let told = [report.message.as_deref(), report.param.as_deref()];
        let tool = told
            .into_iter()
            .flatten()
            .find_map(|text| named(text, tools))?;
        let mut left_out = self
            .left_out
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if left_out.len() >= MAX_LEFT_OUT {
            left_out.pop_first();
        }
        left_out.insert(tool.name.clone(), tool.digest());
        Some(tool.name.clone())
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

/// The tool that a message is about: by its name in quotation marks, or by its place in the request, as in
/// `tools.19.custom.input_schema`, `tools[48]` and `function_declarations[3]`.
fn named<'a>(message: &str, tools: &[&'a Arc<ToolSpec>]) -> Option<&'a Arc<ToolSpec>> {
    for before in [
        "function '",
        "tool '",
        "function \"",
        "tool \"",
        "function `",
        "tool `",
    ] {
        for (at, _) in message.match_indices(before) {
            let rest = &message[at + before.len()..];
            let end = rest.find(['\'', '"', '`']).unwrap_or(rest.len());
            if let Some(tool) = tools.iter().find(|tool| tool.name == rest[..end]) {
                return Some(tool);
            }
        }
    }
    let places = [
        "function_declarations[",
        "functionDeclarations[",
        "tools[",
        "tools.",
    ];
    places.iter().find_map(|before| {
        let (_, rest) = message.split_once(before)?;
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        tools.get(rest[..end].parse::<usize>().ok()?).copied()
    })
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
    fn a_tool_whose_definition_is_refused_is_left_out_until_it_is_another() {
        let spec = |name: &str, about: &str| {
            Arc::new(ToolSpec::new(
                name,
                about,
                serde_json::json!({"type": "object"}),
            ))
        };
        let all = [spec("first", ""), spec("second", ""), spec("third", "")];
        for (message, expected) in [
            (
                "tools.1.custom.input_schema: JSON schema is invalid",
                Some("second"),
            ),
            (
                "Invalid schema for function 'third': schema must have a 'type' key",
                Some("third"),
            ),
            (
                "Invalid 'tools[0].function.name': string does not match pattern",
                Some("first"),
            ),
            (
                "* GenerateContentRequest.tools[0].function_declarations[2].parameters.properties[p].items: missing field.",
                Some("third"),
            ),
            ("tools[48] is invalid", None),
            ("Invalid schema for function 'other'", None),
            ("messages.1.content: too long", None),
        ] {
            let learnt = Learnt::default();
            let refusal = serde_json::json!({"error": {"message": message}}).to_string();
            let report = Report::read(refusal.as_bytes());
            let tools: Vec<&Arc<ToolSpec>> = all.iter().collect();
            assert_eq!(learnt.leave_out(500, &report, &tools), None);
            assert_eq!(
                learnt.leave_out(400, &report, &tools).as_deref(),
                expected,
                "{message}"
            );
            for tool in &all {
                assert_eq!(
                    learnt.is_left_out(tool),
                    expected == Some(&*tool.name),
                    "{message}"
                );
                assert!(!learnt.is_left_out(&spec(&tool.name, "in other words")));
            }
        }
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
