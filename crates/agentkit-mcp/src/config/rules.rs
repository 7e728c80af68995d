//! Settings of tools of a server: the key `tools` of an entry.

use agentkit::tool::Effect;
use serde_json::{Map, Value};

use super::{ToolPolicy, ToolRule, entry::duration};
use crate::names::Glob;

/// The settings of an entry, the most exact pattern first.
pub(super) fn rules(fields: &Map<String, Value>) -> Result<Vec<ToolRule>, String> {
    let tools = match fields.get("tools") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        // Other programs list names there.
        Some(Value::Array(_)) => {
            return Err(
                "`tools` is a table of patterns; use `allow` for a list of names".to_owned(),
            );
        }
        Some(Value::Object(tools)) => tools,
        Some(_) => return Err("`tools` is not a table of patterns".to_owned()),
    };
    let known = ["effect", "policy", "timeout"];
    let mut rules = Vec::with_capacity(tools.len());
    for (pattern, rule) in tools {
        let at = format!("tools.{pattern}");
        let Value::Object(rule) = rule else {
            return Err(format!("`{at}` is not a table"));
        };
        if let Some(key) = rule.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(format!(
                "`{at}.{key}` is not known; {}",
                units::nearest::hint(key, known)
            ));
        }
        let effect =
            match rule.get("effect") {
                None => None,
                Some(value) => Some(serde_json::from_value::<Effect>(value.clone()).map_err(
                    |_| format!("`{at}.effect` is none of pure, idempotent, keyed, write"),
                )?),
            };
        let policy = match rule
            .get("policy")
            .map(|policy| policy.as_str().unwrap_or_default())
        {
            None => None,
            Some("allow") => Some(ToolPolicy::Allow),
            Some("ask") => Some(ToolPolicy::Ask),
            Some("deny") => Some(ToolPolicy::Deny),
            Some(_) => return Err(format!("`{at}.policy` is none of allow, ask, deny")),
        };
        let timeout = duration(rule, "timeout").map_err(|error| format!("`{at}`: {error}"))?;
        rules.push(ToolRule {
            pattern: Glob(pattern.clone()),
            effect,
            policy,
            timeout,
        });
    }
    // A table has no order: the longer pattern says more.
    rules.sort_by_key(|rule| {
        std::cmp::Reverse((!rule.pattern.0.contains('*'), rule.pattern.0.len()))
    });
    Ok(rules)
}
