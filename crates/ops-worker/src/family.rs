//! What a run asks for with its appends: approvals, and tasks of its own.

use agentkit::drive::{Approval, ChildSpec, Command};
use ops_core::{
    Json, Micros, NewApproval, Parent, Task, TaskId,
    ports::{NewTask, TaskRecord},
    task::TaskLimits,
};
use serde_json::{Map, Value, json};

/// What commits with an append beside its events.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) children: Vec<NewTask>,
    pub(crate) approvals: Vec<NewApproval>,
}

/// What the commands of a run ask of the store.
pub(crate) fn asked(commands: &[Command], parent: &TaskRecord, now: Micros) -> Asked {
    let mut asked = Asked::default();
    for command in commands {
        match command {
            Command::Ask(approval) => asked.approvals.push(new_approval(approval)),
            // The id is one that this worker has made.
            Command::Spawn(spec) => asked.children.extend(new_child(spec, parent, now)),
        }
    }
    asked
}

fn new_approval(approval: &Approval) -> NewApproval {
    NewApproval {
        step: approval.step.0,
        tool: approval.tool.clone(),
        tool_digest: approval.tool_digest.clone(),
        agent_digest: approval.agent_digest.clone(),
        input: approval.input.clone(),
        input_digest: approval.input_digest.clone(),
        input_schema: approval.input_schema.clone(),
        reason: approval.reason.clone(),
        expires_at: approval.until_micros.map(Micros),
    }
}

/// A child does the same kind of work under the same agent, unless it is told otherwise.
fn new_child(spec: &ChildSpec, parent: &TaskRecord, now: Micros) -> Option<NewTask> {
    let id: TaskId = spec.task.parse().ok()?;
    let task = &parent.task;
    let same_agent = spec.agent.is_none() || spec.agent == task.agent_id;
    // The parent could not have begun if it had too many values.
    let mut said = task.input.fields(&["agent_config"]).unwrap_or_default();
    let said = said.remove("agent_config");
    let mut config = match said {
        // What was said of this agent is not said of another.
        Some(Value::Object(config)) if same_agent => config,
        Some(_) | None => Map::new(),
    };
    // What the parent has to answer is not what its child has to.
    config.remove("output_schema");
    config.remove("max_reasks");
    if let Some(instructions) = &spec.instructions {
        config.insert(
            "instructions".to_owned(),
            Value::from(instructions.as_str()),
        );
    }
    let input = match config.is_empty() {
        true => json!({"prompt": spec.goal}),
        false => json!({"prompt": spec.goal, "agent_config": config}),
    };
    let left = spec
        .deadline_micros
        .map(|end| end.saturating_sub(now.0).max(1));
    Some(NewTask {
        task: Task {
            id,
            tenant: task.tenant,
            task_type: task.task_type.clone(),
            name: spec.name.clone(),
            agent_id: spec.agent.clone().or_else(|| task.agent_id.clone()),
            agent_digest: task.agent_digest.filter(|_| same_agent),
            input: Json::from(&input),
            labels: task.labels.clone(),
            limits: TaskLimits {
                max_steps: spec.limits.max_steps.or(task.limits.max_steps),
                max_tokens: spec.limits.max_tokens,
                max_cost_micros: spec.limits.max_cost_micros,
                timeout_micros: left,
                on_exhausted: task.limits.on_exhausted,
            },
            priority: task.priority,
            queue: task.queue.clone(),
            concurrency_key: None,
            retry_of: None,
            parent: Some(Parent {
                task: task.id,
                step: spec.step.0,
                depth_left: spec.limits.spawn_depth_left,
            }),
            created_at: now,
            run_at: None,
        },
        retry: parent.life.retry,
        idempotency: None,
        fork: None,
    })
}
