//! The policy file.
//!
//! ```toml
//! profile = "strict"            # or "default"
//! approval_timeout = "24h"      # without it an approval is waited for until the run's deadline
//!
//! [[rule]]
//! tool = "http_*"               # a pattern of names
//! action = "ask"                # or "deny", or "allow"
//! reason = "it leaves the house"
//! when = { method = ["POST", "PUT"] }
//! unless = { url = "https://api.example.com/*" }
//! timeout = "1h"                # then `on_timeout`: "deny", "escalate" or "stay"
//! on_timeout = "escalate"
//! escalate_to = "on-call"
//! preview = { tool = "http_fetch", arguments = { url = "{url}" } }
//!
//! [[rule]]                      # of every tool that touches it
//! action = "deny"
//! when = { touches.path = "secret/*" }
//!
//! [[guard]]                     # on texts of arguments or results
//! result = "BEGIN [A-Z ]*PRIVATE KEY"
//! action = "withhold"
//!
//! [[limit]]
//! tool = "http_*"
//! timeout = "5s"
//! concurrency = 2
//! ```

mod asked;
mod entries;

use std::time::Duration;

use serde_json::Value;
use units::{duration, nearest};

use super::{
    CallLimit, Condition, ConfiguredPolicy, Guard, InvalidCondition, InvalidPattern, Pattern,
    Profile, Rule, RuleAction,
};

/// What a policy file says.
#[derive(Debug, Clone, Default)]
pub struct PolicyFile {
    /// How careful to be about what no rule speaks of.
    pub profile: Profile,
    /// How long to wait for an approval.
    pub approval_timeout: Option<Duration>,
    /// Rules.
    pub rules: Vec<Rule>,
    /// Guards on arguments and results.
    pub guards: Vec<Guard>,
    /// Bounds on calls.
    pub limits: Vec<CallLimit>,
}

/// A policy file that cannot be read. None of its mistakes is passed over: a rule that is not
/// understood would permit what it was to forbid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// It is no TOML.
    #[error("the policy is not valid TOML")]
    Syntax(#[source] toml::de::Error),
    /// A key that does not exist.
    #[error("{location}: there is no key `{key}`; {hint}")]
    UnknownKey {
        /// Where it is.
        location: String,
        /// The key.
        key: String,
        /// What it may have meant.
        hint: String,
    },
    /// A key without which nothing can be made of the rule.
    #[error("{location}: `{key}` is missing")]
    Missing {
        /// Where.
        location: String,
        /// The key.
        key: &'static str,
    },
    /// A value that the key does not take.
    #[error("{location}: `{key}` must be {expected}")]
    Value {
        /// Where.
        location: String,
        /// The key.
        key: &'static str,
        /// What it takes.
        expected: &'static str,
    },
    /// A pattern that no tool can match.
    #[error("{location}: {error}")]
    Pattern {
        /// Where.
        location: String,
        /// What is wrong with it.
        error: InvalidPattern,
    },
    /// A condition that cannot be read.
    #[error("{location}: {error}")]
    Condition {
        /// Where.
        location: String,
        /// What is wrong with it.
        error: InvalidCondition,
    },
}

impl PolicyFile {
    /// Reads the text of a policy file.
    ///
    /// # Errors
    /// The first thing in it that is wrong, and in which rule.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        Self::from_table(&toml::from_str(text).map_err(PolicyError::Syntax)?)
    }

    /// Reads what a policy file holds, as part of another file.
    ///
    /// # Errors
    /// As [`PolicyFile::parse`].
    pub fn from_table(table: &toml::Table) -> Result<Self, PolicyError> {
        let at = Location("the policy".to_owned());
        at.known(
            table,
            &["profile", "approval_timeout", "rule", "guard", "limit"],
        )?;
        let profile = match at.text(table, "profile", "`default` or `strict`")? {
            None | Some("default") => Profile::Default,
            Some("strict") => Profile::Strict,
            Some(_) => return Err(at.wrong("profile", "`default` or `strict`")),
        };
        let approval_timeout = at.duration(table, "approval_timeout")?;
        let rules = match table.get("rule") {
            None => Vec::new(),
            Some(toml::Value::Array(rules)) => (1..)
                .zip(rules)
                .map(|(number, entry)| rule(&Location(format!("rule {number}")), entry))
                .collect::<Result<_, _>>()?,
            Some(_) => return Err(at.wrong("rule", "a list: write `[[rule]]`")),
        };
        Ok(Self {
            profile,
            approval_timeout,
            rules,
            guards: entries::list(table, "guard", entries::guard)?,
            limits: entries::list(table, "limit", entries::limit)?,
        })
    }

    /// The policy for these tools, which somebody configured.
    pub fn policy(
        &self,
        configured: impl IntoIterator<Item = impl Into<String>>,
    ) -> ConfiguredPolicy {
        ConfiguredPolicy {
            profile: self.profile,
            rules: self.rules.clone(),
            guards: self.guards.clone(),
            limits: self.limits.clone(),
            approval_timeout: self.approval_timeout,
            ..ConfiguredPolicy::new(configured)
        }
    }
}

