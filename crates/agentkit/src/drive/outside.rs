//! Calls that need somebody or something outside: approvals and child tasks.

use super::{Approval, ChildLimits, ChildSpec, Command, DriveError, Driver};
use crate::{
    event::{CallWait, ChildStarted, Event, Failure, Initiator, StepId, ToolCalled, Verdict},
    policy::PolicyContext,
    run::{Limits, Progress, RunConfig},
    tool::{Admission, Spawn, canonical_digest},
};

/// The version of the agent's definition, as its task has it; of an agent without one, the digest of what the
/// run is pinned to.
fn agent_digest(config: &RunConfig) -> String {
    let version = config.agent_digest.clone();
    version.unwrap_or_else(|| config.digest())
}

impl Driver<'_> {
    pub(super) fn policy_context(&self) -> PolicyContext<'_> {
        PolicyContext {
            agent: &self.agent.config.agent,
        }
    }

    /// Records a call with the gate's word on it, and asks for an approval if that is the word.
    /// `begins` is the verdict if nothing stands against the call.
    pub(super) fn call(
        &mut self,
        step: StepId,
        provider_id: String,
        name: String,
        admission: Admission,
        begins: Verdict,
    ) -> Result<(), DriveError> {
        let Admission {
            input,
            effect,
            error,
            ask,
            resources,
        } = admission;
        let verdict = match (error, ask) {
            (Some(error), _) => Verdict::Refuse { error },
            (None, Some(ask)) => {
                let now = self.session.clock.now_micros();
                let until = |timeout: std::time::Duration| {
                    now.saturating_add(i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX))
                };
                let until_micros = ask.timeout.map(until);
                let entry = self.agent.gate.registry().get(&name);
                let spec = entry.map(|tool| tool.spec());
                let tool_digest = spec.map(|spec| spec.digest());
                self.commands.push(Command::Ask(Approval {
                    step,
                    tool: name.clone(),
                    tool_digest: tool_digest.clone().unwrap_or_default(),
                    agent_digest: self.run.config().map(agent_digest).unwrap_or_default(),
                    input: input.clone(),
                    input_digest: canonical_digest(&input),
                    input_schema: spec
                        .map(|spec| spec.input_schema.clone())
                        .unwrap_or_default(),
                    reason: ask.reason.clone(),
                    until_micros,
                }));
                Verdict::Ask {
                    reason: ask.reason,
                    until_micros,
                    tool_digest,
                }
            }
            (None, None) => begins,
        };
        let runs = !matches!(verdict, Verdict::Refuse { .. });
        self.push(Event::ToolCalled(ToolCalled {
            step,
            provider_id,
            name,
            input,
            effect,
            resources,
            key: runs.then(|| self.session.call_key()),
            initiator: Initiator::Model,
            purpose: None,
            verdict,
        }))?;
        Ok(())
    }

    /// The gate's word on calls that have not happened in this run, a fork of another.
    pub(super) async fn judge(&mut self, steps: &[StepId]) -> Result<(), DriveError> {
        for step in steps {
            let Some(call) = self.run.call(*step).map(|state| state.call.clone()) else {
                continue;
            };
            let admission = self
                .agent
                .gate
                .judge(&call.name, call.input, &self.policy_context())
                .await;
            let (id, name) = (call.provider_id, call.name);
            self.call(*step, id, name, admission, Verdict::Queue)?;
        }
        Ok(())
    }

    /// Why an approved call must not run after all, if it must not: the tool may have changed since
    /// somebody looked at it, and a rule may deny it by now.
    pub(super) async fn refusal(&self, call: &ToolCalled) -> Option<Failure> {
        let pinned = || {
            let mut tools = self.run.config()?.tools.iter();
            let tool = tools.find(|tool| tool.name == call.name)?;
            Some(&tool.digest)
        };
        // A log of an earlier release does not say what was shown.
        let shown = match &call.verdict {
            Verdict::Ask { tool_digest, .. } => tool_digest.as_ref().or_else(pinned),
            Verdict::Start | Verdict::Queue | Verdict::Refuse { .. } => pinned(),
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
            .judge(&call.name, call.input.clone(), &context)
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
        let now = self.session.clock.now_micros();
        let own = spawn
            .timeout_micros
            .map(|timeout| now.saturating_add(timeout));
        let deadline_micros = own.into_iter().chain(limits.deadline_micros).min();
        let spawn_depth_left = limits.spawn_depth_left - 1;
        let task = self.session.recorder.new_child()?;
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
            deadline_micros,
        }));
        Ok(ChildStarted {
            task,
            reserved_tokens: max_tokens,
            reserved_cost_micros: max_cost_micros,
        })
    }

    /// What a child may use of a budget, if there is one: what it asks for, at most what is left; if
    /// it asks for nothing, what is left in equal shares for the children that this turn is yet to
    /// begin and the run itself. The budget, if nothing is left.
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
