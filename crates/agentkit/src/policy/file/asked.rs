//! What a `[[rule]]` says of an approval: its time, what happens after it, and its preview.

use super::{Location, PolicyError};
use crate::policy::{EscalationTerms, Expiry, Previewer, RuleAction};

/// The longest name of a group, in bytes.
const MAX_GROUP: usize = 128;

/// What becomes of an approval without an answer.
pub(super) fn expiry(
    at: &Location,
    entry: &toml::Table,
    action: RuleAction,
) -> Result<Option<Expiry>, PolicyError> {
    only_of_ask(at, entry, action)?;
    let expected = "`deny`, `escalate` or `stay`";
    let on_timeout = at.text(entry, "on_timeout", expected)?;
    let timeout = at.duration(entry, "timeout")?;
    if on_timeout != Some("escalate") {
        for key in ["escalate_to", "escalated_timeout"] {
            if entry.contains_key(key) {
                return Err(at.wrong(key, "beside `on_timeout = \"escalate\"`, or left out"));
            }
        }
    }
    match (on_timeout, timeout) {
        (None, None) => Ok(None),
        (None | Some("deny"), Some(after)) => Ok(Some(Expiry::Deny(after))),
        (Some("stay"), None) => Ok(Some(Expiry::Stay)),
        (Some("stay"), Some(_)) => {
            Err(at.wrong("timeout", "left out where `on_timeout` is `stay`"))
        }
        (Some("escalate"), Some(after)) => Ok(Some(Expiry::Escalate {
            terms: EscalationTerms {
                after,
                to: group(at, entry)?,
            },
            then: at.duration(entry, "escalated_timeout")?,
        })),
        (Some("deny" | "escalate"), None) => Err(at.missing("timeout")),
        (Some(_), _) => Err(at.wrong("on_timeout", expected)),
    }
}

fn group(at: &Location, entry: &toml::Table) -> Result<String, PolicyError> {
    let expected = "the name of a group, of 1 to 128 bytes without control characters";
    let name = at.text(entry, "escalate_to", expected)?;
    let name = name.ok_or_else(|| at.missing("escalate_to"))?;
    let fits =
        !name.trim().is_empty() && name.len() <= MAX_GROUP && !name.chars().any(char::is_control);
    match fits {
        true => Ok(name.to_owned()),
        false => Err(at.wrong("escalate_to", expected)),
    }
}

/// The call that the reviewer is shown.
pub(super) fn preview(
    at: &Location,
    entry: &toml::Table,
    action: RuleAction,
) -> Result<Option<Previewer>, PolicyError> {
    only_of_ask(at, entry, action)?;
    let expected =
        "a table, for instance { tool = \"http_fetch\", arguments = { url = \"{url}\" } }";
    let table = match entry.get("preview") {
        None => return Ok(None),
        Some(toml::Value::Table(table)) => table,
        Some(_) => return Err(at.wrong("preview", expected)),
    };
    let at = Location(format!("{}, `preview`", at.0));
    at.known(table, &["tool", "arguments"])?;
    let name = at.text(table, "tool", "the name of a tool")?;
    let name = name.ok_or_else(|| at.missing("tool"))?;
    let arguments = match table.get("arguments") {
        None => serde_json::Map::new(),
        Some(value @ toml::Value::Table(_)) => match super::json(value) {
            Some(serde_json::Value::Object(arguments)) => arguments,
            _ => return Err(at.wrong("arguments", "a table without dates")),
        },
        Some(_) => return Err(at.wrong("arguments", "a table")),
    };
    Ok(Some(Previewer {
        tool: name.to_owned(),
        arguments,
    }))
}