fn rule(at: &Location, entry: &toml::Value) -> Result<Rule, PolicyError> {
    let toml::Value::Table(entry) = entry else {
        return Err(at.wrong("rule", "a list of tables: write `[[rule]]`"));
    };
    at.known(
        entry,
        &[
            "tool",
            "action",
            "reason",
            "when",
            "unless",
            "timeout",
            "on_timeout",
            "escalate_to",
            "escalated_timeout",
            "preview",
        ],
    )?;
    let (when, unless) = (
        at.conditions(entry, "when")?,
        at.conditions(entry, "unless")?,
    );
    let tool = match at.text(entry, "tool", "a pattern of tool names")? {
        Some(text) => text.parse().map_err(|error| PolicyError::Pattern {
            location: at.0.clone(),
            error,
        })?,
        // What a rule says of resources, it says of every tool that touches them.
        None if when.iter().chain(&unless).any(Condition::is_on_resources) => Pattern::any(),
        None => return Err(at.missing("tool")),
    };
    let expected = "`deny`, `ask` or `allow`";
    let action = match at.text(entry, "action", expected)? {
        Some("deny") => RuleAction::Deny,
        Some("ask") => RuleAction::Ask,
        Some("allow") => RuleAction::Allow,
        Some(_) => return Err(at.wrong("action", expected)),
        None => return Err(at.missing("action")),
    };
    Ok(Rule {
        tool,
        action,
        reason: at.text(entry, "reason", "a sentence")?.map(str::to_owned),
        when,
        unless,
        expiry: asked::expiry(at, entry, action)?,
        preview: asked::preview(at, entry, action)?,
    })
}

/// A part of the file, as messages name it.
struct Location(String);

impl Location {
    fn known(&self, table: &toml::Table, known: &[&str]) -> Result<(), PolicyError> {
        let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) else {
            return Ok(());
        };
        let hint = nearest::hint(key, known.iter().copied());
        Err(PolicyError::UnknownKey {
            location: self.0.clone(),
            key: key.clone(),
            hint,
        })
    }

    fn duration(
        &self,
        table: &toml::Table,
        key: &'static str,
    ) -> Result<Option<Duration>, PolicyError> {
        let read = match table.get(key) {
            None => return Ok(None),
            Some(toml::Value::String(text)) => duration::parse(text).ok(),
            Some(toml::Value::Integer(seconds)) => duration::from_seconds(*seconds as f64).ok(),
            Some(toml::Value::Float(seconds)) => duration::from_seconds(*seconds).ok(),
            Some(_) => None,
        };
        let read = read.ok_or_else(|| self.wrong(key, duration::FORM))?;
        Ok(Some(read))
    }

    fn text<'a>(
        &self,
        table: &'a toml::Table,
        key: &'static str,
        expected: &'static str,
    ) -> Result<Option<&'a str>, PolicyError> {
        match table.get(key) {
            None => Ok(None),
            Some(toml::Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, expected)),
        }
    }

    fn conditions(
        &self,
        table: &toml::Table,
        key: &'static str,
    ) -> Result<Vec<Condition>, PolicyError> {
        let expected = "a table of arguments, for instance { url = \"https://*\" }";
        let Some(value) = table.get(key) else {
            return Ok(Vec::new());
        };
        let toml::Value::Table(entries) = value else {
            return Err(self.wrong(key, expected));
        };
        // An empty one would say nothing, and hardly be meant so.
        if entries.is_empty() {
            return Err(self.wrong(key, expected));
        }
        entries
            .iter()
            .map(|(path, value)| {
                let value = json(value).ok_or_else(|| {
                    self.wrong(
                        key,
                        "made of texts, numbers, truth values, lists and bounds",
                    )
                })?;
                Condition::new(path, &value).map_err(|error| PolicyError::Condition {
                    location: self.0.clone(),
                    error,
                })
            })
            .collect()
    }

    fn wrong(&self, key: &'static str, expected: &'static str) -> PolicyError {
        let location = self.0.clone();
        PolicyError::Value {
            location,
            key,
            expected,
        }
    }

    fn missing(&self, key: &'static str) -> PolicyError {
        let location = self.0.clone();
        PolicyError::Missing { location, key }
    }
}

