//! The driver: the only code that performs what the run machine asks for.
//!
//! It records the intent of every call before it makes the call and the outcome before it goes on.
//! The outcome of a step and the intent of the next one are one append.

mod command;
mod media;
mod memory_recorder;
mod model_call;
mod outside;
mod probes;
mod session;
mod tool_calls;
mod words;

use bytes::Bytes;
use serde_json::Value;
use tracing::Instrument as _;

pub use self::{
    command::{Approval, ChildLimits, ChildSpec, Command},
    memory_recorder::MemoryRecorder,
    session::{Clock, Deltas, Random, Session, SystemClock, SystemRandom},
};
use crate::{
    Agent, BoxFuture, Goal,
    event::{
        CallKey, Event, Failure, Resolution, RunCompleted, RunFailed, RunStarted, StepId,
        ToolCalled, ToolResolved, ToolStarted, Verdict, Wait, WaitStarted,
    },
    memory::Context,
    run::{CallState, FoldError, Limits, Next, Outcome, Progress, Run},
    telemetry,
};

/// Keeps the log of a run.
pub trait Recorder: Send + Sync {
    /// Appends to the log, durably and as a whole, and carries out what follows with it.
    fn append<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<(), RecordError>>;

    /// Whether an effect may begin now: the lease still holds and nobody wants the run stopped.
    ///
    /// # Errors
    /// Why it may not.
    fn check(&self) -> Result<(), RecordError>;

    /// A fresh id for a child task.
    ///
    /// # Errors
    /// Why the run can have no children; the call that asks for one fails with it.
    fn new_child(&self) -> Result<String, Failure>;

    /// The limits that somebody has given the run since this was asked last, in place of those that
    /// it has; they are in the log already. It is asked after each append.
    fn limits(&self, now: &Limits) -> Option<Limits> {
        let _ = now;
        None
    }
}

/// One append.
#[derive(Debug)]
pub struct Batch<'a> {
    /// What happened, in order.
    pub events: &'a [Event],
    /// Values that the events refer to by digest.
    pub blobs: Vec<(String, Bytes)>,
    /// What takes place with the events, and not without them. Each goes with an event that
    /// [`outcomes`] keeps.
    pub commands: Vec<Command>,
    /// How the drive ends with this append, if it does.
    pub stop: Option<&'a Stop>,
    /// The run after these events: the fold of its log with them. None where the run knows of
    /// intents that are not recorded, because it is broken off.
    pub run: Option<&'a Run>,
}

/// Why the log takes no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Somebody else has the run now.
    #[error("the lease on the run is over")]
    LeaseLost,
    /// The run is cancelled.
    #[error("the run is cancelled")]
    Cancelled,
    /// The recorder has ended the run, and recorded why.
    #[error("the run was ended by its recorder")]
    Ended,
    /// The drive was told to stop, by its session's `cancel` or by its worker; the run can go on later.
    #[error("the drive was told to stop")]
    Stopping,
    /// The log cannot be written.
    #[error("the log cannot be written: {0}")]
    Unavailable(String),
}

/// How a drive ended.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a drive that returns may have failed, or wait"]
pub enum Stop {
    /// With an answer.
    Completed(Value),
    /// Without one. A retryable failure leaves the run open: it may be driven again.
    Failed(Failure),
    /// It waits, and holds nothing meanwhile.
    Waiting(Wait),
}

/// Why a drive could not go on. The run is as its log says.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The recorder refused.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The log is not lawful.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The run goes on with a model that the agent does not have.
    #[error(
        "the run goes on with the model `{name}`, and the agent has {}; drive the run with the models \
         that it began with",
        quoted(known)
    )]
    NoModel {
        /// The model in use, as the run's log names it.
        name: String,
        /// The agent's models.
        known: Vec<String>,
    },
    /// The run has begun with another goal.
    #[error(
        "the run has begun with another goal, so this goal would be dropped; begin a new run for it, or \
         pass an empty goal to go on with this run"
    )]
    OtherGoal,
}