/// Only a rule that asks waits for an answer.
fn only_of_ask(at: &Location, entry: &toml::Table, action: RuleAction) -> Result<(), PolicyError> {
    if action == RuleAction::Ask {
        return Ok(());
    }
    let keys = [
        "timeout",
        "on_timeout",
        "escalate_to",
        "escalated_timeout",
        "preview",
    ];
    match keys.into_iter().find(|key| entry.contains_key(*key)) {
        Some(key) => Err(at.wrong(key, "in a rule with `action = \"ask\"`")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::policy::PolicyFile;

    fn ask(text: &str) -> Result<crate::policy::Rule, String> {
        let text = format!("[[rule]]\ntool = \"pay\"\naction = \"ask\"\n{text}");
        let file = PolicyFile::parse(&text).map_err(|error| error.to_string())?;
        Ok(file.rules[0].clone())
    }

    #[test]
    fn a_rule_says_what_an_unanswered_approval_becomes() {
        let hour = Duration::from_secs(3_600);
        assert_eq!(ask("").unwrap().expiry, None);
        assert_eq!(
            ask("timeout = '1h'").unwrap().expiry,
            Some(Expiry::Deny(hour))
        );
        assert_eq!(
            ask("on_timeout = 'stay'").unwrap().expiry,
            Some(Expiry::Stay)
        );
        let escalates = ask(
            "timeout = '1h'\non_timeout = 'escalate'\nescalate_to = 'on-call'\nescalated_timeout = '2h'",
        );
        let terms = escalates.unwrap().expiry.unwrap().terms();
        assert_eq!(terms.timeout, Some(3 * hour));
        let to = "on-call".to_owned();
        assert_eq!(terms.escalation, Some(EscalationTerms { after: hour, to }));
        let open = ask("timeout = 60\non_timeout = 'escalate'\nescalate_to = 'b'").unwrap();
        assert_eq!(open.expiry.unwrap().terms().timeout, None);
    }

    #[test]
    fn a_rule_names_the_call_that_its_reviewer_sees() {
        let rule = ask("preview = { tool = 'look', arguments = { id = '{/a/0}', deep = true } }");
        let preview = rule.unwrap().preview.unwrap().of(&json!({"a": [7]}));
        assert_eq!(
            (preview.tool.as_str(), preview.input),
            ("look", json!({"id": 7, "deep": true}))
        );
    }

    #[test]
    fn no_mistake_about_an_approval_is_passed_over() {
        for (text, message) in [
            (
                "on_timeout = 'wait'",
                "rule 1: `on_timeout` must be `deny`, `escalate` or `stay`",
            ),
            ("on_timeout = 'deny'", "rule 1: `timeout` is missing"),
            ("on_timeout = 'escalate'", "rule 1: `timeout` is missing"),
            (
                "timeout = '1h'\non_timeout = 'escalate'",
                "rule 1: `escalate_to` is missing",
            ),
            (
                "timeout = '1h'\nescalate_to = 'a'",
                "rule 1: `escalate_to` must be beside `on_timeout = \"escalate\"`, or left out",
            ),
            (
                "timeout = '1h'\non_timeout = 'stay'",
                "rule 1: `timeout` must be left out where `on_timeout` is `stay`",
            ),
            (
                "timeout = '1h'\non_timeout = 'escalate'\nescalate_to = \"a\\nb\"",
                "rule 1: `escalate_to` must be the name of a group, of 1 to 128 bytes without control characters",
            ),
            (
                "preview = 'look'",
                "rule 1: `preview` must be a table, for instance { tool = \"http_fetch\", arguments = { url = \"{url}\" } }",
            ),
            (
                "preview = { arguments = {} }",
                "rule 1, `preview`: `tool` is missing",
            ),
            (
                "preview = { tool = 'a', argument = {} }",
                "rule 1, `preview`: there is no key `argument`; did you mean `arguments`?",
            ),
        ] {
            assert_eq!(ask(text).unwrap_err(), message, "{text}");
        }
        let text = "[[rule]]\ntool = \"pay\"\naction = \"deny\"\ntimeout = '1h'";
        assert_eq!(
            PolicyFile::parse(text).unwrap_err().to_string(),
            "rule 1: `timeout` must be in a rule with `action = \"ask\"`"
        );
    }
}
