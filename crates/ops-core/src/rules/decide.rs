//! The one author of transitions.

use super::{
    cause::{Cause, DecidedApproval},
    clock, limits,
};
use crate::{
    actor::Actor,
    approval::NewApproval,
    code::Code,
    command::{Append, ChildSpec, Next, Rejection, RunAction, RunCommand, TaskAction, TaskCommand},
    event::{NewEvent, TaskError, TaskEvent},
    json::Json,
    task::{Lifecycle, State, Wait},
    time::Micros,
};

/// The result of a cause: committed as a whole or not at all. Only [`decide()`] makes a transition.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Transition {
    /// The events, which take the numbers after `before.seq`.
    pub events: Vec<NewEvent>,
    /// The lifecycle after them.
    pub after: Lifecycle,
    /// The task's end, if the transition ends the task.
    pub outcome: Option<Outcome>,
    /// Children that begin with the transition.
    pub children: Vec<ChildSpec>,
    /// Approvals that open with the transition.
    pub approvals: Vec<NewApproval>,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// With a result.
    Result(Json),
    /// Without a result.
    Error(TaskError),
}

/// Decides a task's next transition. Pure: the same arguments give the same transition.
///
/// # Errors
/// A [`Rejection`] says why the cause does not apply; the task does not change then.
pub fn decide(before: &Lifecycle, cause: Cause, now: Micros) -> Result<Transition, Rejection> {
    let name = before.state.name();
    if name.is_terminal() {
        return Err(Rejection::Terminal(name));
    }
    let wrong_state = Err(Rejection::WrongState(name));
    let mut next = Builder::new(before, now);
    match &cause {
        // A writer that repeats an append looks for its events where it expected them.
        Cause::Run(_) => {}
        Cause::CorrectClock if !clock::was_ahead(before, now) => return wrong_state,
        _ => next.correct_clock(before),
    }
    match cause {
        Cause::CorrectClock => {}
        Cause::Task(TaskCommand { actor, action }) => {
            next.actor = Some(actor);
            next.task(before, action)?;
        }
        Cause::Run(RunCommand { epoch, action }) => {
            before.check_lease(epoch)?;
            match action {
                RunAction::Append(append) => next.append(before, append)?,
                RunAction::Release => next.event(&TaskEvent::Released { epoch }),
            }
        }
        Cause::Claim { session } => {
            let State::Pending = before.state else {
                return wrong_state;
            };
            next.event(&TaskEvent::Leased {
                session,
                epoch: before.epoch + 1,
                attempt: before.attempt,
            });
        }
        Cause::LoseLease => match before.state {
            State::Running { .. } => next.lose_lease(before),
            State::Cancelling { .. } => next.event(&TaskEvent::Cancelled {}),
            State::Pending
            | State::Scheduled { .. }
            | State::Paused
            | State::Waiting(_)
            | State::Completed
            | State::Failed { .. }
            | State::Cancelled => return wrong_state,
        },
        Cause::Wake => match before.state.due() {
            Some(due) if due <= now => next.event(&TaskEvent::Woken {}),
            Some(_) => return Err(Rejection::NotDue),
            None => return wrong_state,
        },
        Cause::Expire => match limits::expires(before) {
            Some(deadline) if deadline <= now => next.end(limits::expired(before), false),
            Some(_) => return Err(Rejection::NotDue),
            None => return wrong_state,
        },
        Cause::Block { key } => {
            let State::Pending = before.state else {
                return wrong_state;
            };
            next.event(&TaskEvent::Waiting {
                wait: Wait::Concurrency { key },
            });
        }
        Cause::Unblock => match before.state {
            State::Waiting(Wait::Concurrency { .. }) => next.event(&TaskEvent::Woken {}),
            _ => return wrong_state,
        },
        Cause::BudgetSettled => match before.state {
            State::Waiting(Wait::Budget { .. }) => next.event(&TaskEvent::Woken {}),
            _ => return wrong_state,
        },
        Cause::ParentStopped => {
            next.actor = Some(Actor::Machine);
            next.cancel(before)?;
        }
        Cause::ApprovalDecided {
            actor,
            step,
            decided,
            by,
        } => {
            next.actor = Some(actor);
            next.approval(before, step, decided, by);
        }
        Cause::ChildEnded(end) => {
            let awaited = match &before.state {
                State::Waiting(Wait::Child { tasks, .. }) => {
                    tasks.iter().all(|task| *task == end.child)
                }
                _ => false,
            };
            next.external(&TaskEvent::ChildEnded(end), awaited);
        }
    }
    Ok(next.finish())
}

