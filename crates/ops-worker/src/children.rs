//! Requests of a run that commit with its appends: approvals and children.

use agentkit::drive::{self, Approval, Command};
use ops_core::{
    ApprovalDetails, ChildSpec, Escalation, Json, Micros, NewApproval, Preview, PreviewOutcome,
    Task, TaskId, budget::BudgetEntry, event::TaskError, provider::ProviderEntry,
};
use serde_json::{Map, Value, json};

/// The records that commit with an append beside its events.
#[derive(Debug, Clone, Default)]
pub(crate) struct AppendRequests {
    pub(crate) children: Vec<ChildSpec>,
    pub(crate) approvals: Vec<NewApproval>,
    pub(crate) budget: Vec<BudgetEntry>,
    pub(crate) provider: Vec<ProviderEntry>,
}

/// The requests among a run's commands.
pub(crate) fn requests(commands: &[Command], parent: &Task) -> AppendRequests {
    let mut requests = AppendRequests::default();
    for command in commands {
        match command {
            Command::RequestApproval(approval) => requests.approvals.push(new_approval(approval)),
            // The id is one that this worker has made.
            Command::Spawn(spec) => requests.children.extend(child(spec, parent)),
        }
    }
    requests
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
        details: ApprovalDetails {
            escalation: approval.escalation.as_ref().map(|escalation| Escalation {
                at: Micros(escalation.at_micros),
                to: escalation.to.clone(),
            }),
            preview: approval.preview.as_ref().map(preview),
        },
    }
}

fn preview(preview: &drive::Preview) -> Preview {
    Preview {
        tool: preview.call.tool.clone(),
        input: preview.call.input.clone(),
        step: preview.step.map(|step| step.0),
        outcome: match &preview.outcome {
            None => PreviewOutcome::Pending,
            Some(Ok(output)) => PreviewOutcome::Completed {
                output: output.clone(),
            },
            Some(Err(failure)) => PreviewOutcome::Failed {
                error: TaskError {
                    code: failure.code.clone(),
                    message: failure.message.clone(),
                },
            },
        },
    }
}

/// The engine makes the task of a child; this function composes the input of the child's agent.
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
    // The parent's own are among them.
    config.remove("policies");
    if !spec.policies.is_empty() {
        config.insert("policies".to_owned(), Value::from(spec.policies.clone()));
    }
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
