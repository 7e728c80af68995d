//! A task's beginning: its first lifecycle and event, and the tasks that runs ask for as children.

use crate::{
    actor::Actor,
    agent::AgentDigest,
    command::{ChildSpec, Rejection},
    event::{NewEvent, TaskEvent, Usage},
    id::TaskId,
    ports::NewTask,
    rules::limits,
    task::{Lifecycle, Parent, Relations, State, Task, TaskLimits},
    time::Micros,
};

/// The longest name of a task, an agent or a label, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// The beginning of a new task. Only [`submit`] makes a beginning.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Birth {
    /// The lifecycle after every event of the new log.
    pub life: Lifecycle,
    /// The first event.
    pub event: NewEvent,
}

/// The beginning of a task. `copied` is how many events a fork puts behind the first.
#[must_use]
pub fn submit(new: &NewTask, copied: u64, now: Micros) -> Birth {
    let task = &new.task;
    let event = TaskEvent::Submitted {
        task_type: task.task_type.clone(),
        retry_of: task.retry_of,
        parent: task.parent.map(|parent| parent.task),
        run_at: task.run_at,
    };
    let blank = Lifecycle {
        id: task.id,
        state: State::Pending,
        attempt: 1,
        retry: new.retry,
        epoch: 0,
        seq: 0,
        lease_losses: 0,
        run_started: new.fork.is_some(),
        paused: false,
        timeout: None,
        start_by: None,
        waits_for_limits: false,
        external_pending: false,
        relations: Relations {
            parent: task.parent.is_some(),
            key: task.concurrency_key.is_some(),
            ..Relations::default()
        },
        usage: Usage::default(),
        children_usage: Usage::default(),
        started_at: None,
        updated_at: task.created_at,
        completed_at: None,
        failure: None,
    };
    let mut life = blank.apply(&event, now.max(task.created_at));
    life.seq += copied;
    limits::hold(&mut life, &task.limits);
    let ready = task.created_at.max(task.run_at.unwrap_or(task.created_at));
    let patience = task.limits.queue_timeout_micros;
    life.start_by = patience.map(|patience| ready.plus(patience));
    Birth {
        life,
        event: event.envelope_by(Some(&new.actor)),
    }
}

/// Which version of its agent a new task is pinned to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin<'a> {
    /// This version.
    Version(AgentDigest),
    /// The version of another task.
    AsTask(TaskId),
    /// The current version of this agent, if the agent exists.
    Current(&'a str),
    /// The task names no agent.
    Nothing,
}

/// The agent's version that a new task is pinned to: the requested version, else that of the task whose log
/// is copied, else the current version.
#[must_use]
pub fn pin(new: &NewTask) -> Pin<'_> {
    match (new.task.agent_digest, &new.fork, &new.task.agent_id) {
        (Some(digest), _, _) => Pin::Version(digest),
        (None, Some(fork), _) => Pin::AsTask(fork.from),
        (None, None, Some(name)) => Pin::Current(name),
        (None, None, None) => Pin::Nothing,
    }
}

/// Whether a tree of so many tasks may grow by the children that a run of it asks for. The depth of a tree
/// and the children of each task bound it as well, but their product is large: an agent that starts two of
/// itself would be thousands of tasks in seconds.
///
/// # Errors
/// [`Rejection::Tree`] if it would have more than `limit` tasks.
pub fn room(children: &[ChildSpec], tasks: u64, limit: u64) -> Result<(), Rejection> {
    let requested = children.len() as u64;
    match children.first() {
        Some(first)
            if tasks.saturating_add(requested) > limit
                && !units::mutant!("ops-core.tree_total") =>
        {
            Err(Rejection::Tree {
                step: first.step,
                requested,
                tasks,
                limit,
            })
        }
        Some(_) | None => Ok(()),
    }
}

/// The task of a child that a run requests. Terms of the parent's submit hold for the child as well; the
/// child's limits are cut to the parent's remaining limits. `parent` needs no input.
///
/// # Errors
/// [`Rejection::Child`] if no generation may follow the parent's, or the agent cannot be a child's agent.
pub fn child(
    spec: ChildSpec,
    parent: &Task,
    life: &Lifecycle,
    now: Micros,
) -> Result<NewTask, Rejection> {
    let refuse = |why: &str| Rejection::Child {
        step: spec.step,
        why: why.to_owned(),
    };
    let depth_left = match parent.parent {
        Some(Parent { depth_left: 0, .. }) => {
            return Err(refuse(
                "its parent is as many generations down as tasks may go; raise `limits.spawn_depth`",
            ));
        }
        Some(grand) => spec.depth_left.min(grand.depth_left - 1),
        None => spec.depth_left,
    };
    let too_long = |name: &String| name.len() > MAX_NAME_BYTES || name.is_empty();
    if spec.agent.as_ref().is_some_and(too_long) {
        return Err(refuse("the name of an agent has 1 to 256 bytes"));
    }
    let same_agent = spec.agent.is_none() || spec.agent == parent.agent_id;
    let least =
        |requested: Option<u64>, limit: Option<u64>| requested.into_iter().chain(limit).min();
    let left = |end: Micros| end.0.saturating_sub(now.0).max(1);
    Ok(NewTask {
        task: Task {
            id: spec.id,
            tenant: parent.tenant,
            task_type: parent.task_type.clone(),
            name: spec.name.map(short),
            agent_id: spec.agent.or_else(|| parent.agent_id.clone()),
            agent_digest: parent.agent_digest.filter(|_| same_agent),
            input: spec.input,
            labels: parent.labels.clone(),
            limits: TaskLimits {
                max_steps: spec.max_steps.or(parent.limits.max_steps),
                max_tokens: least(spec.max_tokens, parent.limits.max_tokens),
                max_cost_micros: least(spec.max_cost_micros, parent.limits.max_cost_micros),
                timeout_micros: spec.deadline.map(left),
                queue_timeout_micros: parent.limits.queue_timeout_micros,
                on_exhausted: parent.limits.on_exhausted,
            },
            priority: parent.priority,
            queue: parent.queue.clone(),
            concurrency_key: None,
            retry_of: None,
            parent: Some(Parent {
                task: parent.id,
                step: spec.step,
                depth_left,
            }),
            created_at: now,
            run_at: None,
        },
        actor: life.state.session().map_or(Actor::Machine, Actor::Session),
        retry: life.retry,
        idempotency: None,
        fork: None,
    })
}

/// A model chooses the name: a long name is cut, as the name only labels the task.
fn short(mut name: String) -> String {
    name.truncate(name.floor_char_boundary(MAX_NAME_BYTES));
    name
}

#[cfg(test)]
mod tests;
