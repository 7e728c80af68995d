//! Rules of a lease: the answer to its holder, and when a lease or a snapshot is superseded.

use super::claim::is_crash_loop_suspect;
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

/// The instruction to the holder of a task that is to stop; `None` for no instruction.
#[must_use]
pub fn stop(life: &Lifecycle) -> Option<Stop> {
    match life.state {
        _ if units::mutant!("ops-core.stop_is_not_told") => None,
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
    let at_large = |life: &Lifecycle| life.state.session().is_some() && is_crash_loop_suspect(life);
    (ready(after) && !ready(before)) || (at_large(before) && !at_large(after))
}

/// Whether a session whose last heartbeat came at `last_heartbeat` is over. The times are those of a clock
/// that never steps.
#[must_use]
pub fn is_expired(last_heartbeat: i64, now: i64, ttl_micros: i64) -> bool {
    now.saturating_sub(last_heartbeat) > ttl_micros
}

/// Whether a snapshot replaces an older snapshot; each is a version of the fold and the number of its last
/// event. A worker may send snapshots out of order.
#[must_use]
pub fn replaces((version, seq): (u32, u64), (old_version, old_seq): (u32, u64)) -> bool {
    version != old_version || seq >= old_seq
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Actor, RunCommand, TaskAction,
        rules::{
            Cause,
            fixtures::{after, ready, running, session},
        },
    };

    #[test]
    fn only_who_holds_a_task_is_told_to_stop() {
        let asked = |action: TaskAction| Cause::Task(action.by(Actor::Local));
        let held = running(1);
        assert_eq!(stop(&held), None);
        let cancelling = after(&held, asked(TaskAction::Cancel));
        assert_eq!(stop(&cancelling), Some(Stop::Cancel(session())));
        let pausing = after(&held, asked(TaskAction::Pause));
        assert_eq!(stop(&pausing), Some(Stop::Pause(session())));
        let paused = after(&ready(1), asked(TaskAction::Pause));
        assert_eq!(stop(&paused), None);
    }

    #[test]
    fn a_queue_is_woken_by_what_has_become_ready() {
        let (pending, held) = (ready(1), running(1));
        assert!(!wakes_queue(&pending, &held));
        let released = after(&held, Cause::Run(RunCommand::release(held.epoch)));
        assert!(wakes_queue(&held, &released));
        assert!(!wakes_queue(&released, &released));
        // The next suspect waits for the one at large, which is one no more after an outcome.
        let mut suspect = held.clone();
        suspect.lease_losses = 2;
        assert!(wakes_queue(&suspect, &held));
        assert!(!wakes_queue(&held, &suspect));
    }

    #[test]
    fn sessions_and_snapshots() {
        assert!(!is_expired(5, 15, 10) && is_expired(5, 16, 10));
        assert!(!is_expired(i64::MAX, i64::MIN, 0));
        assert!(replaces((1, 20), (1, 10)) && replaces((1, 10), (1, 10)));
        assert!(!replaces((1, 9), (1, 10)));
        assert!(replaces((2, 1), (1, 10)) && replaces((1, 1), (2, 10)));
    }
}
