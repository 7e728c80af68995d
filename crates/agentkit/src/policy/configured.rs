//! The policy that configuration describes.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    Action, ApprovalTerms, CallLimit, Condition, Expiry, Guard, Guarded, Pattern, Permission,
    Policy, PolicyContext, Previewer, ResultGuards,
};
use crate::{
    ToolSpec,
    tool::{Resource, Resources},
};

/// Rules, a profile and a default.
///
/// The first of these that speaks is final: a rule that denies; a rule that asks; the default, which denies
/// a tool that no rule allows and that is not configured; the profile `strict`, which asks about a `write`
/// (a `keyed` call too). So an empty policy denies every call, and no allowance undoes a denial.
#[derive(Debug, Clone, Default)]
pub struct ConfiguredPolicy {
    /// How careful the policy is about calls that no rule speaks of.
    pub profile: Profile,
    /// Rules. Their order does not matter.
    pub rules: Vec<Rule>,
    /// Guards on arguments and results.
    pub guards: Vec<Guard>,
    /// Bounds on calls.
    pub limits: Vec<CallLimit>,
    /// How long to wait for an approval; `None` for the run's deadline.
    pub approval_timeout: Option<Duration>,
    /// Names of the configured tools.
    pub configured: BTreeSet<String>,
}

/// How careful a policy is about calls that no rule speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// A configured tool may be called.
    #[default]
    Default,
    /// Every `write` needs approval, a `keyed` call too.
    Strict,
}

impl Profile {
    /// The name that configuration knows it by.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Strict => "strict",
        }
    }
}

/// A rule about some calls.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The tools.
    pub tool: Pattern,
    /// The rule's action.
    pub action: RuleAction,
    /// The reason, for the model and for the person who decides.
    pub reason: Option<String>,
    /// The rule speaks only of calls for which all of these hold.
    pub when: Vec<Condition>,
    /// The rule does not speak of calls for which all of these hold; an empty list excludes no call.
    pub unless: Vec<Condition>,
    /// What becomes of an approval without an answer; `None` for the policy's `approval_timeout`.
    pub expiry: Option<Expiry>,
    /// The call that shows the reviewer what is at stake.
    pub preview: Option<Previewer>,
}

/// Action of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleAction {
    /// The call never runs.
    Deny,
    /// The call runs after a person's approval.
    Ask,
    /// The call may run although the tool is not configured.
    Allow,
}

impl ConfiguredPolicy {
    /// Allows these tools and denies any other.
    pub fn new(configured: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            configured: configured.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    fn first(&self, wanted: RuleAction, action: &Action<'_>) -> Option<&Rule> {
        self.rules
            .iter()
            .find(|rule| rule.action == wanted && rule.speaks_of(action))
    }

    /// The first guard of a kind that finds something in the arguments.
    fn guarded(&self, of: Guarded, action: &Action<'_>) -> Option<&Guard> {
        self.guards.iter().find(|guard| {
            guard.of == of && guard.tool.matches(&action.tool.name) && guard.finds(action.arguments)
        })
    }

    /// Every rule that asks about the call has its say in the terms, so that their order does not matter.
    fn ask(&self, reason: String, action: &Action<'_>) -> Permission {
        let asking = |rule: &&Rule| rule.action == RuleAction::Ask && rule.speaks_of(action);
        let rules: Vec<&Rule> = self.rules.iter().filter(asking).collect();
        let expiries = rules.iter().filter_map(|rule| rule.expiry.as_ref());
        let own = expiries.map(Expiry::terms).reduce(ApprovalTerms::and);
        let terms = own.unwrap_or_else(|| ApprovalTerms {
            timeout: self.approval_timeout,
            ..ApprovalTerms::default()
        });
        let preview = rules.iter().find_map(|rule| rule.preview.clone());
        Permission::Ask {
            reason,
            terms: ApprovalTerms { preview, ..terms },
        }
    }
}

impl Rule {
    /// Whether the rule speaks of the call. If an argument is a list, or the call touches several
    /// resources, a rule that restricts does so if the rule describes any of them, and a rule that permits
    /// only if all of them fit.
    fn speaks_of(&self, action: &Action<'_>) -> bool {
        type Holds = fn(&Condition, &Value, &Resources) -> bool;
        let (when, unless): (Holds, Holds) = match self.action {
            RuleAction::Deny | RuleAction::Ask => (Condition::may_hold, Condition::surely_holds),
            RuleAction::Allow => (Condition::surely_holds, Condition::may_hold),
        };
        let holds = |condition: &Condition, holds: Holds| {
            holds(condition, action.arguments, action.resources)
        };
        let excepted =
            !self.unless.is_empty() && self.unless.iter().all(|condition| holds(condition, unless));
        self.tool.matches(&action.tool.name)
            && !excepted
            && self.when.iter().all(|condition| holds(condition, when))
    }

