//! Rules of a task's limits.
//!
//! A run keeps to its limits as long as a worker drives the run. The limit on its time goes on without a
//! worker: a task that waits for its next attempt, for a decision about a step in doubt, or for a worker of
//! a queue that nobody serves would hold its concurrency key for ever. So the engine ends the task at its
//! deadline.

use crate::{
    event::TaskError,
    task::{Lifecycle, OnExhausted, State, TaskLimits, Wait},
    time::Micros,
};

/// The code of a task that did not end by its deadline. A run that ends itself has the same code.
pub const TIMEOUT: &str = "timeout";

/// The code of a task that did not start in time.
pub const QUEUE_TIMEOUT: &str = "queue_timeout";

/// Takes over the limits that are named, as far as a lifecycle keeps them.
pub(crate) fn hold(life: &mut Lifecycle, limits: &TaskLimits) {
    life.timeout = limits.timeout_micros.or(life.timeout);
    if let Some(patience) = limits.queue_timeout_micros {
        life.start_by = Some(life.updated_at.plus(patience));
    }
    if let Some(on_exhausted) = limits.on_exhausted {
        life.waits_for_limits = match on_exhausted {
            OnExhausted::Fail => false,
            OnExhausted::Wait => true,
        };
    }
}

/// When the engine ends the task; `None` if the engine does not, or not in the task's present state.
///
/// The holder of a lease sees to the deadline itself, and records its results by then. A person who paused
/// the task may want to give the task more time before its resume. A run that waits for another limit has
/// looked at its deadline.
#[must_use]
pub fn expires(life: &Lifecycle) -> Option<Micros> {
    if life.paused || units::mutant!("ops-core.no_deadline_without_a_worker") {
        return None;
    }
    match &life.state {
        State::Pending | State::Scheduled { .. } => {}
        State::Waiting(wait) => match wait {
            Wait::Timer { .. }
            | Wait::InDoubt { .. }
            | Wait::Approval { .. }
            | Wait::Signal { .. }
            | Wait::Child { .. }
            | Wait::Concurrency { .. } => {}
            Wait::Budget { .. } => return None,
        },
        State::Paused
        | State::Running { .. }
        | State::Cancelling { .. }
        | State::Completed
        | State::Failed { .. }
        | State::Cancelled => return None,
    }
    match life.started_at {
        None => life.start_by,
        Some(_) if life.waits_for_limits => None,
        Some(started) => Some(started.plus(life.timeout?)),
    }
}

/// When the clock alone changes the task, by its state or by its deadline.
#[must_use]
pub fn due(life: &Lifecycle) -> Option<Micros> {
    life.state.due().into_iter().chain(expires(life)).min()
}

/// Why a task that is past its deadline ends.
pub(crate) fn expired(life: &Lifecycle) -> TaskError {
    if life.started_at.is_none() {
        let stood = match &life.state {
            State::Waiting(Wait::Concurrency { .. }) => "another task holds its concurrency key",
            _ => "no worker had a free slot for it",
        };
        return TaskError {
            code: QUEUE_TIMEOUT.to_owned(),
            message: format!("the task had to start within `limits.queue_timeout`: {stood}"),
        };
    }
    let stood = match &life.state {
        State::Scheduled { .. } => "it waited for its next attempt".to_owned(),
        State::Waiting(Wait::InDoubt { steps }) => {
            let steps: Vec<_> = steps.iter().map(u32::to_string).collect();
            format!(
                "nobody had decided about step {}, whose outcome is unknown",
                steps.join(", ")
            )
        }
        State::Waiting(Wait::Timer {
            error: Some(error), ..
        }) => format!(
            "it waited to try a model call again that had failed: {}",
            error.message
        ),
        State::Waiting(Wait::Timer { error: None, .. }) => {
            "it waited for a timer, such as the one before the next try of a model call that failed; `opspawn task \
             logs` names the last failure"
                .to_owned()
        }
        State::Waiting(wait) => format!("it waited: {}", wait.name()),
        State::Pending
        | State::Paused
        | State::Running { .. }
        | State::Cancelling { .. }
        | State::Completed
        | State::Failed { .. }
        | State::Cancelled => "no worker had taken it up again".to_owned(),
    };
    TaskError {
        code: TIMEOUT.to_owned(),
        message: format!("the task did not end by its deadline: {stood}; raise `limits.timeout`"),
    }
}

