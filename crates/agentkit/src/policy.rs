//! The security manager: which calls are allowed.
//!
//! The gate asks it about every call whose arguments are valid, before anything runs. Its word is
//! recorded with the call and holds for that call from then on.

use std::{collections::BTreeSet, str::FromStr, time::Duration};

use serde_json::Value;

use crate::ToolSpec;

/// Decides which calls are allowed.
pub trait Policy: Send + Sync {
    /// Whether the action may be done. It decides from what it is given, and does no I/O.
    fn check_permissions(&self, action: &Action<'_>, context: &PolicyContext<'_>) -> Permission;
}

/// What somebody wants to do: one tool call.
#[derive(Debug, Clone, Copy)]
pub struct Action<'a> {
    /// The tool.
    pub tool: &'a ToolSpec,
    /// The exact arguments that would run; they have passed the schema.
    pub arguments: &'a Value,
}

/// On whose behalf.
#[derive(Debug, Clone, Copy, Default)]
pub struct PolicyContext<'a> {
    /// The agent's name.
    pub agent: &'a str,
}

/// What the policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// It may run.
    Allow,
    /// It may run once somebody has approved it.
    Ask {
        /// Why, for that person.
        reason: String,
        /// How long to wait for an answer; none for the run's deadline.
        timeout: Option<Duration>,
    },
    /// It never runs.
    Deny {
        /// Why, for the model and for a person.
        reason: String,
    },
}

/// Patterns and a default: the policy that configuration describes.
///
/// Three steps, and the first that speaks is final: a `deny` pattern denies; an `allow` pattern
/// allows; a tool that somebody `configured` is allowed and any other is denied. So an empty policy
/// denies everything, and no allowance undoes a denial.
#[derive(Debug, Clone, Default)]
pub struct ConfiguredPolicy {
    /// Tools that are never allowed.
    pub deny: Vec<Pattern>,
    /// Tools that are allowed although nobody configured them by name.
    pub allow: Vec<Pattern>,
    /// Names of the tools that somebody configured.
    pub configured: BTreeSet<String>,
}

impl ConfiguredPolicy {
    /// Allows these tools and denies any other.
    pub fn new(configured: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            configured: configured.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }
}

impl Policy for ConfiguredPolicy {
    fn check_permissions(&self, action: &Action<'_>, _: &PolicyContext<'_>) -> Permission {
        let name = action.tool.name.as_str();
        if let Some(pattern) = self.deny.iter().find(|pattern| pattern.matches(name)) {
            let reason = format!("tool `{name}` is denied by the deny rule `{pattern}`");
            return Permission::Deny { reason };
        }
        if self.allow.iter().any(|pattern| pattern.matches(name)) || self.configured.contains(name)
        {
            return Permission::Allow;
        }
        let reason =
            format!("tool `{name}` is not configured for this agent, and no rule allows it");
        Permission::Deny { reason }
    }
}

/// A pattern of tool names; `*` stands for any number of characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

/// A pattern that no tool name can match, as a mistake in a deny rule would otherwise go unseen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tool pattern `{0}` is not valid: use letters, digits, `_`, `-` and `*`")]
pub struct InvalidPattern(String);

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = |c: char| c.is_ascii_alphanumeric() || "_-*".contains(c);
        if text.is_empty() || !text.chars().all(valid) {
            return Err(InvalidPattern(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Pattern {
    /// Whether the whole name matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else {
            return self.0 == name;
        };
        let Some(name) = name.strip_prefix(first) else {
            return false;
        };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let Some(mut name) = name.strip_suffix(last) else {
            return false;
        };
        // Between the ends, taking each part where it first occurs leaves the most for the others.
        for part in middle.split('*') {
            let Some(at) = name.find(part) else {
                return false;
            };
            name = &name[at + part.len()..];
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    fn check(policy: &ConfiguredPolicy, name: &str) -> Permission {
        let tool = ToolSpec::new(name, "", json!({"type": "object"}));
        let action = Action {
            tool: &tool,
            arguments: &json!({}),
        };
        policy.check_permissions(&action, &PolicyContext { agent: "tester" })
    }

    #[test]
    fn patterns_match_whole_names() {
        for (text, name, expected) in [
            ("read_file", "read_file", true),
            ("read_file", "read_file2", false),
            ("read", "read_file", false),
            ("*", "anything", true),
            ("*", "", true),
            ("read_*", "read_file", true),
            ("read_*", "read_", true),
            ("read_*", "unread_file", false),
            ("*_file", "read_file", true),
            ("*_file", "read_files", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("a*bc*c", "abc", false),
            ("**", "x", true),
            ("*a*b*", "xxbxa", false),
            ("*a*b*", "xxaxb", true),
        ] {
            assert_eq!(pattern(text).matches(name), expected, "{text} on {name}");
        }
    }

    #[test]
    fn a_pattern_that_matches_no_tool_is_refused() {
        for text in ["", "read file", "sh[ea]ll", "a/b", "größe"] {
            assert_eq!(
                text.parse::<Pattern>(),
                Err(InvalidPattern(text.to_owned()))
            );
        }
    }

    #[test]
    fn nothing_is_allowed_unless_somebody_said_so() {
        let policy = ConfiguredPolicy::default();
        assert!(matches!(
            check(&policy, "calculator"),
            Permission::Deny { .. }
        ));
        let policy = ConfiguredPolicy::new(["calculator"]);
        assert_eq!(check(&policy, "calculator"), Permission::Allow);
        let Permission::Deny { reason } = check(&policy, "shell") else {
            panic!("allowed")
        };
        assert_eq!(
            reason,
            "tool `shell` is not configured for this agent, and no rule allows it"
        );
    }

    #[test]
    fn a_deny_rule_wins_over_every_allowance() {
        let policy = ConfiguredPolicy {
            deny: vec![pattern("*_file")],
            allow: vec![pattern("*"), pattern("write_file")],
            ..ConfiguredPolicy::new(["write_file", "shell"])
        };
        assert_eq!(check(&policy, "anything"), Permission::Allow);
        assert_eq!(check(&policy, "shell"), Permission::Allow);
        let Permission::Deny { reason } = check(&policy, "write_file") else {
            panic!("allowed")
        };
        assert_eq!(
            reason,
            "tool `write_file` is denied by the deny rule `*_file`"
        );
    }
}