    /// Tools that a rule probably means as well and does not name: the rule restricts the `path` or the
    /// `url` of tools that a pattern such as `*_file` names, and these tools have such an argument too.
    #[must_use]
    pub fn passes_over<'a>(&self, tools: &'a [Arc<ToolSpec>]) -> Vec<&'a str> {
        if self.action == RuleAction::Allow || !self.tool.has_wildcard() {
            return Vec::new();
        }
        let conditions = self.when.iter().chain(&self.unless);
        let arguments: Vec<&str> = conditions.filter_map(Condition::argument).collect();
        let has = |spec: &ToolSpec| {
            let mut properties = arguments
                .iter()
                .map(|name| &spec.input_schema["properties"][*name]);
            properties.any(|property| !property.is_null())
        };
        let passed_over = |spec: &&Arc<ToolSpec>| !self.tool.matches(&spec.name) && has(spec);
        let tools = tools.iter().filter(passed_over);
        tools.map(|spec| spec.name.as_str()).collect()
    }

    fn because(&self, what: &str, action: &Action<'_>) -> String {
        let tool = &action.tool.name;
        let reason = match &self.reason {
            Some(reason) => format!("{what}: {reason}"),
            None => format!("{what} by the rule for `{}` (tool `{tool}`)", self.tool),
        };
        // A narrower call may be allowed.
        let mut touched = action
            .resources
            .reads
            .iter()
            .chain(&action.resources.writes);
        let tree = touched.find_map(|resource| match resource {
            Resource::Tree(path) => Some(path),
            _ => None,
        });
        match tree.filter(|_| !self.when.is_empty() || !self.unless.is_empty()) {
            Some(path) => format!(
                "{reason}; the call touches everything below `{path}`: name a file or a folder that \
                 no rule speaks of"
            ),
            None => reason,
        }
    }
}

impl Policy for ConfiguredPolicy {
    fn check_permissions(&self, action: &Action<'_>, _: &PolicyContext<'_>) -> Permission {
        let name = action.tool.name.as_str();
        if let Some(guard) = self.guarded(Guarded::DenyArguments, action) {
            let reason = format!("denied: {}", guard.because());
            return Permission::Deny { reason };
        }
        if let Some(rule) = self.first(RuleAction::Deny, action) {
            let reason = rule.because("denied", action);
            return Permission::Deny { reason };
        }
        if let Some(guard) = self.guarded(Guarded::AskAboutArguments, action) {
            return self.ask(guard.because(), action);
        }
        if let Some(rule) = self.first(RuleAction::Ask, action) {
            let reason = match &rule.reason {
                Some(reason) => reason.clone(),
                None => format!("a rule asks about `{}`", rule.tool),
            };
            return self.ask(reason, action);
        }
        // Whoever may write to a place may look whether the write took effect: a probe is declared
        // with the tool, and needs no configuration of its own.
        let is_configured = |name: &str| self.configured.contains(name);
        let allowed = is_configured(name)
            || action.probe_of.is_some_and(is_configured)
            || self.first(RuleAction::Allow, action).is_some();
        if !allowed {
            let reason =
                format!("tool `{name}` is not configured for this agent, and no rule allows it");
            return Permission::Deny { reason };
        }
        match self.profile {
            Profile::Strict if action.effect.is_write() => {
                let reason = "the profile `strict` asks about every `write`";
                self.ask(reason.to_owned(), action)
            }
            Profile::Strict | Profile::Default => Permission::Allow,
        }
    }

    fn limits(&self, tool: &str) -> Vec<CallLimit> {
        let limits = self.limits.iter().filter(|limit| limit.tool.matches(tool));
        limits.cloned().collect()
    }