fn quoted(names: &[String]) -> String {
    format!("`{}`", names.join("`, `"))
}

/// Drives a run until it ends or waits. `run` is the fold of its log, empty for a new one; it is
/// kept up to date. A run that has begun takes its own goal, or an empty one.
///
/// # Errors
/// [`DriveError`] if the recorder refuses, if the run has begun with another goal, or if it goes on
/// with a model that the agent does not have; what was recorded until then stands.
pub async fn drive(
    agent: &Agent,
    goal: impl Into<Goal>,
    run: &mut Run,
    session: &Session,
) -> Result<Stop, DriveError> {
    let goal = goal.into();
    if run.config().is_some() && !goal.is_empty() && !run.began_with(&goal) {
        return Err(DriveError::OtherGoal);
    }
    let span = telemetry::drive(agent);
    let stop = to_the_end(agent, goal, run, session)
        .instrument(span.clone())
        .await;
    if let Ok(Stop::Failed(failure)) = &stop {
        telemetry::failed(&span, &failure.code);
    }
    stop
}

async fn to_the_end(
    agent: &Agent,
    mut goal: Goal,
    run: &mut Run,
    session: &Session,
) -> Result<Stop, DriveError> {
    let mut driver = Driver {
        agent,
        session,
        run,
        events: Vec::new(),
        blobs: Vec::new(),
        commands: Vec::new(),
        context: Context::default(),
        images: media::Images::default(),
        broken_off: false,
    };
    let begun_micros = session.clock.now_micros();
    let read_micros = session.read_micros.unwrap_or(begun_micros);
    if let Some(stop) = driver.recover().await? {
        return Ok(stop);
    }
    loop {
        let now = session.clock.now_micros();
        match driver.run.next(&*agent.planner, now) {
            Next::Start => driver.start(std::mem::take(&mut goal))?,
            Next::CallModel {
                step,
                attempt,
                reserved_tokens,
                reserved_cost_micros,
                max_output_tokens,
                purpose,
            } => {
                let call = model_call::Call {
                    step,
                    attempt,
                    reserved_tokens,
                    reserved_cost_micros,
                    max_output_tokens,
                    purpose,
                };
                if let Some(stop) = driver.call_model(call).await? {
                    return Ok(stop);
                }
            }
            Next::OpenSegment(opened) => driver.push(Event::SegmentOpened(opened))?,
            Next::CallTools { steps } => driver.call_tools(&steps).await?,
            Next::Judge { steps } => driver.judge(&steps).await?,
            Next::Settle { step, result } => {
                // Somebody may have answered in time: whoever reads the log anew knows.
                if driver.run.may_be_answered(step, read_micros)
                    && let Some(wait) = driver.run.wait()
                {
                    return driver.wait(wait).await;
                }
                driver.settle_waiting(step, result)?;
            }
            Next::Wait(wait) => return driver.wait(wait).await,
            Next::Done(Outcome::Failed(_)) if driver.hears_of_limits().await? => {}
            Next::Done(outcome) => return driver.finish(outcome).await,
        }
    }
}

/// Sleeps until a timer wait is over; returns at once for any other wait.
pub async fn sleep_through(wait: &Wait, session: &Session) {
    match wait {
        Wait::Timer { until_micros } => {
            let left = until_micros.saturating_sub(session.clock.now_micros());
            let left = std::time::Duration::from_micros(u64::try_from(left).unwrap_or(0));
            tokio::time::sleep(left).await;
        }
        Wait::InDoubt { .. }
        | Wait::Approval { .. }
        | Wait::Signal { .. }
        | Wait::Children { .. }
        | Wait::Budget { .. } => {}
    }
}

