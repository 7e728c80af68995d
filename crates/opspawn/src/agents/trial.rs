//! Agents of an evaluation: made as those of tasks are, without a task.

use std::{collections::BTreeMap, sync::Arc};

use agentkit::{
    Agent, Definition, Goal,
    drive::Clock as _,
    event::Failure,
    policy::{Action, Permission, Policy, PolicyContext},
};
use ops_core::{
    Json, Lifecycle, Micros, State, Task, TaskId, TenantId, Ties, event::Usage, retry::RetryPolicy,
    task::TaskLimits,
};
use ops_worker::{Agents as _, Job, Prepared};
use serde_json::Value;

use super::{Factory, TASK_TYPES};
use crate::eval::recording::Replay;

/// A version of an agent that is tried.
pub(crate) struct Trial<'a> {
    /// What it is.
    pub(crate) definition: &'a Definition,
    /// What a task's `input_data` would be.
    pub(crate) input: Value,
    /// Answers in place of the tools, if an old run is replayed.
    pub(crate) replay: Option<Arc<Replay>>,
}

/// Whoever had to be asked was asked in the recorded run. What is denied stays denied.
struct Granted(Arc<dyn Policy>);

impl Policy for Granted {
    fn check_permissions(&self, action: &Action<'_>, context: &PolicyContext<'_>) -> Permission {
        match self.0.check_permissions(action, context) {
            Permission::Ask { .. } => Permission::Allow,
            word @ (Permission::Allow | Permission::Deny { .. }) => word,
        }
    }
}

impl Factory {
    /// The agent of a trial, its goal, and the files that it begins with.
    pub(crate) fn trial(
        &self,
        trial: Trial<'_>,
    ) -> Result<(Agent, Goal, BTreeMap<String, String>), Failure> {
        let Trial {
            definition,
            input,
            replay,
        } = trial;
        let now = Micros(agentkit::drive::SystemClock.now_micros());
        let task = Task {
            id: TaskId::new(now, [0; 10]),
            tenant: TenantId::DEFAULT,
            task_type: TASK_TYPES[0].to_owned(),
            name: None,
            agent_id: Some(definition.name.clone()),
            agent_digest: definition.digest().parse().ok(),
            input: Json::from(&input),
            labels: BTreeMap::new(),
            limits: TaskLimits::default(),
            priority: 0,
            queue: String::new(),
            concurrency_key: None,
            retry_of: None,
            parent: None,
            created_at: now,
            run_at: None,
        };
        let life = Lifecycle {
            id: task.id,
            state: State::Pending,
            attempt: 1,
            retry: RetryPolicy::default(),
            epoch: 1,
            seq: 1,
            lease_losses: 0,
            run_started: false,
            paused: false,
            heard: false,
            ties: Ties::default(),
            usage: Usage::default(),
            children_usage: Usage::default(),
            started_at: Some(now),
            updated_at: now,
            completed_at: None,
        };
        let canonical = Json::parse(&definition.canonical()).expect("the canonical form is JSON");
        let job = Job {
            task: &task,
            life: &life,
            definition: Some(&canonical),
        };
        let Prepared { agent, goal, files } = self.start(&job)?;
        let Some(replay) = replay else {
            return Ok((agent, goal, files));
        };
        let tools = self.tools_of(definition)?;
        let policy = self.policy_of(definition, &tools)?;
        let replayed = replay
            .tools(&tools)
            .map_err(|error| Failure::last("invalid_agent", error.to_string()))?;
        let agent = agent.with_tools(replayed, Arc::new(Granted(policy)));
        Ok((agent, goal, files))
    }
}