/// Limits laid over others: a named limit replaces the limit below.
#[must_use]
pub fn lay_over(new: TaskLimits, below: TaskLimits) -> TaskLimits {
    TaskLimits {
        max_steps: new.max_steps.or(below.max_steps),
        max_tokens: new.max_tokens.or(below.max_tokens),
        max_cost_micros: new.max_cost_micros.or(below.max_cost_micros),
        timeout_micros: new.timeout_micros.or(below.timeout_micros),
        queue_timeout_micros: new.queue_timeout_micros.or(below.queue_timeout_micros),
        on_exhausted: new.on_exhausted.or(below.on_exhausted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        actor::Actor,
        command::{Next, TaskAction},
        rules::{
            Cause, decide,
            fixtures::{after, new_task, next, session},
            submit::submit,
        },
        task::WaitRequest,
    };

    /// engine/E5: a deadline is kept where no worker is there to keep it.
    #[test]
    fn a_task_expires_where_nobody_else_sees_to_its_deadline() {
        let timed = |timeout, on_exhausted| {
            let mut new = new_task(1);
            new.task.limits.timeout_micros = timeout;
            new.task.limits.on_exhausted = on_exhausted;
            submit(&new, 0, Micros(1)).life
        };
        let begun = |timeout, on_exhausted| {
            let session = session();
            after(&timed(timeout, on_exhausted), Cause::Claim { session })
        };
        let wait = |life: &Lifecycle, request| after(life, next(life, Next::Wait(request)));
        let started = Micros(9);
        let running = begun(Some(5), None);
        let doubt = || WaitRequest::InDoubt { steps: vec![1] };
        let budget = WaitRequest::Budget {
            limit: TIMEOUT.to_owned(),
            message: String::new(),
            until: None,
        };
        let fail = Next::Fail {
            error: expired(&running),
            retryable: true,
        };
        let pause = || Cause::Task(TaskAction::Pause.by(Actor::Local));
        let end = Some(started.plus(5));
        for (life, expected) in [
            (timed(Some(5), None), None),
            (running.clone(), None),
            (wait(&running, doubt()), end),
            (
                wait(&running, WaitRequest::Timer { until: Micros(99) }),
                end,
            ),
            (after(&running, next(&running, fail)), end),
            (after(&running, Cause::LoseLease), end),
            (wait(&running, budget), None),
            (after(&wait(&running, doubt()), pause()), None),
            (wait(&begun(None, None), doubt()), None),
            (
                wait(&begun(Some(5), Some(OnExhausted::Wait)), doubt()),
                None,
            ),
            (
                wait(&begun(Some(i64::MAX), None), doubt()),
                Some(Micros(i64::MAX)),
            ),
        ] {
            assert_eq!(expires(&life), expected, "{life:?}");
            let early = decide(&life, Cause::Expire, Micros(13));
            assert!(early.is_err(), "{life:?}");
            let late = decide(&life, Cause::Expire, Micros(14));
            assert_eq!(late.is_ok(), expected == end, "{life:?}");
        }
        let waiting = wait(&running, WaitRequest::Timer { until: Micros(99) });
        assert_eq!(due(&waiting), end);
        let ended = decide(&waiting, Cause::Expire, Micros(14)).unwrap();
        assert!(matches!(
            ended.after.state,
            State::Failed { dead_letter: false }
        ));
    }

    /// A task that never starts has an age limit of its own.
    #[test]
    fn a_task_that_does_not_start_expires_as_well() {
        let mut new = new_task(1);
        new.task.limits.queue_timeout_micros = Some(5);
        // The policy on used-up limits is the run's.
        new.task.limits.on_exhausted = Some(OnExhausted::Wait);
        let fresh = submit(&new, 0, Micros(1)).life;
        assert_eq!(expires(&fresh), Some(Micros(6)));
        let ended = decide(&fresh, Cause::Expire, Micros(6)).unwrap();
        assert!(ended.after.state.name().is_terminal());
        assert_eq!(expired(&fresh).code, QUEUE_TIMEOUT);
        let blocked = after(&fresh, Cause::Block { key: "k".into() });
        assert_eq!(expires(&blocked), Some(Micros(6)));
        assert!(expired(&blocked).message.contains("concurrency key"));
        let paused = after(&fresh, Cause::Task(TaskAction::Pause.by(Actor::Local)));
        assert_eq!(expires(&paused), None);
        let session = session();
        let begun = after(&fresh, Cause::Claim { session });
        let back = after(&begun, Cause::LoseLease);
        assert_eq!(expires(&back), None);
        // A delayed start counts from its date.
        new.task.run_at = Some(Micros(100));
        let delayed = submit(&new, 0, Micros(1)).life;
        assert_eq!(
            (due(&delayed), expires(&delayed)),
            (Some(Micros(100)), Some(Micros(105)))
        );
        // One that is given later counts from then.
        let more = TaskLimits {
            queue_timeout_micros: Some(50),
            ..TaskLimits::default()
        };
        let limit = Cause::Task(TaskAction::Limit(more).by(Actor::Local));
        assert_eq!(expires(&after(&fresh, limit)), Some(Micros(59)));
    }

    #[test]
    fn limits_that_are_named_replace_the_ones_below() {
        let below = TaskLimits {
            max_steps: Some(1),
            max_tokens: Some(2),
            on_exhausted: Some(OnExhausted::Fail),
            ..TaskLimits::default()
        };
        let new = TaskLimits {
            max_steps: Some(9),
            timeout_micros: Some(5),
            on_exhausted: Some(OnExhausted::Wait),
            ..TaskLimits::default()
        };
        let laid = lay_over(new, below);
        assert_eq!((laid.max_steps, laid.max_tokens), (Some(9), Some(2)));
        assert_eq!(laid.timeout_micros, Some(5));
        assert_eq!(laid.on_exhausted, Some(OnExhausted::Wait));
        assert_eq!(lay_over(TaskLimits::default(), below), below);
    }
}
