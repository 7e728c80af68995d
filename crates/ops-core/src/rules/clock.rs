//! Correction of times that were made under a clock that was ahead.
//!
//! Waits, delays and deadlines are times of the wall clock, the only clock that goes on while the machine
//! is off. A clock that stands at 2038 for a minute would leave a backoff of one second that ends in 2038.
//! So once the clock is behind the last event of a task by more than [`SLACK`], the task is corrected: the
//! event `task.clock_corrected` holds both times, and a wait that was to last three seconds lasts three
//! seconds from then on. No other event makes time run backwards within a task. A date that a person or a
//! model chose stays.

use crate::{
    task::{Lifecycle, State, Wait},
    time::{Micros, SECOND},
};

/// A clock that is set back by less than this leaves every date unchanged: times then come so much late.
pub const SLACK: i64 = 5 * SECOND;

/// Whether the task was written to under a clock that was ahead.
#[must_use]
pub fn was_ahead(life: &Lifecycle, now: Micros) -> bool {
    life.updated_at > now.plus(SLACK) && !units::mutant!("ops-core.a_wrong_clock_is_believed")
}

/// A time that was made up to `from` and is still to come, as the corrected clock counts it.
#[must_use]
pub fn corrected(at: Micros, from: Micros, to: Micros) -> Micros {
    match at > from {
        true => at.plus(to.0.saturating_sub(from.0)),
        false => at,
    }
}