impl Lifecycle {
    /// Whether the lease of an epoch is the task's last lease.
    ///
    /// # Errors
    /// [`Rejection::StaleEpoch`] if another lease came after the epoch.
    pub fn check_epoch(&self, epoch: u64) -> Result<(), Rejection> {
        if epoch == self.epoch || units::mutant!("ops-core.stale_epoch") {
            return Ok(());
        }
        Err(Rejection::StaleEpoch {
            given: epoch,
            current: self.epoch,
        })
    }

    /// Whether the holder of the lease of an epoch still holds the task.
    fn check_lease(&self, epoch: u64) -> Result<(), Rejection> {
        self.check_epoch(epoch)?;
        match self.state.session() {
            Some(_) => Ok(()),
            None => Err(Rejection::WrongState(self.state.name())),
        }
    }
}

/// A transition in the making: each event is applied as it is added.
struct Builder {
    events: Vec<NewEvent>,
    after: Lifecycle,
    outcome: Option<Outcome>,
    children: Vec<ChildSpec>,
    approvals: Vec<NewApproval>,
    /// Who asked, if a command did; the events say so.
    actor: Option<Actor>,
    /// The time of the events.
    now: Micros,
    /// The present time: delays count from here.
    clock: Micros,
}

impl Builder {
    fn new(before: &Lifecycle, clock: Micros) -> Self {
        Self {
            // Time does not run backwards within a task, unless an event says so.
            now: clock.max(before.updated_at),
            clock,
            events: Vec::new(),
            after: before.clone(),
            outcome: None,
            children: Vec::new(),
            approvals: Vec::new(),
            actor: None,
        }
    }

    /// Corrects a task that was written to under a clock that was ahead.
    fn correct_clock(&mut self, before: &Lifecycle) {
        if clock::was_ahead(before, self.clock) {
            self.now = self.clock;
            self.event(&TaskEvent::ClockCorrected {
                from: before.updated_at,
                to: self.clock,
            });
        }
    }

    fn event(&mut self, event: &TaskEvent) {
        self.after = self.after.clone().apply(event, self.now);
        self.events.push(event.envelope_by(self.actor.as_ref()));
    }

    /// Records an external event whatever the task does, and wakes a task that waits for it.
    fn external(&mut self, event: &TaskEvent, awaited: bool) {
        self.event(event);
        if awaited {
            self.event(&TaskEvent::Woken {});
        }
    }

    fn task(&mut self, before: &Lifecycle, action: TaskAction) -> Result<(), Rejection> {
        match action {
            TaskAction::Cancel => self.cancel(before)?,
            TaskAction::Pause => match before.state {
                State::Cancelling { .. } => return Err(Rejection::Cancelling),
                _ if before.paused => {}
                _ => self.event(&TaskEvent::Paused {}),
            },
            TaskAction::Resume => {
                if before.paused {
                    self.event(&TaskEvent::Resumed {});
                    // While the task was held others went first; its turn may have come since.
                    if let State::Waiting(Wait::Concurrency { .. }) = before.state {
                        self.event(&TaskEvent::Woken {});
                    }
                }
            }
            TaskAction::Signal { name, payload } => {
                let awaited = match &before.state {
                    State::Waiting(Wait::Signal { names, .. }) => names.contains(&name),
                    _ => false,
                };
                self.external(&TaskEvent::Signalled { name, payload }, awaited);
            }
            TaskAction::Limit(limits) => {
                let awaited = matches!(before.state, State::Waiting(Wait::Budget { .. }));
                self.external(&TaskEvent::Limited { limits }, awaited);
            }
            TaskAction::Resolve {
                step,
                resolution,
                by,
            } => {
                let State::Waiting(Wait::InDoubt { steps }) = &before.state else {
                    return Err(Rejection::NotInDoubt(step));
                };
                if !steps.contains(&step) {
                    return Err(Rejection::NotInDoubt(step));
                }
                self.event(&TaskEvent::Resolved {
                    step,
                    resolution,
                    by,
                });
                let open = steps.iter().copied().filter(|open| *open != step);
                let steps: Vec<u32> = open.collect();
                if steps.is_empty() {
                    self.event(&TaskEvent::Woken {});
                } else {
                    self.event(&TaskEvent::Waiting {
                        wait: Wait::InDoubt { steps },
                    });
                }
            }
        }
        Ok(())
    }

