//! What a transition means for whom the task is linked to: its parent, its children, the approvals that
//! it asked for, and those that wait for its concurrency key.
//!
//! All of it commits with the transition, so that no crash comes between the two. A linked task that
//! refuses, or that cannot be read, is left as it is and does not fail the others.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{Cause, Outcome};
use crate::{
    event::{ChildEnd, StoredResult},
    id::TaskId,
    task::{Lifecycle, State, Wait},
    time::Micros,
};

/// Values of more bytes are kept by their digest: a parent is told where a larger result of its child is.
pub const MAX_INLINE_BYTES: usize = 8 << 10;

/// What follows a transition. The store loads the targets and decides about each.
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
        /// What the clock showed.
        from: Micros,
        /// What it shows now.
        to: Micros,
    },
    /// Tell the parent.
    TellParent(ChildEnd),
    /// Ready tasks that wait for the concurrency key of this one, unless another task holds it: those
    /// of [`turns`].
    ReleaseKey,
}

/// Which open approvals lapse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lapse {
    /// Those whose time is over.
    Overdue,
    /// All: the task has ended.
    All,
}

/// What follows a transition. `stored` is where the result is kept, if that is not in the row.
#[must_use]
pub fn follow(
    before: &Lifecycle,
    after: &Lifecycle,
    outcome: Option<&Outcome>,
    stored: Option<StoredResult>,
) -> Vec<Follow> {
    let mut follows = Vec::new();
    let ties = after.ties;
    let ended = after.state.name().is_terminal();
    let stopped = ended || matches!(after.state, State::Cancelling { .. });
    let stopped = stopped && !units::mutant!("ops-core.children_go_on");
    if ties.children && stopped && before.state != after.state {
        follows.push(Follow::StopChildren);
    }
    if ties.approvals {
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
    if ties.parent && ended {
        follows.push(Follow::TellParent(child_end(after, outcome, stored)));
    }
    let key = ties.key && !units::mutant!("ops-core.key_is_kept");
    if key && (ended || leaves_turn(before, after)) {
        follows.push(Follow::ReleaseKey);
    }
    follows
}

impl Follow {
    /// What happens to each task that the follow is about. Approvals are no tasks.
    #[must_use]
    pub fn cause(self) -> Option<Cause> {
        match self {
            Self::StopChildren => Some(Cause::ParentStopped),
            Self::TellParent(end) => Some(Cause::ChildEnded(end)),
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
}

/// Whose turn it is among those that wait for a free key: the first of each queue, by priority and age.
///
/// A claim decides which of them has the key, and blocks the others again. If a single one were
/// readied, the key would wait with it for as long as its queue is full, held back by a rate, or served
/// by nobody. Within a queue none could go before the first.
#[must_use]
pub fn turns<'a>(waiters: impl IntoIterator<Item = Waiter<'a>>) -> Vec<TaskId> {
    let mut first: BTreeMap<&str, (Reverse<u8>, TaskId)> = BTreeMap::new();
    for waiter in waiters {
        let turn = (Reverse(waiter.priority), waiter.task);
        let known = first.entry(waiter.queue).or_insert(turn);
        *known = turn.min(*known);
    }
    first.into_values().map(|(_, task)| task).collect()
}

/// Whether the task was ready to begin and is paused now: it may be the one whose turn it was to take
/// its concurrency key.
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