    fn result_guards(&self, tool: &str) -> ResultGuards {
        let is_of_results = |guard: &&Guard| {
            matches!(guard.of, Guarded::RedactResult | Guarded::WithholdResult)
                && guard.tool.matches(tool)
        };
        let guards = self.guards.iter().filter(is_of_results);
        ResultGuards(guards.cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tool::Effect;

    fn rule(tool: &str, action: RuleAction) -> Rule {
        Rule {
            tool: tool.parse().unwrap(),
            action,
            reason: None,
            when: vec![],
            unless: vec![],
            expiry: None,
            preview: None,
        }
    }

    fn condition(path: &str, value: Value) -> Vec<Condition> {
        vec![Condition::new(path, &value).unwrap()]
    }

    fn check_with(
        policy: &ConfiguredPolicy,
        name: &str,
        effect: Effect,
        arguments: Value,
    ) -> Permission {
        let tool = ToolSpec::new(name, "", json!({"type": "object"})).effect(effect);
        let action = Action {
            tool: &tool,
            effect,
            arguments: &arguments,
            resources: &Resources::none(),
            probe_of: None,
        };
        policy.check_permissions(&action, &PolicyContext { agent: "tester" })
    }

    fn check(policy: &ConfiguredPolicy, name: &str) -> Permission {
        check_with(policy, name, Effect::Write, json!({}))
    }

    fn denied(permission: &Permission) -> bool {
        matches!(permission, Permission::Deny { .. })
    }

    fn asked(permission: &Permission) -> bool {
        matches!(permission, Permission::Ask { .. })
    }

    #[test]
    fn nothing_is_allowed_unless_somebody_said_so() {
        assert!(denied(&check(&ConfiguredPolicy::default(), "calculator")));
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
    fn the_order_of_rules_that_ask_changes_no_terms() {
        let mut expires = rule("send_*", RuleAction::Ask);
        expires.expiry = Some(Expiry::Deny(Duration::from_secs(2)));
        expires.preview = Some(Previewer {
            tool: "look".to_owned(),
            arguments: serde_json::Map::new(),
        });
        let mut stays = rule("*_mail", RuleAction::Ask);
        stays.expiry = Some(Expiry::Stay);
        let rules = [rule("send_mail", RuleAction::Ask), expires, stays];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let mut policy = ConfiguredPolicy::new(["send_mail"]);
            policy.rules = order.map(|index| rules[index].clone()).to_vec();
            policy.approval_timeout = Some(Duration::from_secs(1));
            let Permission::Ask { terms, .. } = check(&policy, "send_mail") else {
                panic!("{order:?}")
            };
            assert_eq!(terms.timeout, Some(Duration::from_secs(2)), "{order:?}");
            assert!(terms.preview.is_some(), "{order:?}");
        }
    }

    #[test]
    fn the_order_is_deny_ask_profile_allow() {
        use RuleAction::{Allow, Ask, Deny};
        // Every set of rules, with and without configuration, in both profiles and both orders.
        for bits in 0_u32..32 {
            let has = |bit: u32| bits & (1 << bit) != 0;
            let mut rules: Vec<Rule> = [(0, Deny), (1, Ask), (2, Allow)]
                .into_iter()
                .filter(|(bit, _)| has(*bit))
                .map(|(_, action)| rule("send_*", action))
                .collect();
            let configured = if has(3) { vec!["send_mail"] } else { vec![] };
            let profile = if has(4) {
                Profile::Strict
            } else {
                Profile::Default
            };
            for _ in 0..2 {
                rules.reverse();
                let policy = ConfiguredPolicy {
                    profile,
                    rules: rules.clone(),
                    ..ConfiguredPolicy::new(configured.clone())
                };
                for effect in [
                    Effect::Write,
                    Effect::Keyed,
                    Effect::Idempotent,
                    Effect::Pure,
                ] {
                    let word = check_with(&policy, "send_mail", effect, json!({}));
                    let may = has(2) || has(3);
                    let expected = match () {
                        () if has(0) => "deny",
                        () if has(1) => "ask",
                        () if !may => "deny",
                        () if has(4) && effect.is_write() => "ask",
                        () => "allow",
                    };
                    let said = match word {
                        Permission::Deny { .. } => "deny",
                        Permission::Ask { .. } => "ask",
                        Permission::Allow => "allow",
                    };
                    assert_eq!(said, expected, "{bits:05b} {effect:?}");
                }
            }
        }
    }

    #[test]
    fn reasons_name_the_rule_or_what_it_says() {
        let mut policy = ConfiguredPolicy {
            rules: vec![rule("*_file", RuleAction::Deny)],
            ..ConfiguredPolicy::new(["write_file"])
        };
        let word = check(&policy, "write_file");
        let reason = "denied by the rule for `*_file` (tool `write_file`)".to_owned();
        assert_eq!(word, Permission::Deny { reason });
        policy.rules[0].reason = Some("files are read only".into());
        let word = check(&policy, "write_file");
        let reason = "denied: files are read only".to_owned();
        assert_eq!(word, Permission::Deny { reason });
        policy.rules[0].action = RuleAction::Ask;
        policy.approval_timeout = Some(Duration::from_secs(9));
        let word = check(&policy, "write_file");
        let reason = "files are read only".to_owned();
        let timeout = Some(Duration::from_secs(9));
        let terms = ApprovalTerms {
            timeout,
            ..ApprovalTerms::default()
        };
        assert_eq!(word, Permission::Ask { reason, terms });
    }

    #[test]
    fn conditions_narrow_a_rule() {
        let mut ask = rule("fetch", RuleAction::Ask);
        ask.when = condition("method", json!(["POST", "PUT"]));
        ask.unless = condition("url", json!("https://api.example.com/*"));
        let policy = ConfiguredPolicy {
            rules: vec![ask],
            ..ConfiguredPolicy::new(["fetch"])
        };
        let word = |arguments: Value| check_with(&policy, "fetch", Effect::Write, arguments);
        assert_eq!(
            word(json!({"method": "GET", "url": "http://x"})),
            Permission::Allow
        );
        assert!(asked(&word(json!({"method": "POST", "url": "http://x"}))));
        assert!(
            asked(&word(json!({"method": "POST"}))),
            "an exception needs its argument"
        );
        let known = json!({"method": "POST", "url": "https://api.example.com/v1"});
        assert_eq!(word(known), Permission::Allow);
    }

    #[test]
    fn lists_of_arguments_are_judged_by_the_careful_side() {
        let mixed = json!({"to": ["ann@example.com", "bob@other.com"]});
        let ours = condition("to", json!("*@example.com"));
        for (action, when, expected) in [
            (RuleAction::Deny, true, true),
            (RuleAction::Allow, true, false),
            (RuleAction::Deny, false, true),
            (RuleAction::Allow, false, false),
        ] {
            let mut rule = rule("send", action);
            match when {
                true => rule.when = ours.clone(),
                false => rule.unless = ours.clone(),
            }
            let tool = ToolSpec::new("send", "", json!({"type": "object"}));
            let action = Action {
                tool: &tool,
                effect: tool.effect,
                arguments: &mixed,
                resources: &Resources::none(),
                probe_of: None,
            };
            assert_eq!(rule.speaks_of(&action), expected, "{rule:?}");
        }
    }

    #[test]
    fn no_rule_is_evaded_by_another_spelling() {
        let speaks = |action, when: bool, (name, pattern): (&str, &str), text: &str| {
            let mut rule = rule("get", action);
            match when {
                true => rule.when = condition(name, json!(pattern)),
                false => rule.unless = condition(name, json!(pattern)),
            }
            let tool = ToolSpec::new("get", "", json!({"type": "object"}));
            let arguments = json!({name: text});
            rule.speaks_of(&Action {
                tool: &tool,
                effect: tool.effect,
                arguments: &arguments,
                resources: &Resources::none(),
                probe_of: None,
            })
        };
        let secret = ("path", "secret/*");
        let host = ("url", "https://Evil.example/*");
        for (bad, texts) in [
            (secret, ["secret/a", "./x/../secret/a", "x/..//secret/./a"]),
            (
                host,
                [
                    "https://evil.example/a",
                    "HTTPS://EVIL.example:443/a",
                    "https://ann@evil.example./a",
                ],
            ),
        ] {
            for text in texts {
                assert!(speaks(RuleAction::Deny, true, bad, text), "{text}");
                assert!(speaks(RuleAction::Ask, true, bad, text), "{text}");
                // What is not to be allowed is not, whatever it is called.
                assert!(!speaks(RuleAction::Allow, false, bad, text), "{text}");
            }
        }
        // What is permitted must be what it looks like.
        let docs = ("path", "docs/*");
        assert!(speaks(RuleAction::Allow, true, docs, "docs/a"));
        assert!(!speaks(RuleAction::Allow, true, docs, "docs/../secret/a"));
        assert!(speaks(RuleAction::Deny, false, docs, "docs/../secret/a"));
        let api = ("url", "https://api.example/v1/*");
        assert!(!speaks(
            RuleAction::Ask,
            false,
            api,
            "https://api.example/v1/a"
        ));
        let climbs = "https://api.example/v1/../admin";
        assert!(speaks(RuleAction::Ask, false, api, climbs));
    }

    #[test]
    fn a_rule_that_names_some_tools_of_a_path_passes_over_others() {
        let spec = |name: &str, argument: &str| {
            let schema = json!({"type": "object", "properties": {argument: {"type": "string"}}});
            Arc::new(ToolSpec::new(name, "", schema))
        };
        let tools = [
            spec("read_file", "path"),
            spec("search", "path"),
            spec("http", "url"),
        ];
        let with = |tool: &str, action: RuleAction, argument: &str| Rule {
            when: condition(argument, json!("secret/*")),
            ..rule(tool, action)
        };
        for (rule, expected) in [
            (with("*_file", RuleAction::Deny, "path"), vec!["search"]),
            (
                with("h*", RuleAction::Ask, "path"),
                vec!["read_file", "search"],
            ),
            (with("*", RuleAction::Deny, "path"), vec![]),
            (with("read_file", RuleAction::Deny, "path"), vec![]),
            (with("*_file", RuleAction::Allow, "path"), vec![]),
            (with("*_file", RuleAction::Deny, "content"), vec![]),
        ] {
            assert_eq!(rule.passes_over(&tools), expected, "{rule:?}");
        }
    }

    /// security/S6: a rule on paths binds each tool that touches them.
    #[test]
    fn a_probe_needs_no_configuration_of_its_own_and_passes_the_rules() {
        let tool = ToolSpec::new("get", "", json!({"type": "object"})).effect(Effect::Pure);
        let word = |policy: &ConfiguredPolicy, probe_of| {
            let action = Action {
                tool: &tool,
                effect: tool.effect,
                arguments: &json!({}),
                resources: &Resources::none(),
                probe_of,
            };
            policy.check_permissions(&action, &PolicyContext::default())
        };
        let policy = ConfiguredPolicy::new(["send"]);
        assert_eq!(word(&policy, Some("send")), Permission::Allow);
        assert!(matches!(word(&policy, None), Permission::Deny { .. }));
        assert!(matches!(
            word(&policy, Some("other")),
            Permission::Deny { .. }
        ));
        let policy = ConfiguredPolicy {
            rules: vec![rule("get", RuleAction::Deny)],
            ..ConfiguredPolicy::new(["send"])
        };
        assert!(matches!(
            word(&policy, Some("send")),
            Permission::Deny { .. }
        ));
    }

    #[test]
    fn a_rule_on_resources_binds_every_tool_that_touches_them() {
        let mut deny = rule("*", RuleAction::Deny);
        deny.when = condition("touches", json!({"path": "secret/*"}));
        let policy = ConfiguredPolicy {
            rules: vec![deny],
            ..ConfiguredPolicy::new(["search"])
        };
        let word = |resources: &Resources| {
            let tool = ToolSpec::new("search", "", json!({"type": "object"}));
            let action = Action {
                tool: &tool,
                effect: tool.effect,
                arguments: &json!({}),
                resources,
                probe_of: None,
            };
            policy.check_permissions(&action, &PolicyContext::default())
        };
        let reads = |resource: Resource| Resources::reads([resource]);
        assert_eq!(
            word(&reads(Resource::tree("."))),
            Permission::Deny {
                reason: "denied by the rule for `*` (tool `search`); the call touches everything \
                         below `.`: name a file or a folder that no rule speaks of"
                    .into(),
            }
        );
        assert!(denied(&word(&reads(Resource::file("secret/a")))));
        assert!(denied(&word(&Resources::everything())));
        assert_eq!(word(&reads(Resource::tree("docs"))), Permission::Allow);
        assert_eq!(word(&Resources::none()), Permission::Allow);
    }
}
