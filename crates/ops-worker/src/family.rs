//! What a run asks for with its appends: approvals, and children.

use agentkit::drive::{self, Approval, Command};
use ops_core::{ChildSpec, Json, Micros, NewApproval, Task, TaskId};
use serde_json::{Map, Value, json};

/// What commits with an append beside its events.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) children: Vec<ChildSpec>,
    pub(crate) approvals: Vec<NewApproval>,
}

/// What the commands of a run ask of the store.
pub(crate) fn asked(commands: &[Command], parent: &Task) -> Asked {
    let mut asked = Asked::default();
    for command in commands {
        match command {
            Command::Ask(approval) => asked.approvals.push(new_approval(approval)),
            // The id is one that this worker has made.
            Command::Spawn(spec) => asked.children.extend(child(spec, parent)),
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

/// The engine makes the task of a child; what its agent is told is composed here.
fn child(spec: &drive::ChildSpec, parent: &Task) -> Option<ChildSpec> {
    let id: TaskId = spec.task.parse().ok()?;
    let drive::ChildLimits {
        max_tokens,
        max_cost_micros,
        max_steps,
        spawn_depth_left,
    } = spec.limits;
    Some(ChildSpec {
        id,
        step: spec.step.0,
        input: Json::from(&input(spec, parent)),
        agent: spec.agent.clone(),
        name: spec.name.clone(),
        max_steps,
        max_tokens,
        max_cost_micros,
        deadline: spec.deadline_micros.map(Micros),
        depth_left: spawn_depth_left,
    })
}

/// A child of the same agent goes by the same configuration, unless it is told otherwise.
fn input(spec: &drive::ChildSpec, parent: &Task) -> Value {
    let same_agent = spec.agent.is_none() || spec.agent == parent.agent_id;
    // The parent could not have begun if it had too many values.
    let mut given = parent.input.fields(&["agent_config"]).unwrap_or_default();
    let given = given.remove("agent_config");
    let mut config = match given {
        // The configuration of this agent is not one of another.
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
    match config.is_empty() {
        true => json!({"prompt": spec.goal}),
        false => json!({"prompt": spec.goal, "agent_config": config}),
    }
}
