//! A task's beginning: its first lifecycle and event, and the tasks that runs ask for as children.

use crate::{
    actor::Actor,
    agent::AgentDigest,
    command::{ChildSpec, Rejection},
    event::{NewEvent, TaskEvent, Usage},
    id::TaskId,
    ports::NewTask,
    rules::limits,
    task::{Lifecycle, Parent, State, Task, TaskLimits, Ties},
    time::Micros,
};

/// The longest name of a task, an agent or a label, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// What a new task begins with. Only [`submit`] makes one.
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
        heard: false,
        ties: Ties {
            parent: task.parent.is_some(),
            key: task.concurrency_key.is_some(),
            ..Ties::default()
        },
        usage: Usage::default(),
        children_usage: Usage::default(),
        started_at: None,
        updated_at: task.created_at,
        completed_at: None,
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
    /// This one.
    Version(AgentDigest),
    /// The one of another task.
    AsTask(TaskId),
    /// The current one of this agent, if there is such an agent.
    Current(&'a str),
    /// None: the task names no agent.
    Nothing,
}

/// Which version of its agent a new task is pinned to: the one that was asked for, else that of the
/// task whose log it goes on from, else the current one.
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
/// [`Rejection::Tree`] if it would have more than `most` tasks.
pub fn room(children: &[ChildSpec], tasks: u64, most: u64) -> Result<(), Rejection> {
    let asked = children.len() as u64;
    match children.first() {
        Some(first)
            if tasks.saturating_add(asked) > most && !units::mutant!("ops-core.tree_total") =>
        {
            Err(Rejection::Tree {
                step: first.step,
                asked,
                tasks,
                most,
            })
        }
        Some(_) | None => Ok(()),
    }
}

/// The task of a child that a run asks for. What the parent's request says holds for the child as well;
/// what the run asks for is cut to what the parent has. `parent` needs no input.
///
/// # Errors
/// [`Rejection::Child`] if no generation may follow the parent's, or the agent cannot be one.
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
    let least = |asked: Option<u64>, most: Option<u64>| asked.into_iter().chain(most).min();
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

/// A model chooses the name: what is too long is cut, as the name only shows what a task is.
fn short(mut name: String) -> String {
    name.truncate(name.floor_char_boundary(MAX_NAME_BYTES));
    name
}

#[cfg(test)]
mod tests;
