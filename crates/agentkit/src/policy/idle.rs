//! Rules that can never match: a misspelt name of a tool or an argument would permit what the rule forbids.

use std::sync::Arc;

use serde_json::Value;
use units::nearest;

use super::{Pattern, PolicyFile, Rule};
use crate::ToolSpec;

impl PolicyFile {
    /// The rules that match no call of these tools, a sentence each: no tool has the name, or none of those
    /// that have it takes the argument of a condition.
    #[must_use]
    pub fn idle_rules(&self, tools: &[Arc<ToolSpec>]) -> Vec<String> {
        let numbered = (1..).zip(&self.rules);
        let idle = numbered.filter_map(|(number, rule)| {
            let why = rule.idle(tools)?;
            Some(format!("rule {number} can never match: {why}"))
        });
        let guards = (1..).zip(&self.guards);
        let guards = guards.map(|(number, guard)| ("guard", number, &guard.tool));
        let limits = (1..).zip(&self.limits);
        let limits = limits.map(|(number, limit)| ("limit", number, &limit.tool));
        let others = guards.chain(limits).filter_map(|(kind, number, pattern)| {
            let why = unnamed(pattern, tools)?;
            Some(format!("{kind} {number} can never match: {why}"))
        });
        idle.chain(others).collect()
    }
}

/// Rules about the tools of one source that no tool of the source matches, a sentence each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdleRules {
    /// Names and arguments that no tool has: a misspelt rule would permit what the rule forbids.
    pub wrong: Vec<String>,
    /// Patterns that match no tool yet.
    pub unused: Vec<String>,
}

impl PolicyFile {
    /// The rules about tools whose names begin with `prefix` that match no call of these tools.
    #[must_use]
    pub fn idle_rules_about(&self, prefix: &str, tools: &[Arc<ToolSpec>]) -> IdleRules {
        let mut found = IdleRules::default();
        for (number, rule) in (1..).zip(&self.rules) {
            if !rule.tool.to_string().starts_with(prefix) {
                continue;
            }
            let Some(why) = rule.idle(tools) else {
                continue;
            };
            let sentence = format!("rule {number} of the policy can never match: {why}");
            let is_unused =
                rule.tool.has_wildcard() && !tools.iter().any(|tool| rule.tool.matches(&tool.name));
            match is_unused {
                true => found.unused.push(sentence),
                false => found.wrong.push(sentence),
            }
        }
        found
    }
}

impl Rule {
    /// Why no call of these tools can match; none if one can.
    fn idle(&self, tools: &[Arc<ToolSpec>]) -> Option<String> {
        let named: Vec<_> = tools
            .iter()
            .filter(|tool| self.tool.matches(&tool.name))
            .collect();
        if let Some(why) = unnamed(&self.tool, tools) {
            return Some(why);
        }
        let mut conditions = self.when.iter().chain(&self.unless);
        conditions.find_map(|condition| {
            let path = condition.plain_argument()?;
            if named.iter().any(|tool| takes(&tool.input_schema, path)) {
                return None;
            }
            let known = named
                .iter()
                .filter_map(|tool| tool.input_schema["properties"].as_object());
            let known = known.flat_map(|properties| properties.keys().map(String::as_str));
            let name = path.first().map_or("", String::as_str);
            let hint = nearest::hint(name, known);
            let (path, tool) = (path.join("."), &self.tool);
            Some(format!(
                "no tool `{tool}` takes an argument `{path}`; {hint}"
            ))
        })
    }
}

/// Why a pattern names none of these tools; none if it names one.
fn unnamed(pattern: &Pattern, tools: &[Arc<ToolSpec>]) -> Option<String> {
    if tools.iter().any(|tool| pattern.matches(&tool.name)) {
        return None;
    }
    let text = pattern.to_string();
    let known = tools.iter().map(|tool| tool.name.as_str());
    let hint = nearest::hint(&text.replace('*', ""), known);
    Some(match pattern.has_wildcard() {
        true => format!("no tool has a name like `{text}`; {hint}"),
        false => format!("no tool is named `{text}`; {hint}"),
    })
}