    fn cancel(&mut self, before: &Lifecycle) -> Result<(), Rejection> {
        match before.state {
            State::Running { .. } => self.event(&TaskEvent::CancelRequested {}),
            State::Cancelling { .. } => return Err(Rejection::Cancelling),
            State::Pending | State::Scheduled { .. } | State::Paused | State::Waiting(_) => {
                self.event(&TaskEvent::Cancelled {});
            }
            State::Completed | State::Failed { .. } | State::Cancelled => {
                return Err(Rejection::Terminal(before.state.name()));
            }
        }
        Ok(())
    }

    fn approval(
        &mut self,
        before: &Lifecycle,
        step: u32,
        decided: DecidedApproval,
        by: Option<String>,
    ) {
        let awaited = match &before.state {
            State::Waiting(Wait::Approval { steps, .. }) => steps.contains(&step),
            _ => false,
        };
        match decided {
            DecidedApproval::Approved { input } => {
                self.external(&TaskEvent::Approved { step, input, by }, awaited);
            }
            DecidedApproval::Denied { reason } => {
                self.external(&TaskEvent::Denied { step, reason, by }, awaited);
            }
            DecidedApproval::Edited { input } => {
                self.event(&TaskEvent::Edited { step, input, by });
            }
        }
    }

    fn append(&mut self, before: &Lifecycle, append: Append) -> Result<(), Rejection> {
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
        if let Some(in_force) = &append.limits {
            limits::hold(&mut self.after, in_force);
        }
        self.after.relations.children |= !append.children.is_empty();
        self.after.relations.approvals |= !append.approvals.is_empty();
        self.children = append.children;
        self.approvals = append.approvals;
        match append.next {
            Next::Continue => {}
            Next::Complete { result } => {
                self.event(&TaskEvent::Completed {});
                self.outcome = Some(Outcome::Result(result));
            }
            Next::Fail { error, retryable } => self.fail(error, retryable),
            Next::Wait(wait) => {
                let wait = Wait::from_request(wait);
                // An external event since the writer read the log may be what the run waits for: the
                // next holder reads the log again.
                let again = before.external_pending && wait.is_external();
                self.event(&TaskEvent::Waiting { wait });
                if again {
                    self.event(&TaskEvent::Woken {});
                }
            }
            Next::Cancelled => self.event(&TaskEvent::Cancelled {}),
        }
        Ok(())
    }

    fn fail(&mut self, error: TaskError, retryable: bool) {
        let life = &self.after;
        if retryable && life.attempt < life.retry.max_attempts {
            let until = life.retry.next_start(life.id, life.attempt, self.clock);
            let attempt = life.attempt + 1;
            self.event(&TaskEvent::RetryScheduled {
                attempt,
                until,
                error,
            });
        } else {
            self.end(error, retryable);
        }
    }

    fn end(&mut self, error: TaskError, dead_letter: bool) {
        self.event(&TaskEvent::Failed {
            error: error.clone(),
            dead_letter,
        });
        self.outcome = Some(Outcome::Error(error));
    }

    fn lose_lease(&mut self, before: &Lifecycle) {
        let losses = before.lease_losses + 1;
        self.event(&TaskEvent::LeaseLost {
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
            self.end(error, true);
        }
    }

    fn finish(self) -> Transition {
        Transition {
            events: self.events,
            after: self.after,
            outcome: self.outcome,
            children: self.children,
            approvals: self.approvals,
        }
    }
}

#[cfg(test)]
mod tests;
