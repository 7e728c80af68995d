//! The fold: a lifecycle and one event more.

use crate::{
    event::{NewEvent, StepStatus, TaskEvent},
    rules::{clock, limits},
    task::{Lifecycle, State, Wait},
    time::Micros,
};

impl Lifecycle {
    /// The lifecycle after another event. Every event applies to every lifecycle:
    /// [`decide()`](super::decide) has decided before whether the event may happen.
    #[must_use]
    pub(crate) fn apply(mut self, event: &TaskEvent, at: Micros) -> Self {
        self.seq += 1;
        self.updated_at = at;
        self.state = match event {
            TaskEvent::Submitted {
                run_at: Some(until),
                ..
            } if *until > at => State::Scheduled { until: *until },
            TaskEvent::Submitted { .. } | TaskEvent::Woken {} => self.ready(),
            TaskEvent::Released { .. } => match self.state {
                // A cancel that is not confirmed yet outlives the release of the lease.
                State::Cancelling { .. } => State::Cancelled,
                _ => self.ready(),
            },
            TaskEvent::Leased {
                session,
                epoch,
                attempt,
            } => {
                self.epoch = *epoch;
                self.attempt = *attempt;
                self.started_at = self.started_at.or(Some(at));
                self.external_pending = false;
                State::Running { session: *session }
            }
            TaskEvent::LeaseLost { losses, .. } => {
                self.lease_losses = *losses;
                self.ready()
            }
            TaskEvent::Waiting { wait } => State::Waiting(wait.clone()),
            TaskEvent::RetryScheduled {
                attempt,
                until,
                error,
            } => {
                self.attempt = *attempt;
                self.failure = Some(error.clone());
                State::Scheduled { until: *until }
            }
            TaskEvent::CancelRequested {} => match self.state.session() {
                Some(session) => State::Cancelling { session },
                None => State::Cancelled,
            },
            TaskEvent::Cancelled {} => State::Cancelled,
            TaskEvent::Completed {} => {
                self.failure = None;
                State::Completed
            }
            TaskEvent::Failed { error, dead_letter } => {
                self.failure = Some(error.clone());
                State::Failed {
                    dead_letter: *dead_letter,
                }
            }
            TaskEvent::Paused {} => {
                self.paused = true;
                match self.state {
                    State::Pending => State::Paused,
                    other => other,
                }
            }
            TaskEvent::Resumed {} => {
                self.paused = false;
                match self.state {
                    State::Paused => State::Pending,
                    other => other,
                }
            }
            TaskEvent::ChildEnded(end) => {
                self.note_external();
                self.children_usage += end.used;
                match self.state {
                    State::Waiting(Wait::Child { mut tasks, until }) => {
                        tasks.retain(|task| *task != end.child);
                        State::Waiting(Wait::Child { tasks, until })
                    }
                    other => other,
                }
            }
            TaskEvent::Limited { limits } => {
                self.note_external();
                limits::hold(&mut self, limits);
                self.state
            }
            TaskEvent::ClockCorrected { from, to } => {
                self.note_external();
                clock::correct(&mut self, *from, *to);
                self.state
            }
            TaskEvent::Signalled { .. }
            | TaskEvent::Approved { .. }
            | TaskEvent::Denied { .. }
            | TaskEvent::Resolved { .. } => {
                self.note_external();
                self.state
            }
            TaskEvent::Forked { .. } => {
                self.run_started = true;
                self.state
            }
            TaskEvent::Noted { .. } | TaskEvent::Edited { .. } | TaskEvent::Reset { .. } => {
                self.state
            }
        };
        if self.state.name().is_terminal() {
            self.completed_at = Some(at);
        }
        self
    }

    /// Ready to be claimed, unless a pause was requested.
    fn ready(&self) -> State {
        if self.paused {
            State::Paused
        } else {
            State::Pending
        }
    }

    fn note_external(&mut self) {
        self.external_pending |= self.state.session().is_some();
    }

    /// The lifecycle after one more event of the run, of which only the envelope is known.
    #[must_use]
    pub(crate) fn apply_run(mut self, event: &NewEvent, at: Micros) -> Self {
        self.seq += 1;
        self.updated_at = at;
        self.usage += event.usage;
        self.run_started = true;
        match event.step.map(|mark| mark.status) {
            Some(StepStatus::Completed | StepStatus::Failed | StepStatus::Resolved) => {
                self.lease_losses = 0;
            }
            Some(StepStatus::Queued | StepStatus::Started | StepStatus::Waiting) | None => {}
        }
        self
    }
}