/// Corrects a lifecycle.
pub(crate) fn correct(life: &mut Lifecycle, from: Micros, to: Micros) {
    // What has passed since the start stays what it was.
    if let Some(started) = life.started_at.as_mut().filter(|started| **started > to) {
        *started = started.plus(to.0.saturating_sub(from.0));
    }
    life.start_by = life.start_by.map(|at| corrected(at, from, to));
    let is_retry = life.started_at.is_some();
    match &mut life.state {
        State::Scheduled { until } if is_retry => *until = corrected(*until, from, to),
        State::Waiting(wait) => match wait {
            Wait::Timer { until, .. } => *until = corrected(*until, from, to),
            Wait::Approval { until, .. }
            | Wait::Signal { until, .. }
            | Wait::Child { until, .. }
            | Wait::Budget { until, .. } => {
                *until = until.map(|until| corrected(until, from, to));
            }
            Wait::InDoubt { .. } | Wait::Concurrency { .. } => {}
        },
        // A delayed start was asked for by its date.
        State::Scheduled { .. }
        | State::Pending
        | State::Paused
        | State::Running { .. }
        | State::Cancelling { .. }
        | State::Completed
        | State::Failed { .. }
        | State::Cancelled => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::{Next, RunCommand},
        event::TaskError,
        rules::{
            Cause, decide,
            fixtures::{new_task, next, session},
            limits,
            submit::submit,
        },
        task::WaitRequest,
    };

    const AHEAD: Micros = Micros(2_000_000_000 * SECOND);
    const NOW: Micros = Micros(1_000_000_000 * SECOND);

    fn after(life: &Lifecycle, cause: Cause, at: Micros) -> Lifecycle {
        decide(life, cause, at).unwrap().after
    }

    /// A task that began 7 s before the time that the wrong clock showed last.
    fn running(timeout: Option<i64>) -> Lifecycle {
        let mut new = new_task(1);
        new.task.limits.timeout_micros = timeout;
        let fresh = submit(&new, 0, AHEAD.plus(-9 * SECOND)).life;
        let session = session();
        after(&fresh, Cause::Claim { session }, AHEAD.plus(-7 * SECOND))
    }

    fn waiting(timeout: Option<i64>, request: WaitRequest) -> Lifecycle {
        let life = running(timeout);
        after(&life, next(&life, Next::Wait(request)), AHEAD)
    }

    fn failed(at: Micros) -> Lifecycle {
        let life = running(None);
        let error = TaskError {
            code: "broken".into(),
            message: String::new(),
        };
        let fail = Next::Fail {
            error,
            retryable: true,
        };
        after(&life, next(&life, fail), at)
    }

    /// engine/E4: what was made in 2033 does not last until then.
    #[test]
    fn waits_and_delays_last_as_long_as_they_were_to_last() {
        let until = AHEAD.plus(3 * SECOND);
        let timer = waiting(None, WaitRequest::Timer { until });
        let timer = after(&timer, Cause::CorrectClock, NOW);
        assert_eq!(timer.state.due(), Some(NOW.plus(3 * SECOND)));
        assert_eq!((timer.updated_at, timer.seq), (NOW, 4));
        assert!(decide(&timer, Cause::Wake, NOW.plus(2 * SECOND)).is_err());
        assert!(decide(&timer, Cause::Wake, NOW.plus(3 * SECOND)).is_ok());
        // Once is enough.
        assert!(decide(&timer, Cause::CorrectClock, NOW).is_err());

        let delay = failed(AHEAD).state.due().unwrap().0 - AHEAD.0;
        let retry = after(&failed(AHEAD), Cause::CorrectClock, NOW);
        assert_eq!(retry.state.due(), Some(NOW.plus(delay)));
        let approval = WaitRequest::Approval {
            steps: vec![1],
            until: Some(until),
        };
        let approval = after(&waiting(None, approval), Cause::CorrectClock, NOW);
        assert_eq!(approval.state.due(), Some(NOW.plus(3 * SECOND)));
    }

    /// engine/E4: the deadline counts from the start, which had passed 7 s before.
    #[test]
    fn a_deadline_keeps_what_is_left_of_it() {
        let doubt = WaitRequest::InDoubt { steps: vec![1] };
        let life = waiting(Some(10 * SECOND), doubt);
        assert_eq!(limits::expires(&life), Some(AHEAD.plus(3 * SECOND)));
        let life = after(&life, Cause::CorrectClock, NOW);
        assert_eq!(limits::expires(&life), Some(NOW.plus(3 * SECOND)));
    }

    #[test]
    fn a_delay_that_is_made_now_counts_from_now() {
        let life = failed(NOW);
        let due = life.state.due().unwrap();
        assert!(due < NOW.plus(2 * SECOND), "{due:?}");
        // It was right, so the correction leaves it.
        let life = after(&life, Cause::CorrectClock, NOW.plus(SECOND));
        assert_eq!(life.state.due(), Some(due));
    }

    #[test]
    fn a_date_that_was_asked_for_stays() {
        let mut new = new_task(1);
        let run_at = AHEAD.plus(3_600 * SECOND);
        new.task.run_at = Some(run_at);
        let life = submit(&new, 0, AHEAD).life;
        let life = after(&life, Cause::CorrectClock, NOW);
        assert_eq!(life.state.due(), Some(run_at));
    }

    #[test]
    fn a_task_that_is_taken_up_begins_now() {
        let life = submit(&new_task(1), 0, AHEAD).life;
        let session = session();
        let taken = decide(&life, Cause::Claim { session }, NOW).unwrap();
        let kinds: Vec<_> = taken.events.iter().map(|event| &*event.kind).collect();
        assert_eq!(kinds, ["task.clock_corrected", "task.leased"]);
        assert_eq!(taken.after.started_at, Some(NOW));
        // The events of an append come where its writer expects them.
        let release = Cause::Run(RunCommand::release(1));
        let released = decide(&running(None), release, NOW).unwrap();
        assert_eq!(released.events.len(), 1);
    }

    #[test]
    fn a_clock_that_slips_changes_nothing() {
        let life = failed(AHEAD);
        for back in [0, 1, SLACK] {
            let now = AHEAD.plus(-back);
            assert!(!was_ahead(&life, now));
            assert!(decide(&life, Cause::CorrectClock, now).is_err());
        }
        assert!(was_ahead(&life, AHEAD.plus(-SLACK - 1)));
        // An approval that was asked for before lasts until the same date.
        assert_eq!(corrected(NOW, AHEAD, NOW), NOW);
    }
}
