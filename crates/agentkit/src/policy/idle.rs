//! Rules that can never match: a misspelt name of a tool or an argument would permit what the rule forbids.

use std::sync::Arc;

use serde_json::Value;
use units::nearest;

use super::{PolicyFile, Rule};
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
        idle.collect()
    }
}

impl Rule {
    /// Why no call of these tools can match; none if one can.
    fn idle(&self, tools: &[Arc<ToolSpec>]) -> Option<String> {
        let named: Vec<_> = tools
            .iter()
            .filter(|tool| self.tool.matches(&tool.name))
            .collect();
        if named.is_empty() {
            let pattern = self.tool.to_string();
            let known = tools.iter().map(|tool| tool.name.as_str());
            let hint = nearest::hint(&pattern.replace('*', ""), known);
            return Some(match self.tool.has_wildcard() {
                true => format!("no tool has a name like `{pattern}`; {hint}"),
                false => format!("no tool is named `{pattern}`; {hint}"),
            });
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
