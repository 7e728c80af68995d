//! Effects of a transition on linked tasks: the parent, the children, the open approvals, and the tasks
//! that wait for the concurrency key.
//!
//! All effects commit with the transition, so that no crash comes between the two. A linked task that
//! refuses, or that cannot be read, stays unchanged and does not fail the others.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{Cause, Outcome, claim};
use crate::{
    event::{ChildEnd, StoredResult},
    id::TaskId,
    task::{Lifecycle, State, Wait},
    time::Micros,
};

/// Values of more bytes are kept by their digest: a parent is told where a larger result of its child is.
pub const MAX_INLINE_BYTES: usize = 8 << 10;

/// An effect of a transition on linked records. The store loads the targets and decides about each.
#[derive(Debug, Clone, PartialEq)]
pub enum Follow {
    /// Stop the children that have not ended: they do not outlive their parent, nor go on while it is
    /// being cancelled.
    StopChildren,
    /// Close the approvals of the task that are still open, as [`super::approval::lapse`] says.
    LapseApprovals(Lapse),
    /// Move the dates of the approvals of the task that are still open, as [`super::approval::correct`]
    /// says.
    CorrectApprovals {
        /// The wrong time of the clock.
        from: Micros,
        /// The corrected time.
        to: Micros,
    },
    /// Tell the parent.
    NotifyParent(ChildEnd),
    /// Ready the tasks that wait for this task's concurrency key, unless another task holds the key: see
    /// [`turns`].
    ReleaseKey,
}

/// Which open approvals lapse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lapse {
    /// Approvals whose time is over.
    Overdue,
    /// All: the task has ended.
    All,
}

/// The effects of a transition. `stored` is where the result is kept, if the result is not in the row.
#[must_use]
pub fn follow(
    before: &Lifecycle,
    after: &Lifecycle,
    outcome: Option<&Outcome>,
    stored: Option<StoredResult>,
) -> Vec<Follow> {
    let mut follows = Vec::new();
    let relations = after.relations;
    let ended = after.state.name().is_terminal();
    let stopped = ended || matches!(after.state, State::Cancelling { .. });
    let stopped = stopped && !units::mutant!("ops-core.children_go_on");
    if relations.children && stopped && before.state != after.state {
        follows.push(Follow::StopChildren);
    }
    if relations.approvals {
        let waited = matches!(before.state, State::Waiting(Wait::Approval { .. }));
        if after.updated_at < before.updated_at {
            follows.push(Follow::CorrectApprovals {
                from: before.updated_at,
                to: after.updated_at,
            });
        }
        if ended {
            follows.push(Follow::LapseApprovals(Lapse::All));
        } else if waited {
            follows.push(Follow::LapseApprovals(Lapse::Overdue));
        }
    }
    if relations.parent && ended {
        follows.push(Follow::NotifyParent(child_end(after, outcome, stored)));
    }
    let key = relations.key && !units::mutant!("ops-core.key_is_kept");
    if key && (ended || leaves_turn(before, after)) {
        follows.push(Follow::ReleaseKey);
    }
    follows
}

impl Follow {
    /// The cause for each target task. Approvals are no tasks.
    #[must_use]
    pub fn cause(self) -> Option<Cause> {
        match self {
            Self::StopChildren => Some(Cause::ParentStopped),
            Self::NotifyParent(end) => Some(Cause::ChildEnded(end)),
            Self::ReleaseKey => Some(Cause::Unblock),
            Self::LapseApprovals(_) | Self::CorrectApprovals { .. } => None,
        }
    }
}

/// A task that waits for a concurrency key and is not paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter<'a> {
    /// The task.
    pub task: TaskId,
    /// Its queue.
    pub queue: &'a str,
    /// Its priority.
    pub priority: u8,
    /// Since when the task waits: see [`claim::waits_since`].
    pub since: Micros,
}

/// The tasks whose turn it is among the waiters for a free key: the first of each queue, by priority and
/// age. In a slice of time that belongs to aged tasks (see [`claim`]) the oldest waiter of a queue goes first, once
/// the waiter is aged: waiters of a low priority would starve as ready tasks would.
///
/// A claim decides which of them gets the key, and blocks the others again. If only one waiter were
/// readied, the key would wait with that task for as long as the task's queue is full, held back by a rate
/// limit, or without a worker. Within a queue no other waiter could go before the first.
#[must_use]
pub fn turns<'a>(waiters: impl IntoIterator<Item = Waiter<'a>>, now: Micros) -> Vec<TaskId> {
    let mut queues: BTreeMap<&str, (Waiter<'_>, Waiter<'_>)> = BTreeMap::new();
    let turn = |waiter: &Waiter<'_>| (Reverse(waiter.priority), waiter.task);
    for waiter in waiters {
        let (first, oldest) = queues.entry(waiter.queue).or_insert((waiter, waiter));
        if turn(&waiter) < turn(first) {
            *first = waiter;
        }
        if waiter.task < oldest.task {
            *oldest = waiter;
        }
    }
    let by_age = claim::serves_aged(now);
    let tasks = queues.into_values().map(|(first, oldest)| {
        match by_age && claim::is_aged(oldest.since, now) {
            true => oldest.task,
            false => first.task,
        }
    });
    tasks.collect()
}

/// Whether the task was ready to begin and is paused now: the concurrency key may have been offered to this
/// task.
fn leaves_turn(before: &Lifecycle, after: &Lifecycle) -> bool {
    matches!(before.state, State::Pending)
        && matches!(after.state, State::Paused)
        && after.started_at.is_none()
}

/// How a task ended, as its parent is told.
fn child_end(
    after: &Lifecycle,
    outcome: Option<&Outcome>,
    stored: Option<StoredResult>,
) -> ChildEnd {
    let mut used = after.usage;
    used += after.children_usage;
    let (result, error) = match outcome {
        Some(Outcome::Result(result)) => {
            let result = stored.is_none().then(|| result.to_value());
            (result, None)
        }
        Some(Outcome::Error(error)) => (None, Some(error.clone())),
        None => (None, None),
    };
    ChildEnd {
        child: after.id,
        state: after.state.name(),
        result,
        stored,
        error,
        used,
    }
}

#[cfg(test)]
mod tests;
