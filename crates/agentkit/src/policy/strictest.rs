//! Several policies at once.

use std::sync::Arc;

use super::{Action, CallLimit, Permission, Policy, PolicyContext, ResultGuards};

/// The strictest word of several policies holds: a deny before an ask before an allow. Where several ask, the sooner end
/// holds.
pub struct Strictest(pub Vec<Arc<dyn Policy>>);

impl Policy for Strictest {
    fn check_permissions(&self, action: &Action<'_>, context: &PolicyContext<'_>) -> Permission {
        let mut words = self
            .0
            .iter()
            .map(|policy| policy.check_permissions(action, context));
        let Some(first) = words.next() else {
            return Permission::Deny {
                reason: "no policy allows it".to_owned(),
            };
        };
        words.fold(first, |strictest, word| match (strictest, word) {
            (Permission::Ask { reason, terms }, Permission::Ask { terms: other, .. }) => {
                Permission::Ask {
                    reason,
                    terms: terms.and(other),
                }
            }
            (strictest, word) if rank(&word) > rank(&strictest) => word,
            (strictest, _) => strictest,
        })
    }

    fn limits(&self, tool: &str) -> Vec<CallLimit> {
        let limits = self.0.iter().map(|policy| policy.limits(tool));
        limits.flatten().collect()
    }

    fn result_guards(&self, tool: &str) -> ResultGuards {
        let mut all = ResultGuards::default();
        for policy in &self.0 {
            all.extend(policy.result_guards(tool));
        }
        all
    }
}

fn rank(word: &Permission) -> u8 {
    match word {
        Permission::Allow => 0,
        Permission::Ask { .. } => 1,
        Permission::Deny { .. } => 2,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{ToolSpec, policy::PolicyFile, tool::Resources};

    #[test]
    fn a_later_policy_makes_nothing_laxer() {
        let policy = |action: &str| -> Arc<dyn Policy> {
            let text =
                format!("[[rule]]\ntool = \"t\"\naction = \"{action}\"\nreason = \"{action}\"");
            Arc::new(PolicyFile::parse(&text).unwrap().policy(["t"]))
        };
        let spec = ToolSpec::new("t", "", json!({"type": "object"}));
        let action = Action {
            tool: &spec,
            effect: spec.effect,
            arguments: &json!({}),
            resources: &Resources::none(),
            probe_of: None,
        };
        let word = |actions: &[&str]| {
            let all = Strictest(actions.iter().map(|action| policy(action)).collect());
            rank(&all.check_permissions(&action, &PolicyContext::default()))
        };
        assert_eq!(word(&["allow", "allow"]), 0);
        assert_eq!(word(&["allow", "ask"]), 1);
        assert_eq!(word(&["ask", "allow"]), 1);
        assert_eq!(word(&["deny", "ask", "allow"]), 2);
        assert_eq!(word(&["ask", "deny"]), 2);
        assert_eq!(word(&[]), 2);
    }
}