/// Whether a value of a schema may have something at a path. A schema that does not list its properties
/// may have anything.
fn takes(schema: &Value, path: &[String]) -> bool {
    let Some((name, rest)) = path.split_first() else {
        return true;
    };
    if let Some(properties) = schema["properties"].as_object() {
        return properties
            .get(name)
            .is_some_and(|schema| takes(schema, rest));
    }
    match &schema["items"] {
        // A list on the way stands for its items, unless the path counts them.
        items @ Value::Object(_) if name.parse::<usize>().is_ok() => takes(items, rest),
        items @ Value::Object(_) => takes(items, path),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tools() -> Vec<Arc<ToolSpec>> {
        let spec = |name: &str, properties: Value| {
            let schema = json!({"type": "object", "properties": properties});
            Arc::new(ToolSpec::new(name, "", schema))
        };
        let mail = json!({
            "to": {"type": "array", "items": {"type": "object", "properties": {"address": {}}}},
            "headers": {"type": "object"},
        });
        vec![
            spec("write_file", json!({"path": {}, "content": {}})),
            spec("http_request", json!({"url": {}, "method": {}})),
            spec("send_mail", mail),
            Arc::new(ToolSpec::new("any", "", json!({"type": "object"}))),
        ]
    }

    fn idle(rule: &str) -> Vec<String> {
        let text = format!("[[rule]]\naction = \"deny\"\n{rule}");
        PolicyFile::parse(&text).unwrap().idle_rules(&tools())
    }

    #[test]
    fn rules_about_one_source_are_checked_against_its_tools() {
        let schema = json!({"type": "object", "properties": {"timezone": {}}});
        let now = [Arc::new(ToolSpec::new("time__now", "", schema))];
        let about = |rule: &str| {
            let text = format!("[[rule]]\naction = \"deny\"\n{rule}");
            let policy = PolicyFile::parse(&text).unwrap();
            policy.idle_rules_about("time__", &now)
        };
        for (rule, says) in [
            ("tool = \"time__nwo\"", "did you mean `time__now`?"),
            (
                "tool = \"time__*\"\nwhen = { timezon = \"x\" }",
                "did you mean `timezone`?",
            ),
        ] {
            let found = about(rule);
            assert!(
                found.wrong[0].contains(says) && found.unused.is_empty(),
                "{found:?}"
            );
        }
        let later = about("tool = \"time__set_*\"");
        assert!(
            later.wrong.is_empty() && later.unused.len() == 1,
            "{later:?}"
        );
        for fine in [
            "tool = \"time__*\"",
            "tool = \"git__x\"",
            "tool = \"time__now\"",
        ] {
            assert_eq!(about(fine), IdleRules::default(), "{fine}");
        }
    }

    /// cli/C3: a rule with a misspelt tool or argument was taken, and matched nothing.
    #[test]
    fn a_rule_that_matches_no_call_is_named_with_the_nearest_name() {
        for (rule, says) in [
            (
                "tool = \"writefile\"",
                "rule 1 can never match: no tool is named `writefile`; did you mean `write_file`?",
            ),
            ("tool = \"htpp_*\"", "no tool has a name like `htpp_*`"),
            (
                "tool = \"write_file\"\nwhen = { pth = \"..\" }",
                "no tool `write_file` takes an argument `pth`; did you mean `path`?",
            ),
            (
                "tool = \"http_*\"\nunless = { methd = \"GET\" }",
                "did you mean `method`?",
            ),
            (
                "tool = \"send_mail\"\nwhen = { \"to.adress\" = \"*\" }",
                "takes an argument `to.adress`",
            ),
        ] {
            let idle = idle(rule);
            assert!(
                matches!(&*idle, [one] if one.contains(says)),
                "{rule}: {idle:?}"
            );
        }
        for rule in [
            "tool = \"*_file\"\nwhen = { path = \"a/*\" }",
            "tool = \"*\"\nwhen = { method = \"PUT\" }",
            "tool = \"send_mail\"\nwhen = { \"to.address\" = \"*\", \"headers.x\" = \"*\" }",
            "tool = \"send_mail\"\nwhen = { \"/to/0/address\" = \"*\" }",
            "tool = \"any\"\nwhen = { whatever = 1 }",
            "when = { touches.path = \"secret/*\" }",
            // Such an argument also stands for what the call touches.
            "tool = \"any\"\nwhen = { url = \"https://*\" }",
            "tool = \"send_mail\"\nwhen = { url = \"https://*\" }",
        ] {
            assert_eq!(idle(rule), Vec::<String>::new(), "{rule}");
        }
    }
}
