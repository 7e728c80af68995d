//! Calls that need an external event: approvals and child tasks.

use super::{ChildLimits, ChildSpec, Command, DriveError, Driver};
use crate::{
    event::{
        CallWait, ChildStarted, Escalation, Event, Failure, GateDecision, Initiator, StepId,
        ToolCalled,
    },
    policy::PolicyContext,
    run::{Limits, Progress, RunConfig},
    tool::{Admission, Spawn},
};

/// The digest of the agent's definition, as its task has the digest; of an agent without a definition, the
/// digest of the run's pinned configuration.
pub(super) fn agent_digest(config: &RunConfig) -> String {
    let version = config.agent_digest.clone();
    version.unwrap_or_else(|| config.digest())
}

impl Driver<'_> {
    pub(super) fn policy_context(&self) -> PolicyContext<'_> {
        PolicyContext {
            agent: &self.agent.config.agent,
        }
    }

    /// Records a call with the gate's decision, and requests an approval if the decision is to ask.
    /// `begins` is the decision for a call without an objection.
    pub(super) fn call(
        &mut self,
        step: StepId,
        provider_id: String,
        name: String,
        admission: Admission,
        begins: GateDecision,
    ) -> Result<(), DriveError> {
        let Admission {
            input,
            effect,
            error,
            approval,
            resources,
        } = admission;
        let decision = match (error, approval) {
            (Some(error), _) => GateDecision::Refuse { error },
            (None, Some(approval)) => {
                let now = self.environment.clock.now_micros();
                let until = |timeout: std::time::Duration| {
                    now.saturating_add(i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX))
                };
                let terms = approval.terms;
                let entry = self.agent.gate.registry().get(&name);
                GateDecision::Ask {
                    reason: approval.reason,
                    until_micros: terms.timeout.map(until),
                    tool_digest: entry.map(|tool| tool.spec().digest()),
                    escalation: terms.escalation.map(|escalation| Escalation {
                        at_micros: until(escalation.after),
                        to: escalation.to,
                    }),
                    preview: terms.preview.map(|preview| preview.of(&input)),
                }
            }
            (None, None) => begins,
        };
        let runs = !matches!(decision, GateDecision::Refuse { .. });
        let called = ToolCalled {
            step,
            provider_id,
            name,
            input,
            effect,
            resources,
            key: runs.then(|| self.environment.call_key()),
            initiator: Initiator::Model,
            purpose: None,
            decision,
        };
        self.commands.extend(self.approval_request(&called, None));
        self.push(Event::ToolCalled(called))?;
        Ok(())
    }

    /// The gate's word on calls that have not happened in this run, a fork of another.
    pub(super) async fn recheck(&mut self, steps: &[StepId]) -> Result<(), DriveError> {
        for step in steps {
            let Some(call) = self.run.call(*step).map(|state| state.call.clone()) else {
                continue;
            };
            let admission = self
                .agent
                .gate
                .recheck(&call.name, call.input, &self.policy_context())
                .await;
            let (id, name) = (call.provider_id, call.name);
            self.call(*step, id, name, admission, GateDecision::Queue)?;
        }
        Ok(())
    }

    /// Why an approved call must not run after all; `None` if the call may run. The tool may have changed
    /// since a person looked at the call, and a rule may deny the call by now.
    pub(super) async fn refusal(&self, call: &ToolCalled) -> Option<Failure> {
        let pinned = || {
            let mut tools = self.run.config()?.tools.iter();
            let tool = tools.find(|tool| tool.name == call.name)?;
            Some(&tool.digest)
        };
        // A log of an earlier release does not say what was shown.
        let shown = match &call.decision {
            GateDecision::Ask { tool_digest, .. } => tool_digest.as_ref().or_else(pinned),
            GateDecision::Start | GateDecision::Queue | GateDecision::Refuse { .. } => pinned(),
        };
        let tool = self.agent.gate.registry().get(&call.name);
        if let (Some(shown), Some(tool)) = (shown, tool)
            && tool.spec().digest() != *shown
        {
            let message = format!(
                "tool `{}` is not the one that was approved: its definition has changed since \
                 somebody was asked; it did not run",
                call.name
            );
            return Some(Failure::last("tool_changed", message));
        }
        let context = self.policy_context();
        let admission = self
            .agent
            .gate
            .recheck(&call.name, call.input.clone(), &context)
            .await;
        admission.error
    }

    /// Whether a wait that a tool asks for can end.
    pub(super) fn checked(&self, wait: &CallWait) -> Result<(), Failure> {
        match wait {
            CallWait::Time { .. } | CallWait::Signal { .. } => Ok(()),
            CallWait::Children { tasks, .. } => {
                let children = self.run.children();
                let Some(unknown) = tasks.iter().find(|task| !children.contains_key(*task)) else {
                    return Ok(());
                };
                let unknown: String = unknown.chars().take(100).collect();
                let known = match children.len() {
                    0 => "it has begun none".to_owned(),
                    _ => {
                        let known: Vec<&str> = children.keys().map(String::as_str).collect();
                        format!("it has begun {}", known.join(", "))
                    }
                };
                let message = format!("`{unknown}` is not a task that this run has begun; {known}");
                Err(Failure::last("unknown_task", message))
            }
        }
    }

    /// Begins a child task with the outcome of the call that asks for it.
    pub(super) fn spawn(&mut self, step: StepId, spawn: Spawn) -> Result<ChildStarted, Failure> {
        let defaults = Limits::default();
        let limits = self.run.config().map_or(&defaults, |config| &config.limits);
        if limits.spawn_depth_left == 0 {
            let message = "this task is as many generations down as tasks may go; do the work \
                           yourself, or raise `limits.spawn_depth`";
            return Err(Failure::last("spawn_depth", message));
        }
        let most = limits.max_children;
        if self.run.children().len() >= usize::try_from(most).unwrap_or(usize::MAX) {
            let message = format!(
                "the run has begun its {most} child tasks; do the work yourself, or raise \
                 `limits.max_children`"
            );
            return Err(Failure::last("too_many_children", message));
        }
        let max_tokens = self.allowance(
            step,
            limits.max_tokens,
            self.run.charged_tokens(),
            spawn.max_tokens,
        );
        let max_tokens = max_tokens.map_err(|budget| {
            let message = format!(
                "of the run's {budget} tokens none are left for a child task; raise \
                 `limits.max_tokens`"
            );
            Failure::last("token_limit", message)
        })?;
        let max_cost_micros = self.allowance(
            step,
            limits.max_cost_micros,
            self.run.charged_cost_micros(),
            spawn.max_cost_micros,
        );
        let max_cost_micros = max_cost_micros.map_err(|budget| {
            let message = format!(
                "of the run's {} USD nothing is left for a child task; raise \
                 `limits.max_cost_usd`",
                units::money::show(budget)
            );
            Failure::last("cost_limit", message)
        })?;
        let now = self.environment.clock.now_micros();
        let own = spawn
            .timeout_micros
            .map(|timeout| now.saturating_add(timeout));
        let deadline_micros = own.into_iter().chain(limits.deadline_micros).min();
        let spawn_depth_left = limits.spawn_depth_left - 1;
        let task = self.environment.recorder.new_child()?;
        self.commands.push(Command::Spawn(ChildSpec {
            task: task.clone(),
            step,
            goal: spawn.goal,
            agent: spawn.agent,
            name: spawn.name,
            instructions: spawn.instructions,
            limits: ChildLimits {
                max_tokens,
                max_cost_micros,
                max_steps: spawn.max_steps,
                spawn_depth_left,
            },
            policies: self.agent.child_policies.clone(),
            deadline_micros,
        }));
        Ok(ChildStarted {
            task,
            reserved_tokens: max_tokens,
            reserved_cost_micros: max_cost_micros,
        })
    }

    /// A child's share of a budget, if there is a budget: the requested amount, at most the rest; without a
    /// request, equal shares of the rest for the children that this turn is yet to begin and the run
    /// itself. The error is the budget, if no amount is left.
    fn allowance(
        &self,
        step: StepId,
        budget: Option<u64>,
        used: u64,
        asked: Option<u64>,
    ) -> Result<Option<u64>, u64> {
        let Some(budget) = budget else {
            return Ok(asked);
        };
        let left = budget.saturating_sub(used);
        let tool = self.run.call(step).map(|state| &state.call.name);
        let siblings = self.run.calls().iter().filter(|state| {
            Some(&state.call.name) == tool && !matches!(state.progress, Progress::Settled { .. })
        });
        let share = left / (siblings.count() as u64 + 1);
        match asked.map_or(share, |asked| asked.min(left)) {
            0 => Err(budget),
            allowed => Ok(Some(allowed)),
        }
    }
}

#[cfg(test)]
mod tests;
