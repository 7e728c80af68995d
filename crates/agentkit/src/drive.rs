//! The driver: the only code that performs the effects of the run machine.
//!
//! The driver records the intent of every call before the call and the outcome before the next effect. The
//! outcome of a step and the intent of the next step are one append.

mod budget;
mod claimed;
mod command;
mod environment;
mod external;
mod media;
mod memory_recorder;
mod model_call;
mod preview;
mod probes;
mod prompt;
mod recollect;
mod shown;
mod tool_calls;

use bytes::Bytes;
use serde_json::Value;
use tracing::Instrument as _;

pub use self::{
    budget::CallBudget,
    command::{Approval, ChildLimits, ChildSpec, Command, Preview},
    environment::{
        Deltas, DriveEnvironment, Random, RunClock, SystemClock, SystemRandom, sleep_through,
    },
    memory_recorder::MemoryRecorder,
    shown::{Prompt, prompt},
};
use crate::{
    Agent, BoxFuture, Goal,
    event::{
        CallKey, Event, Failure, GateDecision, Resolution, RunCompleted, RunFailed, RunStarted,
        StepId, ToolCalled, ToolResolved, ToolStarted, Wait, WaitStarted,
    },
    memory::Context,
    run::{CallState, FoldError, Limits, Next, Outcome, Progress, Run},
    telemetry,
};

/// Keeps the log of a run.
pub trait Recorder: Send + Sync {
    /// Appends to the log, durably and as a whole, and carries out the batch's commands.
    fn append<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<(), RecordError>>;

    /// Whether an effect may begin now: the lease still holds and no stop was requested.
    ///
    /// # Errors
    /// Why the effect may not begin.
    fn check(&self) -> Result<(), RecordError>;

    /// A fresh id for a child task.
    ///
    /// # Errors
    /// Why the run can have no children; the call that asks for one fails with it.
    fn new_child(&self) -> Result<String, Failure>;

    /// The limits that were changed since the previous call, in place of the present limits; the log has
    /// them already. The driver calls this after each append.
    fn limits(&self, now: &Limits) -> Option<Limits> {
        let _ = now;
        None
    }

    /// The budgets that the run shares with others; `None` if no budget is about the run. The recorder may refuse an
    /// intent whose reservation has no room: see [`RecordError::Ended`].
    fn budget(&self) -> Option<CallBudget> {
        None
    }
}

/// One append.
#[derive(Debug)]
pub struct Batch<'a> {
    /// The events, in order.
    pub events: &'a [Event],
    /// Values that the events refer to by digest.
    pub blobs: Vec<(String, Bytes)>,
    /// Commands that commit together with the events. Each belongs to an event that [`outcomes`] keeps.
    pub commands: Vec<Command>,
    /// How the drive ends with this append, if it does.
    pub stop: Option<&'a Stop>,
    /// The run after these events: the fold of its log with them. `None` where the run knows of intents
    /// that are not recorded, because the drive is broken off.
    pub run: Option<&'a Run>,
}

/// Why the log takes no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Another worker has the run now.
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
    /// Without an answer. A retryable failure leaves the run open: the run may be driven again.
    Failed(Failure),
    /// The run waits, and holds no resource meanwhile.
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

/// Drives a run until the run ends or waits. `run` is the fold of its log, empty for a new run; the drive
/// keeps `run` up to date. A run that has begun takes its own goal, or an empty goal.
///
/// # Errors
/// [`DriveError`] if the recorder refuses, if the run has begun with another goal, or if the run goes on
/// with a model that the agent does not have; the events recorded until then stand.
pub async fn drive(
    agent: &Agent,
    goal: impl Into<Goal>,
    run: &mut Run,
    environment: &DriveEnvironment,
) -> Result<Stop, DriveError> {
    let goal = goal.into();
    if run.config().is_some() && !goal.is_empty() && !run.began_with(&goal) {
        return Err(DriveError::OtherGoal);
    }
    let span = telemetry::drive(agent);
    let stop = to_the_end(agent, goal, run, environment)
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
    environment: &DriveEnvironment,
) -> Result<Stop, DriveError> {
    let mut driver = Driver {
        agent,
        environment,
        run,
        events: Vec::new(),
        blobs: Vec::new(),
        commands: Vec::new(),
        context: Context::default(),
        images: media::Images::default(),
        broken_off: false,
    };
    let begun_micros = environment.clock.now_micros();
    let read_micros = environment.read_micros.unwrap_or(begun_micros);
    if let Some(stop) = driver.recover().await? {
        return Ok(stop);
    }
    loop {
        let now = environment.clock.now_micros();
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
            Next::CallTools { steps } => {
                if let Some(stop) = driver.call_tools(&steps).await? {
                    return Ok(stop);
                }
            }
            Next::Recheck { steps } => driver.recheck(&steps).await?,
            Next::Preview { step } => driver.preview(step).await?,
            Next::Recollect {
                purpose,
                tool,
                input,
            } => driver.recollect(purpose, tool, &input).await?,
            Next::Escalate(escalated) => driver.push(Event::ToolEscalated(escalated))?,
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
            Next::Done(Outcome::Failed(_)) if driver.apply_new_limits().await? => {}
            Next::Done(outcome) => return driver.finish(outcome).await,
        }
    }
}

