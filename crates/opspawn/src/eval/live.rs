//! What differs in an evaluation from a task: nobody is there to approve or to answer, so the case says
//! what they would.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::{Failure, Wait},
    policy::{Action, Pattern, Permission, Policy, PolicyContext},
    tool::{Registry, RegistryError, ToolContext, ToolOutput},
};
use serde_json::Value;

/// The tool that asks a person.
const ASK_HUMAN: &str = "ask_human";

/// A policy whose questions are answered.
pub(super) struct Granted {
    policy: Arc<dyn Policy>,
    /// The tools that are approved; none for all of them.
    tools: Option<Vec<Pattern>>,
}

impl Granted {
    /// Every call that is asked about is approved: it was in the recorded run. What is denied stays
    /// denied.
    pub(super) fn all(policy: Arc<dyn Policy>) -> Arc<dyn Policy> {
        Arc::new(Self {
            policy,
            tools: None,
        })
    }

    /// Calls of these tools are approved if they are asked about.
    pub(super) fn some(policy: Arc<dyn Policy>, tools: &[Pattern]) -> Arc<dyn Policy> {
        Arc::new(Self {
            policy,
            tools: Some(tools.to_vec()),
        })
    }
}

impl Policy for Granted {
    fn check_permissions(&self, action: &Action<'_>, context: &PolicyContext<'_>) -> Permission {
        let approved = match &self.tools {
            None => true,
            Some(tools) => tools.iter().any(|tool| tool.matches(&action.tool.name)),
        };
        match self.policy.check_permissions(action, context) {
            Permission::Ask { .. } if approved => Permission::Allow,
            word @ (Permission::Allow | Permission::Ask { .. } | Permission::Deny { .. }) => word,
        }
    }
}

/// The tools of a case, with its answers in place of a person.
pub(super) fn tools(tools: &Registry, answers: &[String]) -> Result<Registry, RegistryError> {
    match tools.get(ASK_HUMAN) {
        Some(ask) if !answers.is_empty() => tools.replace(Arc::new(Answers {
            spec: ask.spec().clone(),
            left: Mutex::new(answers.iter().cloned().collect()),
        })),
        Some(_) | None => Ok(tools.clone()),
    }
}

struct Answers {
    spec: ToolSpec,
    left: Mutex<VecDeque<String>>,
}

impl Tool for Answers {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        _: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = left.pop_front().map(|answer| Value::from(answer).into());
        let answer = answer.ok_or_else(|| {
            Failure::last(
                "no_answer",
                "nobody is there to answer any more; go on without an answer",
            )
        });
        Box::pin(std::future::ready(answer))
    }
}

/// Why a run does not go on in an evaluation, and what the case can say about that.
pub(super) fn stands(wait: &Wait) -> String {
    match wait {
        Wait::Approval { .. } => {
            "it waits for approval, and an evaluation approves only what the case names: write \
             `approve = [\"TOOL\"]`, or evaluate a recorded run"
                .to_owned()
        }
        Wait::Signal { names, .. } => format!(
            "it waits for an answer or a signal ({}), and nobody is there: write `answers = [\"TEXT\"]` \
             for `ask_human`, or evaluate a recorded run",
            names.join(", ")
        ),
        Wait::Children { .. } => {
            "it waits for agents that it started, and an evaluation starts none: \
             evaluate a recorded run"
                .to_owned()
        }
        Wait::InDoubt { .. } => "it waits, as the outcome of a call is unknown".to_owned(),
        Wait::Budget { message, .. } => format!("it waits: {message}"),
        Wait::Timer { .. } => "it waits for a time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// cli/C8: a wait was shown as a program's own value.
    #[test]
    fn a_wait_says_what_the_case_can_do() {
        let said = stands(&Wait::Approval {
            steps: Vec::new(),
            until_micros: None,
        });
        assert!(said.contains("approve = [\"TOOL\"]"), "{said}");
        let said = stands(&Wait::Signal {
            names: vec!["human.call_1".into()],
            until_micros: None,
        });
        assert!(said.contains("answers = ["), "{said}");
        for wait in [
            Wait::Children {
                tasks: Vec::new(),
                until_micros: None,
            },
            Wait::InDoubt { steps: Vec::new() },
        ] {
            let said = stands(&wait);
            assert!(!said.contains("Children") && !said.contains('{'), "{said}");
        }
    }
}