fn json(value: &toml::Value) -> Option<Value> {
    match value {
        toml::Value::Datetime(_) => None,
        toml::Value::String(_)
        | toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Array(_)
        | toml::Value::Table(_) => serde_json::to_value(value).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_its_text_says() {
        let file = PolicyFile::parse(
            r#"
profile = "strict"
approval_timeout = "24h"

[[rule]]
tool = "http_*"
action = "ask"
reason = "it leaves the house"
when = { method = ["POST", "PUT"], "/body/amount" = { min = 100 } }
unless = { url = "https://api.example.com/*" }

[[rule]]
tool = "shell"
action = "deny"
"#,
        )
        .unwrap();
        assert_eq!(file.profile, Profile::Strict);
        assert_eq!(file.approval_timeout, Some(Duration::from_secs(86_400)));
        let [first, second] = file.rules.as_slice() else {
            panic!("{file:?}")
        };
        assert_eq!(
            (first.tool.to_string().as_str(), first.action),
            ("http_*", RuleAction::Ask)
        );
        assert_eq!((first.when.len(), first.unless.len()), (2, 1));
        assert_eq!(first.reason.as_deref(), Some("it leaves the house"));
        assert_eq!(second.action, RuleAction::Deny);
        let on_resources = PolicyFile::parse(
            "[[rule]]\naction = \"deny\"\nwhen = { touches.path = \"secret/*\", n = 1 }",
        )
        .unwrap();
        assert_eq!(on_resources.rules[0].tool.to_string(), "*");
        assert_eq!(on_resources.rules[0].when.len(), 2);
        let empty = PolicyFile::parse("").unwrap();
        assert_eq!((empty.profile, empty.rules.len()), (Profile::Default, 0));
        assert!(empty.policy(["a"]).configured.contains("a"));
    }

    /// cli/C10: REST and settings took what a policy refused.
    #[test]
    fn durations_are_read_as_everywhere() {
        for (written, millis) in [
            ("\"1h30m\"", 5_400_000),
            ("\"500ms\"", 500),
            ("\"1.5h\"", 5_400_000),
            ("\"1e3\"", 1_000_000),
            ("\" 30s\"", 30_000),
            ("90", 90_000),
            ("0.5", 500),
        ] {
            let file = PolicyFile::parse(&format!("approval_timeout = {written}")).unwrap();
            let timeout = file.approval_timeout.map(|time| time.as_millis());
            assert_eq!(timeout, Some(millis), "{written}");
        }
    }

    #[test]
    fn no_mistake_is_passed_over() {
        let rule = |text: &str| format!("[[rule]]\ntool = \"a\"\naction = \"deny\"\n{text}");
        for (text, message) in [
            (
                "profil = \"strict\"".to_owned(),
                "the policy: there is no key `profil`; did you mean `profile`?",
            ),
            (
                "profile = \"careful\"".to_owned(),
                "the policy: `profile` must be `default` or `strict`",
            ),
            (
                "profile = 1".to_owned(),
                "the policy: `profile` must be `default` or `strict`",
            ),
            (
                "approval_timeout = \"soon\"".to_owned(),
                "the policy: `approval_timeout` must be a number of seconds, or text like `500ms`, `90s`, `1.5h` or `1h30m`",
            ),
            (
                rule("wehn = { a = 1 }"),
                "rule 1: there is no key `wehn`; did you mean `when`?",
            ),
            (
                rule("zzzzzzzz = 1"),
                "rule 1: there is no key `zzzzzzzz`; known are `tool`, `action`, `reason`, `when`, `unless`, `timeout`, `on_timeout`, `escalate_to`, `escalated_timeout`, `preview`",
            ),
            (
                rule("when = {}"),
                "rule 1: `when` must be a table of arguments, for instance { url = \"https://*\" }",
            ),
            (
                rule("when = { n = { least = 1 } }"),
                "rule 1: the condition on `n` has `least`, but knows only `min` and `max`",
            ),
            (
                rule("unless = { n = 2020-01-01 }"),
                "rule 1: `unless` must be made of texts, numbers, truth values, lists and bounds",
            ),
            (
                "rule = 1".to_owned(),
                "the policy: `rule` must be a list: write `[[rule]]`",
            ),
            (
                "[[rule]]\naction = \"deny\"".to_owned(),
                "rule 1: `tool` is missing",
            ),
            (
                "[[rule]]\naction = \"deny\"\nwhen = { path = \"a\" }".to_owned(),
                "rule 1: `tool` is missing",
            ),
            (
                rule("when = { touches.file = \"a\" }"),
                "rule 1: the condition on `touches` has `file`, but must be a table of `path`, `url`, \
                 `host` and `service`",
            ),
            (
                "[[rule]]\ntool = \"a\"".to_owned(),
                "rule 1: `action` is missing",
            ),
            (
                rule("") + "[[rule]]\ntool = \"a\"\naction = \"forbid\"",
                "rule 2: `action` must be `deny`, `ask` or `allow`",
            ),
            (
                "[[rule]]\ntool = \"a b\"\naction = \"deny\"".to_owned(),
                "rule 1: tool pattern `a b` is not valid: use letters, digits, `_`, `-` and `*`",
            ),
            ("profile = ".to_owned(), "the policy is not valid TOML"),
        ] {
            assert_eq!(
                PolicyFile::parse(&text).unwrap_err().to_string(),
                message,
                "{text}"
            );
        }
    }
}