/// The same events without their intents: calls that have not begun do not begin.
#[must_use]
pub fn outcomes(events: &[Event]) -> Vec<Event> {
    let keep = |event: &Event| match event {
        Event::ModelStarted(_) | Event::ToolStarted(_) | Event::WaitStarted(_) => None,
        Event::ToolCalled(called) if called.decision == GateDecision::Start => {
            Some(Event::ToolCalled(ToolCalled {
                decision: GateDecision::Queue,
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
        | Event::ToolEscalated(_)
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
    environment: &'a DriveEnvironment,
    run: &'a mut Run,
    /// Applied, but not recorded yet.
    events: Vec<Event>,
    blobs: Vec<(String, Bytes)>,
    commands: Vec<Command>,
    /// The conversation of the last request.
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

    /// Work that may take a while; `None` if the run's deadline comes first.
    ///
    /// # Errors
    /// The run is stopping.
    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<Option<T>, RecordError> {
        let config = self.run.config();
        let deadline = config.and_then(|config| config.limits.deadline_micros);
        tokio::select! {
            biased;
            result = work => Ok(Some(result)),
            () = self.environment.cancel.cancelled() => Err(RecordError::Stopping),
            () = model_call::until(deadline, self.environment.clock.now_micros()) => Ok(None),
        }
    }

    /// Records the pushed events.
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
        self.environment.recorder.append(batch).await?;
        self.events.clear();
        let now = self.run.config().map(|config| &config.limits);
        if let Some(limits) = now.and_then(|now| self.environment.recorder.limits(now)) {
            self.run.limit(&limits);
        }
        Ok(())
    }

    /// Records the outcomes that are left, before a failure is: whether the run has other limits by
    /// now, so that it may go on.
    async fn apply_new_limits(&mut self) -> Result<bool, RecordError> {
        let left = outcomes(&self.events);
        if self.run.outcome().is_some() || left.is_empty() || left != self.events {
            return Ok(false);
        }
        let limits = |run: &Run| run.config().map(|config| config.limits.clone());
        let before = limits(self.run);
        self.flush(None).await?;
        Ok(limits(self.run) != before)
    }

    /// Goes on only if an effect may begin. Otherwise the outcomes so far are still recorded, but no intent
    /// is: a call that has not begun must not look as if it had.
    async fn check_or_save(&mut self) -> Result<(), RecordError> {
        let Err(refusal) = self.environment.recorder.check() else {
            return Ok(());
        };
        if units::mutant!("agentkit.no_check_before_an_intent") {
            return Ok(());
        }
        self.events = outcomes(&self.events);
        self.broken_off = true;
        self.save_before(refusal).await
    }

    /// Goes on only if the calls may begin whose intents were just recorded. Otherwise the log says that
    /// none of them has begun: without an outcome they would be in doubt.
    async fn check_or_withdraw(&mut self, steps: &[StepId]) -> Result<(), DriveError> {
        let Err(refusal) = self.environment.recorder.check() else {
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

    /// Records the pushed events, if possible, before the drive ends with a refusal.
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

    /// Settles the calls that a crash left in flight: calls that may run again do, and probes look after
    /// the others. A call without a settling probe is in doubt.
    ///
    /// Without this order a crash between a call and its outcome would do harm either way: to run every
    /// such call again sends a payment twice, and to drop them all loses the answers of calls that only
    /// read. The effect class decides for each call, and is read from the log: a definition that changed
    /// since cannot turn a recorded `write` into a call that runs again.
    pub(super) async fn recover(&mut self) -> Result<Option<Stop>, DriveError> {
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
                | Progress::AwaitingApproval { .. }
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

    /// A key for a call that an earlier release recorded without a key.
    fn missing_key(&self, state: &CallState) -> Option<CallKey> {
        let missing = state.call.key.is_none();
        missing.then(|| self.environment.call_key())
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
