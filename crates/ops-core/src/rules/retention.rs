//! Rules of retention.

use crate::{id::TaskId, ports::Retention, task::StateName, time::Micros};

/// The facts about a task that retention decides by. They are not the whole lifecycle: a task whose row is
/// damaged is deleted in its time as well.
#[derive(Debug, Clone, Copy)]
pub struct RetentionCandidate {
    /// The task. Its id begins with the time of its submit.
    pub id: TaskId,
    /// The state of the task.
    pub state: StateName,
    /// When the task ended, if it has.
    pub completed_at: Option<Micros>,
    /// Whether the task has a parent that has not ended, and may ask for its child.
    pub parent_goes_on: bool,
    /// Whether no task was stored after this task. A store may number tasks in their order: the number of
    /// the newest would be given again, while rows of the task are left.
    pub is_newest: bool,
}

/// Above every id of this time.
#[must_use]
pub fn above(time: Micros) -> TaskId {
    TaskId::new(Micros(time.0.max(0)), [0xff; 10])
}

/// Whether a task has been kept long enough. A task that was submitted under a clock that was ahead may
/// have ended before its submit: such a task is kept from its submit on.
#[must_use]
pub fn may_delete(candidate: RetentionCandidate, keep: Retention, now: Micros) -> bool {
    let RetentionCandidate {
        id,
        state,
        completed_at,
        parent_goes_on,
        is_newest,
    } = candidate;
    let Some(ended) = completed_at else {
        return false;
    };
    let mut cutoffs = keep.cutoffs(now);
    let is_old =
        cutoffs.any(|(named, before)| named == state && ended < before && id < above(before));
    is_old && !parent_goes_on && !is_newest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Actor, TaskAction,
        rules::{
            Cause,
            fixtures::{after, ready, running},
        },
        task::Lifecycle,
    };

    const KEEP: Retention = Retention {
        completed: Some(0),
        failed: None,
        cancelled: Some(100),
    };

    fn candidate(life: &Lifecycle) -> RetentionCandidate {
        RetentionCandidate {
            id: life.id,
            state: life.state.name(),
            completed_at: life.completed_at,
            parent_goes_on: false,
            is_newest: false,
        }
    }

    #[test]
    fn only_what_ended_long_enough_ago_goes() {
        let cancel = Cause::Task(TaskAction::Cancel.by(Actor::Local));
        let cancelled = after(&ready(1), cancel);
        let ended = cancelled.completed_at.unwrap();
        let at = |later: i64| may_delete(candidate(&cancelled), KEEP, ended.plus(later));
        assert!(!at(0) && !at(100), "it is kept for as long as that");
        assert!(at(101));
        for life in [ready(1), running(1)] {
            assert!(!may_delete(candidate(&life), KEEP, Micros(i64::MAX)));
        }
        let long_after = ended.plus(1_000);
        let all = Retention::default();
        assert!(!may_delete(candidate(&cancelled), all, long_after));
        let ahead = RetentionCandidate {
            id: TaskId::new(long_after, [1; 10]),
            ..candidate(&cancelled)
        };
        assert!(!may_delete(ahead, KEEP, long_after));
        assert!(may_delete(ahead, KEEP, long_after.plus(100)));
        for (parent_goes_on, is_newest) in [(true, false), (false, true)] {
            let stays = RetentionCandidate {
                parent_goes_on,
                is_newest,
                ..candidate(&cancelled)
            };
            assert!(!may_delete(stays, KEEP, long_after));
        }
    }
}
