//! The rules about a server's tools, checked against the tools that the server lists.

use std::sync::Arc;

use agentkit::{ToolSpec, policy::PolicyFile};
use agentkit_mcp::{Kind, Listed, ServerConfig, definition::Definition, names};
use ops_core::mcp::{McpPin, McpPins};

/// The outcome of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Checked {
    /// Rules that name a tool or an argument that the server never had. The server's tools are given to no agent before
    /// the rules are mended: a misspelt `deny` would permit the calls.
    pub(super) wrong: Vec<String>,
    /// Patterns that match no tool, and forbid nothing by that.
    pub(super) notes: Vec<String>,
}

impl Checked {
    /// The mistakes as one sentence; `None` without mistakes.
    pub(super) fn mistake(&self) -> Option<String> {
        (!self.wrong.is_empty()).then(|| {
            format!(
                "no agent gets its tools until the rules about them are mended: {}",
                self.wrong.join("; ")
            )
        })
    }
}

/// Checks the rules of the policy and of the server's entry. A tool that the server no longer lists counts as known: the
/// server's change makes no mistake of a rule.
pub(super) fn check(policy: &PolicyFile, server: &ServerConfig, pins: &McpPins) -> Checked {
    let tools: Vec<&McpPin> = pins
        .pins
        .iter()
        .filter(|pin| pin.key.kind == Kind::Tool.as_str())
        .collect();
    let specs: Vec<Arc<ToolSpec>> = tools.iter().map(|pin| spec(&server.name, pin)).collect();
    let idle = policy.idle_rules_about(&names::prefix(&server.name), &specs);
    let mut checked = Checked {
        wrong: idle.wrong,
        notes: idle.unused,
    };
    let raw: Vec<&str> = tools.iter().map(|pin| pin.key.name.as_str()).collect();
    for pattern in server.idle_patterns(&raw) {
        match pattern.is_guard {
            true => checked.wrong.push(pattern.why),
            false => checked.notes.push(pattern.why),
        }
    }
    checked
}

fn spec(server: &str, pin: &McpPin) -> Arc<ToolSpec> {
    let definition = pin.current().or(pin.approved.as_ref());
    let schema = definition.and_then(|definition| {
        let listed = Listed::of(Kind::Tool, &pin.key.name, &definition.raw.to_value());
        Some(Definition::of(&listed).ok()?.input_schema)
    });
    let schema = schema.unwrap_or_else(|| serde_json::json!({"type": "object"}));
    Arc::new(ToolSpec::new(
        &names::native(server, &pin.key.name),
        "",
        schema,
    ))
}
