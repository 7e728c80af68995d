//! What the holder of a lease is told, and who else is.

use super::claim::is_suspect;
use crate::{
    id::SessionId,
    task::{Lifecycle, State},
};

/// How a session is to stop a task that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Drop the calls in flight, and confirm.
    Cancel(SessionId),
    /// Give the task back at its next boundary.
    Pause(SessionId),
}

/// What the holder of the task is to be told, if a worker holds it and it is to stop.
#[must_use]
pub fn stop(life: &Lifecycle) -> Option<Stop> {
    match life.state {
        State::Cancelling { session } => Some(Stop::Cancel(session)),
        State::Running { session } if life.paused => Some(Stop::Pause(session)),
        State::Running { .. }
        | State::Pending
        | State::Scheduled { .. }
        | State::Paused
        | State::Waiting(_)
        | State::Completed
        | State::Failed { .. }
        | State::Cancelled => None,
    }
}

/// Whether the task's queue has work that it had not: the task has become ready, or it was the suspect
/// at large, for which the next one waits.
#[must_use]
pub fn wakes_queue(before: &Lifecycle, after: &Lifecycle) -> bool {
    let ready = |life: &Lifecycle| matches!(life.state, State::Pending);
    let at_large = |life: &Lifecycle| life.state.session().is_some() && is_suspect(life);
    (ready(after) && !ready(before)) || (at_large(before) && !at_large(after))
}
