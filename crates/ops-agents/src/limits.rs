//! The limits of a run: those of its task, else of its agent, else of the settings.

use agentkit::{Definition, run::Limits};
use ops_core::{Micros, task::TaskLimits};
use ops_worker::exhaustion;
use units::duration;

use crate::settings::Settings;

/// The limits of the settings.
pub(crate) struct Usual {
    limits: Limits,
    timeout_micros: Option<i64>,
}

/// The terms of a task.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) limits: &'a TaskLimits,
    /// The deadline counts from here.
    pub(crate) started: Micros,
    /// Generations of children that its parent left it.
    pub(crate) depth_left: Option<u32>,
}

impl Usual {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            limits: settings.limits.clone(),
            timeout_micros: settings.timeout.map(duration::micros),
        }
    }

    /// The limits of one run.
    pub(crate) fn of(&self, given: Given<'_>, definition: Option<&Definition>) -> Limits {
        let nothing = Definition::default();
        let definition = definition.unwrap_or(&nothing);
        let agent = &definition.limits;
        let own_timeout = agent.timeout().map(duration::micros);
        let timeout = given.limits.timeout_micros.or(own_timeout);
        let timeout = timeout.or(self.timeout_micros);
        let usual = &self.limits;
        let asked = given.limits;
        Limits {
            max_steps: asked
                .max_steps
                .or(agent.max_steps)
                .unwrap_or(usual.max_steps),
            max_tokens: asked.max_tokens.or(agent.max_tokens).or(usual.max_tokens),
            max_cost_micros: asked
                .max_cost_micros
                .or(agent.max_cost_micros())
                .or(usual.max_cost_micros),
            deadline_micros: timeout.map(|timeout| given.started.0.saturating_add(timeout)),
            context_tokens: definition.memory.context_tokens.or(usual.context_tokens),
            max_output_tokens: agent.max_output_tokens.or(usual.max_output_tokens),
            on_exhausted: asked
                .on_exhausted
                .map_or(agent.on_exhausted.unwrap_or(usual.on_exhausted), exhaustion),
            max_children: agent.max_children.unwrap_or(usual.max_children),
            spawn_depth_left: given
                .depth_left
                .or(agent.spawn_depth)
                .unwrap_or(usual.spawn_depth_left),
            ..usual.clone()
        }
    }
}