/// The same events without their intents: what has not begun yet does not begin.
#[must_use]
pub fn outcomes(events: &[Event]) -> Vec<Event> {
    let keep = |event: &Event| match event {
        Event::ModelStarted(_) | Event::ToolStarted(_) | Event::WaitStarted(_) => None,
        Event::ToolCalled(called) if called.verdict == Verdict::Start => {
            Some(Event::ToolCalled(ToolCalled {
                verdict: Verdict::Queue,
                ..called.clone()
            }))
        }
        Event::RunStarted(_)
        | Event::ModelCompleted(_)
        | Event::ModelFailed(_)
        | Event::PlanUpdated(_)
        | Event::ToolCalled(_)
        | Event::ToolCompleted(_)
        | Event::ToolFailed(_)
        | Event::ToolWaiting(_)
        | Event::ToolProbed(_)
        | Event::ToolResolved(_)
        | Event::ToolApproved(_)
        | Event::ToolDenied(_)
        | Event::ToolReset(_)
        | Event::SignalReceived(_)
        | Event::ChildEnded(_)
        | Event::MessageAdded(_)
        | Event::LimitsChanged(_)
        | Event::SegmentOpened(_)
        | Event::RunCompleted(_)
        | Event::RunFailed(_) => Some(event.clone()),
    };
    events.iter().filter_map(keep).collect()
}

struct Driver<'a> {
    agent: &'a Agent,
    session: &'a Session,
    run: &'a mut Run,
    /// Applied, but not recorded yet.
    events: Vec<Event>,
    blobs: Vec<(String, Bytes)>,
    commands: Vec<Command>,
    /// What the model was sent last.
    context: Context,
    /// The images that it was shown with that.
    images: media::Images,
    /// Whether intents were applied that are not recorded.
    broken_off: bool,
}

