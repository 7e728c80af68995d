//! The one author of transitions.

mod fold;

use crate::{
    approval::NewApproval,
    code::Code,
    command::{Append, Command, Judgement, Next, Rejection},
    event::{NewEvent, TaskError, TaskEvent},
    json::Json,
    ports::NewTask,
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
    /// Children that begin with it.
    pub children: Vec<NewTask>,
    /// Approvals that are asked for with it.
    pub approvals: Vec<NewApproval>,
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
            | State::Paused
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
        Command::Block { key } => {
            let State::Pending = before.state else {
                return Err(Rejection::WrongState(name));
            };
            draft.engine(&TaskEvent::Waiting {
                wait: Wait::Concurrency { key },
            });
        }
        Command::Unblock => match before.state {
            State::Waiting(Wait::Concurrency { .. }) => draft.engine(&TaskEvent::Woken {}),
            _ => return Err(Rejection::WrongState(name)),
        },
        Command::Pause => match before.state {
            State::Cancelling { .. } => return Err(Rejection::Cancelling),
            _ if before.paused => {}
            _ => draft.engine(&TaskEvent::Paused {}),
        },
        Command::Resume => {
            if before.paused {
                draft.engine(&TaskEvent::Resumed {});
                // While it stood still others went first; its turn may have come since.
                if let State::Waiting(Wait::Concurrency { .. }) = before.state {
                    draft.engine(&TaskEvent::Woken {});
                }
            }
        }
        Command::Signal { name, payload } => {
            let awaited = match &before.state {
                State::Waiting(Wait::Signal { names, .. }) => names.contains(&name),
                _ => false,
            };
            draft.outside(&TaskEvent::Signalled { name, payload }, awaited);
        }
        Command::Limit(limits) => {
            let awaited = matches!(before.state, State::Waiting(Wait::Budget { .. }));
            draft.outside(&TaskEvent::Limited { limits }, awaited);
        }
        Command::Judge {
            step,
            judgement,
            by,
        } => draft.judge(before, step, judgement, by),
        Command::ChildEnded(end) => {
            let awaited = match &before.state {
                State::Waiting(Wait::Child { tasks, .. }) => {
                    tasks.iter().all(|task| *task == end.child)
                }
                _ => false,
            };
            draft.outside(&TaskEvent::ChildEnded(end), awaited);
        }
        Command::Cancel => match before.state {
            State::Running { .. } => draft.engine(&TaskEvent::CancelRequested {}),
            State::Cancelling { .. } => return Err(Rejection::Cancelling),
            State::Pending | State::Scheduled { .. } | State::Paused | State::Waiting(_) => {
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
}

/// A decision in the making: each event is applied as it is added.
struct Draft {
    events: Vec<NewEvent>,
    after: Lifecycle,
    outcome: Option<Outcome>,
    children: Vec<NewTask>,
    approvals: Vec<NewApproval>,
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
            children: Vec::new(),
            approvals: Vec::new(),
            now,
        }
    }

    fn engine(&mut self, event: &TaskEvent) {
        self.after = self.after.clone().apply(event, self.now);
        self.events.push(event.envelope());
    }

    /// Something from outside: it is logged whatever the task does, and ends a wait for it.
    fn outside(&mut self, event: &TaskEvent, awaited: bool) {
        self.engine(event);
        if awaited {
            self.engine(&TaskEvent::Woken {});
        }
    }

    fn judge(&mut self, before: &Lifecycle, step: u32, judgement: Judgement, by: Option<String>) {
        let awaited = match &before.state {
            State::Waiting(Wait::Approval { steps, .. }) => steps.contains(&step),
            _ => false,
        };
        match judgement {
            Judgement::Approve { input } => {
                self.outside(&TaskEvent::Approved { step, input, by }, awaited);
            }
            Judgement::Deny { reason } => {
                self.outside(&TaskEvent::Denied { step, reason, by }, awaited);
            }
            Judgement::Edit { input } => self.engine(&TaskEvent::Edited { step, input, by }),
        }
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
        self.after.ties.children |= !append.children.is_empty();
        self.after.ties.approvals |= !append.approvals.is_empty();
        self.children = append.children;
        self.approvals = append.approvals;
        match append.next {
            Next::Continue => {}
            Next::Complete { result } => {
                self.engine(&TaskEvent::Completed {});
                self.outcome = Some(Outcome::Result(result));
            }
            Next::Fail { error, retryable } => self.fail(error, retryable),
            Next::Wait(wait) => {
                // What was heard since the writer read the log may be what it waits for: it reads
                // again.
                let again = before.heard && wait.is_for_outside();
                self.engine(&TaskEvent::Waiting { wait });
                if again {
                    self.engine(&TaskEvent::Woken {});
                }
            }
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
            children: self.children,
            approvals: self.approvals,
        }
    }
}

#[cfg(test)]
mod tests;
