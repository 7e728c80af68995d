//! The policies that bind an agent and its children.

use std::{collections::BTreeMap, sync::Arc};

use agentkit::{
    Definition,
    event::Failure,
    policy::{Policy, PolicyFile, Strictest},
    tool::Registry,
};
use serde_json::{Map, Value, json};

use super::{POLICIES, SOURCES};

/// The server's policy with the policies of a definition and of the agents above it: the strictest word holds. Each
/// policy counts all tools as configured, so that no rule with `allow` makes a call laxer.
pub(super) fn of(
    server: &PolicyFile,
    definition: Option<&Definition>,
    policies: &[Value],
    tools: &Registry,
) -> Result<Arc<dyn Policy>, Failure> {
    let names = || tools.specs().into_iter().map(|spec| spec.name.clone());
    let usual: Arc<dyn Policy> = Arc::new(server.policy(names()));
    let own = definition.map(|definition| &definition.policy);
    let mut all = vec![usual];
    for policy in own.into_iter().chain(policies) {
        let read = Definition::policy_of(policy);
        let read = read.map_err(|error| Failure::last("invalid_agent", error.to_string()))?;
        all.extend(read.map(|file| Arc::new(file.policy(names())) as Arc<dyn Policy>));
    }
    Ok(match all.len() {
        1 => all.remove(0),
        _ => Arc::new(Strictest(all)),
    })
}

/// The policies of an agent's children: the agent's own policy, and the policies that bind the agent.
pub(super) fn of_children(definition: Option<&Definition>, policies: &[Value]) -> Vec<Value> {
    let mut all = policies.to_vec();
    let own = definition.map(|definition| &definition.policy);
    if let Some(own) = own.filter(|own| !own.is_null() && !policies.contains(own)) {
        all.push(own.clone());
    }
    all
}

/// Data of the host in the configuration of a run: the sources of its tools, and its policies; `null` without either.
pub(super) fn host(sources: &BTreeMap<String, Vec<String>>, policies: &[Value]) -> Value {
    let mut host = Map::new();
    if !sources.is_empty() {
        host.insert(SOURCES.to_owned(), json!(sources));
    }
    if !policies.is_empty() {
        host.insert(POLICIES.to_owned(), Value::from(policies.to_vec()));
    }
    match host.is_empty() {
        true => Value::Null,
        false => Value::Object(host),
    }
}

/// Policies as texts, to be compared.
pub(super) fn texts(policies: &[Value]) -> Vec<String> {
    policies.iter().map(Value::to_string).collect()
}

#[cfg(test)]
mod tests {
    use agentkit::{
        policy::{Action, Permission, PolicyContext},
        tool::{Resources, control},
    };

    use super::*;

    fn denies(tool: &str) -> Value {
        json!({"rule": [{"tool": tool, "action": "deny", "reason": "not here"}]})
    }

    #[test]
    fn the_policies_of_the_agents_above_bind_and_allow_nothing() {
        let tools = Registry::new(control::all()).unwrap();
        let server = PolicyFile::parse("[[rule]]\ntool = 'ask_human'\naction = 'deny'").unwrap();
        let allows = json!({"rule": [{"tool": "*", "action": "allow"}]});
        let policies = [denies("sleep_until"), allows];
        let policy = of(&server, None, &policies, &tools).unwrap();
        let denied = |name: &str| {
            let spec = tools.get(name).unwrap().spec().clone();
            let action = Action {
                tool: &spec,
                effect: spec.effect,
                arguments: &json!({}),
                resources: &Resources::none(),
                probe_of: None,
            };
            let word = policy.check_permissions(&action, &PolicyContext::default());
            matches!(word, Permission::Deny { .. })
        };
        assert!(denied("ask_human"), "by the server");
        assert!(denied("sleep_until"), "by an agent above");
        assert!(!denied("spawn_agent"));
        let error = of(&server, None, &[json!({"rules": []})], &tools)
            .err()
            .unwrap();
        assert_eq!(error.code, "invalid_agent");
    }

    #[test]
    fn children_are_bound_by_all_policies_above_them() {
        let definition = agentkit::Definition {
            name: "middle".to_owned(),
            policy: denies("b"),
            ..agentkit::Definition::default()
        };
        let above = [denies("a")];
        let bound = of_children(Some(&definition), &above);
        assert_eq!(bound, [denies("a"), denies("b")]);
        // A child of the same agent is bound by its policy once.
        assert_eq!(of_children(Some(&definition), &bound), bound);
        assert_eq!(of_children(None, &above), above);
    }
}
