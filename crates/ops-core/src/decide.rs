//! The one author of transitions.

use crate::{
    code::Code,
    command::{Append, Command, Next, Rejection},
    event::{NewEvent, StepStatus, TaskError, TaskEvent},
    json::Json,
    task::{Lifecycle, State, Wait},
    time::Micros,
};

/// What a command leads to: committed as a whole or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The events, which take the numbers after `before.seq`.
    pub events: Vec<NewEvent>,
    /// The lifecycle after them.
    pub after: Lifecycle,
    /// The end, if this is one.
    pub outcome: Option<Outcome>,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// With a result.
    Result(Json),
    /// Without one.
    Error(TaskError),
}

/// Decides what a command does to a task. Pure: the same arguments give the same decision.
///
/// # Errors
/// A [`Rejection`] says why the command does not apply; nothing changes then.
pub fn decide(before: &Lifecycle, command: Command, now: Micros) -> Result<Decision, Rejection> {
    let name = before.state.name();
    if name.is_terminal() {
        return Err(Rejection::Terminal(name));
    }
    let mut draft = Draft::new(before, now);
    match command {
        Command::Claim { session } => {
            let State::Pending = before.state else {
                return Err(Rejection::WrongState(name));
            };
            draft.engine(&TaskEvent::Leased {
                session,
                epoch: before.epoch + 1,
                attempt: before.attempt,
            });
        }
        Command::Append(append) => draft.append(before, append)?,
        Command::Release { epoch } => {
            before.check_lease(epoch)?;
            draft.engine(&TaskEvent::Released { epoch });
        }
        Command::LoseLease => match before.state {
            State::Running { .. } => draft.lose_lease(before),
            State::Cancelling { .. } => draft.engine(&TaskEvent::Cancelled {}),
            State::Pending
            | State::Scheduled { .. }
            | State::Waiting(_)
            | State::Completed
            | State::Failed { .. }
            | State::Cancelled => return Err(Rejection::WrongState(name)),
        },
        Command::Wake => match before.state.due() {
            Some(due) if due <= now => draft.engine(&TaskEvent::Woken {}),
            Some(_) => return Err(Rejection::NotDue),
            None => return Err(Rejection::WrongState(name)),
        },
        Command::Cancel => match before.state {
            State::Running { .. } => draft.engine(&TaskEvent::CancelRequested {}),
            State::Cancelling { .. } => return Err(Rejection::Cancelling),
            State::Pending | State::Scheduled { .. } | State::Waiting(_) => {
                draft.engine(&TaskEvent::Cancelled {});
            }
            State::Completed | State::Failed { .. } | State::Cancelled => {
                return Err(Rejection::Terminal(name));
            }
        },
        Command::Resolve { step, resolution } => {
            let State::Waiting(Wait::InDoubt { steps }) = &before.state else {
                return Err(Rejection::NotInDoubt(step));
            };
            if !steps.contains(&step) {
                return Err(Rejection::NotInDoubt(step));
            }
            draft.engine(&TaskEvent::Resolved { step, resolution });
            let rest: Vec<u32> = steps.iter().copied().filter(|open| *open != step).collect();
            if rest.is_empty() {
                draft.engine(&TaskEvent::Woken {});
            } else {
                draft.engine(&TaskEvent::Waiting {
                    wait: Wait::InDoubt { steps: rest },
                });
            }
        }
    }
    Ok(draft.finish())
}

impl Lifecycle {
    fn check_lease(&self, epoch: u64) -> Result<(), Rejection> {
        if epoch != self.epoch {
            return Err(Rejection::StaleEpoch {
                given: epoch,
                current: self.epoch,
            });
        }
        match self.state.session() {
            Some(_) => Ok(()),
            None => Err(Rejection::WrongState(self.state.name())),
        }
    }

    /// The lifecycle after one more event. Every event applies to every lifecycle: whether it may
    /// happen is decided before, in [`decide`].
    #[must_use]
    pub fn apply(mut self, event: &TaskEvent, at: Micros) -> Self {
        self.seq += 1;
        self.updated_at = at;
        self.state = match event {
            TaskEvent::Submitted {
                run_at: Some(until),
                ..
            } if *until > at => State::Scheduled { until: *until },
            TaskEvent::Submitted { .. } | TaskEvent::Woken {} | TaskEvent::Released { .. } => {
                // A cancel that is not confirmed yet outlives the release of the lease.
                match self.state {
                    State::Cancelling { .. } => State::Cancelled,
                    _ => State::Pending,
                }
            }
            TaskEvent::Leased {
                session,
                epoch,
                attempt,
            } => {
                self.epoch = *epoch;
                self.attempt = *attempt;
                self.started_at = self.started_at.or(Some(at));
                State::Running { session: *session }
            }
            TaskEvent::LeaseLost { losses, .. } => {
                self.lease_losses = *losses;
                State::Pending
            }
            TaskEvent::Waiting { wait } => State::Waiting(wait.clone()),
            TaskEvent::RetryScheduled { attempt, until, .. } => {
                self.attempt = *attempt;
                State::Scheduled { until: *until }
            }
            TaskEvent::CancelRequested {} => match self.state.session() {
                Some(session) => State::Cancelling { session },
                None => State::Cancelled,
            },
            TaskEvent::Cancelled {} => State::Cancelled,
            TaskEvent::Completed {} => State::Completed,
            TaskEvent::Failed { dead_letter, .. } => State::Failed {
                dead_letter: *dead_letter,
            },
            TaskEvent::Resolved { .. } => self.state,
        };
        if self.state.name().is_terminal() {
            self.completed_at = Some(at);
        }
        self
    }