impl Driver<'_> {
    /// Applies an event, to be recorded with the next append.
    fn push(&mut self, event: Event) -> Result<(), FoldError> {
        self.run.apply(&event)?;
        self.events.push(event);
        Ok(())
    }

    /// Work that may take a while; none if the run's deadline comes first.
    ///
    /// # Errors
    /// The run is stopping.
    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<Option<T>, RecordError> {
        let config = self.run.config();
        let deadline = config.and_then(|config| config.limits.deadline_micros);
        tokio::select! {
            biased;
            result = work => Ok(Some(result)),
            () = self.session.cancel.cancelled() => Err(RecordError::Stopping),
            () = model_call::until(deadline, self.session.clock.now_micros()) => Ok(None),
        }
    }

    /// Records what was pushed.
    async fn flush(&mut self, stop: Option<&Stop>) -> Result<(), RecordError> {
        if self.events.is_empty() && stop.is_none() {
            return Ok(());
        }
        let batch = Batch {
            events: &self.events,
            blobs: std::mem::take(&mut self.blobs),
            commands: std::mem::take(&mut self.commands),
            stop,
            run: (!self.broken_off).then_some(&*self.run),
        };
        self.session.recorder.append(batch).await?;
        self.events.clear();
        let now = self.run.config().map(|config| &config.limits);
        if let Some(limits) = now.and_then(|now| self.session.recorder.limits(now)) {
            self.run.limit(&limits);
        }
        Ok(())
    }

    /// Records the outcomes that are left, before a failure is: whether the run has other limits by
    /// now, so that it may go on.
    async fn hears_of_limits(&mut self) -> Result<bool, RecordError> {
        let left = outcomes(&self.events);
        if self.run.outcome().is_some() || left.is_empty() || left != self.events {
            return Ok(false);
        }
        let limits = |run: &Run| run.config().map(|config| config.limits.clone());
        let before = limits(self.run);
        self.flush(None).await?;
        Ok(limits(self.run) != before)
    }

    /// Goes on only if an effect may begin. If not, the outcomes so far are still recorded, but no
    /// intent is: what has not begun must not look as if it had.
    async fn check_or_save(&mut self) -> Result<(), RecordError> {
        let Err(refusal) = self.session.recorder.check() else {
            return Ok(());
        };
        if units::mutant!("agentkit.no_check_before_an_intent") {
            return Ok(());
        }
        self.events = outcomes(&self.events);
        self.broken_off = true;
        self.save_before(refusal).await
    }

    /// Goes on only if the calls may begin whose intents were just recorded. If not, the log says
    /// that none of them has: without an outcome they would be in doubt.
    async fn check_or_withdraw(&mut self, steps: &[StepId]) -> Result<(), DriveError> {
        let Err(refusal) = self.session.recorder.check() else {
            return Ok(());
        };
        if units::mutant!("agentkit.no_check_before_a_call") {
            return Ok(());
        }
        self.withdraw(steps)?;
        Ok(self.save_before(refusal).await?)
    }

    /// Takes the intents of calls back that have not begun.
    fn withdraw(&mut self, steps: &[StepId]) -> Result<(), FoldError> {
        steps.iter().try_for_each(|step| {
            self.push(Event::ToolResolved(ToolResolved {
                step: *step,
                resolution: Resolution::Retry,
            }))
        })
    }

    /// Records what was pushed, if it can be recorded, before the drive ends with a refusal.
    async fn save_before(&mut self, refusal: RecordError) -> Result<(), RecordError> {
        match refusal {
            // Of a cancelled run, the recorder sees to what is recorded.
            RecordError::Stopping | RecordError::Cancelled => self.flush(None).await?,
            // Only this process's clock doubts the lease: if it is over, the store refuses.
            RecordError::LeaseLost => drop(self.flush(None).await),
            RecordError::Ended | RecordError::Unavailable(_) => {}
        }
        Err(refusal)
    }

    /// Sees to what a crash left in flight: calls that may run again do, and probes look after the
    /// others. What they do not settle is in doubt.
    async fn recover(&mut self) -> Result<Option<Stop>, DriveError> {
        if let Some(wait) = self.settle_doubts().await? {
            return Ok(Some(self.wait(wait).await?));
        }
        self.settle_keyed().await?;
        let again: Vec<ToolStarted> = self
            .run
            .in_flight()
            .filter_map(|state| match state.progress {
                Progress::Started { attempt } | Progress::Doubted { attempt, .. } => {
                    Some(ToolStarted {
                        step: state.call.step,
                        attempt: attempt + 1,
                        key: self.missing_key(state),
                    })
                }
                Progress::Queued
                | Progress::Reset
                | Progress::Asked { .. }
                | Progress::Approved
                | Progress::Waiting { .. }
                | Progress::Settled { .. } => None,
            })
            .collect();
        for started in again {
            self.push(Event::ToolStarted(started))?;
        }
        Ok(None)
    }

    /// A key for a call that an earlier release recorded without one.
    fn missing_key(&self, state: &CallState) -> Option<CallKey> {
        let missing = state.call.key.is_none();
        missing.then(|| self.session.call_key())
    }

    fn start(&mut self, goal: Goal) -> Result<(), FoldError> {
        let config = (*self.agent.config).clone();
        self.push(Event::RunStarted(RunStarted {
            goal: goal.text,
            images: goal.images,
            config,
        }))
    }

    /// Records that the run stands still from now on.
    async fn wait(&mut self, wait: Wait) -> Result<Stop, DriveError> {
        self.push(Event::WaitStarted(WaitStarted { wait: wait.clone() }))?;
        let stop = Stop::Waiting(wait);
        self.flush(Some(&stop)).await?;
        Ok(stop)
    }

    async fn finish(&mut self, outcome: Outcome) -> Result<Stop, DriveError> {
        let stop = match &outcome {
            Outcome::Completed(output) => Stop::Completed(output.clone()),
            Outcome::Failed(failure) => Stop::Failed(failure.clone()),
        };
        if self.run.outcome().is_none() {
            // What has not begun does not begin.
            self.events = outcomes(&self.events);
            self.broken_off = true;
            self.push(match outcome {
                Outcome::Completed(output) => Event::RunCompleted(RunCompleted { output }),
                Outcome::Failed(error) => Event::RunFailed(RunFailed { error }),
            })?;
        }
        crash_point!("run.before_terminal");
        self.flush(Some(&stop)).await?;
        Ok(stop)
    }
}

#[cfg(test)]
mod tests;