    /// The lifecycle after one more event of the run, of which only the envelope is known.
    #[must_use]
    pub fn apply_run(mut self, event: &NewEvent, at: Micros) -> Self {
        self.seq += 1;
        self.updated_at = at;
        self.usage += event.usage;
        self.run_started = true;
        match event.step.map(|mark| mark.status) {
            Some(StepStatus::Completed | StepStatus::Failed | StepStatus::Resolved) => {
                self.lease_losses = 0;
            }
            Some(StepStatus::Queued | StepStatus::Started) | None => {}
        }
        self
    }
}

/// A decision in the making: each event is applied as it is added.
struct Draft {
    events: Vec<NewEvent>,
    after: Lifecycle,
    outcome: Option<Outcome>,
    now: Micros,
}

impl Draft {
    fn new(before: &Lifecycle, now: Micros) -> Self {
        // Time never runs backwards within a task, whatever the clock does.
        let now = now.max(before.updated_at);
        Self {
            events: Vec::new(),
            after: before.clone(),
            outcome: None,
            now,
        }
    }

    fn engine(&mut self, event: &TaskEvent) {
        self.after = self.after.clone().apply(event, self.now);
        self.events.push(event.envelope());
    }

    fn append(&mut self, before: &Lifecycle, append: Append) -> Result<(), Rejection> {
        before.check_lease(append.epoch)?;
        if append.expected_seq != before.seq {
            return Err(Rejection::WrongSeq {
                given: append.expected_seq,
                current: before.seq,
            });
        }
        let cancelling = matches!(before.state, State::Cancelling { .. });
        match (cancelling, &append.next) {
            // A run that got to its end before the cancel reached it has ended.
            (
                true,
                Next::Continue
                | Next::Wait(_)
                | Next::Fail {
                    retryable: true, ..
                },
            ) => {
                return Err(Rejection::Cancelling);
            }
            (false, Next::Cancelled) => return Err(Rejection::WrongState(before.state.name())),
            _ => {}
        }
        for event in append.events {
            self.after = self.after.clone().apply_run(&event, self.now);
            self.events.push(event);
        }
        match append.next {
            Next::Continue => {}
            Next::Complete { result } => {
                self.engine(&TaskEvent::Completed {});
                self.outcome = Some(Outcome::Result(result));
            }
            Next::Fail { error, retryable } => self.fail(error, retryable),
            Next::Wait(wait) => self.engine(&TaskEvent::Waiting { wait }),
            Next::Cancelled => self.engine(&TaskEvent::Cancelled {}),
        }
        Ok(())
    }

    fn fail(&mut self, error: TaskError, retryable: bool) {
        let life = &self.after;
        if retryable && life.attempt < life.retry.max_attempts {
            let until = life.retry.next_start(life.id, life.attempt, self.now);
            let attempt = life.attempt + 1;
            self.engine(&TaskEvent::RetryScheduled {
                attempt,
                until,
                error,
            });
        } else {
            self.engine(&TaskEvent::Failed {
                error: error.clone(),
                dead_letter: retryable,
            });
            self.outcome = Some(Outcome::Error(error));
        }
    }

    fn lose_lease(&mut self, before: &Lifecycle) {
        let losses = before.lease_losses + 1;
        self.engine(&TaskEvent::LeaseLost {
            epoch: before.epoch,
            losses,
        });
        if losses >= before.retry.max_lease_losses.max(1) {
            let error = TaskError {
                code: Code::WorkerLost.as_str().to_owned(),
                message: format!(
                    "{losses} workers in a row were lost while they ran this task, without one \
                     recorded outcome in between"
                ),
            };
            self.engine(&TaskEvent::Failed {
                error: error.clone(),
                dead_letter: true,
            });
            self.outcome = Some(Outcome::Error(error));
        }
    }

    fn finish(self) -> Decision {
        Decision {
            events: self.events,
            after: self.after,
            outcome: self.outcome,
        }
    }
}

#[cfg(test)]
mod tests;
