//! Tool calls: intents, the calls, and their outcomes as they come.

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use serde_json::{Value, json};
use tracing::{Instrument as _, Span};

use super::{DriveError, Driver, RecordError, Stop};
use crate::{
    event::{Event, Failure, StepId, ToolCompleted, ToolFailed, ToolStarted, ToolWaiting},
    run::Progress,
    telemetry,
    tool::{self, Effect, FollowUp, OUTCOME_UNKNOWN},
};

/// How often a `keyed` call is made whose answers are lost while the process lives on.
const MAX_KEYED_TRIES: u32 = 3;

impl<'a> Driver<'a> {
    /// Makes calls. The stop, if one of them is in doubt: its answer was lost while the process lived on.
    pub(super) async fn call_tools(
        &mut self,
        steps: &[StepId],
    ) -> Result<Option<Stop>, DriveError> {
        self.check_or_save().await?;
        let steps = self.intend(steps).await?;
        if steps.is_empty() {
            return Ok(None);
        }
        crash_point!("run.before_intent");
        self.flush(None).await?;
        crash_point!("run.after_intent");
        self.check_or_withdraw(&steps).await?;

        // Made late, so that a run without tool calls leaves no folder. A tool that needs it says so
        // if it could not be made.
        if let Err(error) = std::fs::create_dir_all(&self.environment.workspace) {
            tracing::warn!(%error, "the workspace cannot be made");
        }
        let begun = steps.iter().filter_map(|step| self.perform(*step));
        let mut calls: FuturesUnordered<_> = begun.collect();
        let mut has_doubt = false;
        while let Some((step, outcome)) = calls.next().await {
            // A call that was broken off has no outcome: whoever takes the run over decides by its
            // effect class. One that returned has, whatever became of the run meanwhile.
            let broken_off = matches!(&outcome, Err(failure) if failure.code == "cancelled");
            if broken_off && self.environment.cancel.is_cancelled() {
                drop(calls);
                self.events = super::outcomes(&self.events);
                self.flush(None).await?;
                return Err(RecordError::Stopping.into());
            }
            crash_point!("run.after_effect");
            // Without an outcome, as after a crash, so that what holds then holds here: whoever is called is
            // not called again, and the model is not told to try again.
            if self.is_doubtful(step, &outcome) {
                has_doubt = true;
                continue;
            }
            self.settle(step, outcome)?;
            if !calls.is_empty() && !units::mutant!("agentkit.late_outcomes") {
                let more = self.record_and_intend().await?;
                calls.extend(more.iter().filter_map(|step| self.perform(*step)));
            }
        }
        match has_doubt {
            true => self.recover().await,
            false => Ok(None),
        }
    }

    /// Whether a call may have taken effect although it failed: a `write` must not be made again, and a `keyed` call
    /// is, with its key, as often as makes sense.
    fn is_doubtful(&self, step: StepId, outcome: &Result<tool::Outcome, Failure>) -> bool {
        let Err(failure) = outcome else { return false };
        let state = self.run.call(step);
        let is_settled_later = state.is_some_and(|state| match state.call.effect {
            Effect::Write => true,
            Effect::Keyed => state.tries < MAX_KEYED_TRIES,
            Effect::Pure | Effect::Idempotent => false,
        });
        let is_doubtful = failure.code == OUTCOME_UNKNOWN
            && is_settled_later
            && !units::mutant!("agentkit.lost_answer_is_a_failure");
        if is_doubtful {
            tracing::warn!(%step, reason = failure.message, "the answer to a write was lost; it is in doubt");
        }
        is_doubtful
    }

    /// Records an outcome while other calls are under way, and with the outcome the intents of the calls
    /// that waited for that call alone; returns these calls. They are recorded now, not with the slowest
    /// call: after a crash, calls that have returned do not run again.
    async fn record_and_intend(&mut self) -> Result<Vec<StepId>, DriveError> {
        let ready = self.run.more_calls(self.environment.clock.now_micros());
        // A run that is to stop begins nothing more; the calls under way may still return.
        let mut begun = match ready.is_empty() || self.environment.recorder.check().is_err() {
            true => Vec::new(),
            false => self.intend(&ready).await?,
        };
        self.flush(None).await?;
        if !begun.is_empty() && self.environment.recorder.check().is_err() {
            self.withdraw(&begun)?;
            begun.clear();
        }
        Ok(begun)
    }

    /// The call of a step, to be polled.
    fn perform(
        &self,
        step: StepId,
    ) -> Option<impl Future<Output = (StepId, Result<tool::Outcome, Failure>)> + use<'a>> {
        let call = &self.run.call(step)?.call;
        let gate = &self.agent.gate;
        let context = self.tool_context(call);
        let (name, input, effect) = (call.name.clone(), call.input.clone(), call.effect);
        let limits = self.run.config().map(|config| &config.limits);
        let deadline = limits
            .and_then(|limits| limits.deadline_micros)
            .filter(|_| !units::mutant!("agentkit.hung_tool"));
        let content = telemetry::Content::of(self.agent);
        let span = telemetry::execute_tool(content, call);
        let performed = async move {
            let late = super::model_call::until(deadline, context.now_micros);
            let outcome = tokio::select! {
                biased;
                outcome = gate.run(&name, input, context) => outcome,
                () = late => Err(past_deadline(&name, effect)),
            };
            telemetry::returned(content, &Span::current(), &outcome);
            (step, outcome)
        };
        Some(performed.instrument(span))
    }

    /// Pushes the missing intents, and returns the calls that run. The gate admits an approved call once
    /// more, by the present rules and tools: the call may end there.
    async fn intend(&mut self, steps: &[StepId]) -> Result<Vec<StepId>, DriveError> {
        let mut running = Vec::with_capacity(steps.len());
        for step in steps {
            let Some(state) = self.run.call(*step) else {
                continue;
            };
            let refusal = match state.progress {
                Progress::Started { .. } | Progress::Doubted { .. } => {
                    running.push(*step);
                    continue;
                }
                Progress::Approved => self.refusal(&state.call).await,
                Progress::Queued => None,
                Progress::Waiting { .. } if self.run.resumable() == Some(*step) => None,
                Progress::Reset
                | Progress::AwaitingApproval { .. }
                | Progress::Waiting { .. }
                | Progress::Settled { .. } => continue,
            };
            let (step, attempt, key) = (*step, state.tries + 1, self.missing_key(state));
            if let Some(error) = refusal {
                self.push(Event::ToolFailed(ToolFailed { step, error }))?;
                continue;
            }
            self.push(Event::ToolStarted(ToolStarted { step, attempt, key }))?;
            running.push(step);
        }
        Ok(running)
    }

    fn settle(
        &mut self,
        step: StepId,
        outcome: Result<tool::Outcome, Failure>,
    ) -> Result<(), DriveError> {
        let event = match outcome {
            Ok(outcome) => self.outcome(step, outcome),
            Err(error) => Event::ToolFailed(ToolFailed { step, error }),
        };
        self.push(event)?;
        Ok(())
    }

    fn outcome(&mut self, step: StepId, mut outcome: tool::Outcome) -> Event {
        let child = match outcome.follow_up.take() {
            Some(FollowUp::Wait(wait)) => {
                return match self.checked(&wait) {
                    Ok(()) => Event::ToolWaiting(ToolWaiting { step, wait }),
                    Err(error) => Event::ToolFailed(ToolFailed { step, error }),
                };
            }
            Some(FollowUp::Spawn(spawn)) => match self.spawn(step, spawn) {
                Ok(child) => {
                    outcome.output = json!({
                        "task": child.task,
                        "note": "it has begun; await_agents gives its result",
                    });
                    Some(child)
                }
                Err(error) => return Event::ToolFailed(ToolFailed { step, error }),
            },
            None => None,
        };
        let handle = outcome.handle.map(|(handle, bytes)| {
            self.blobs.push((handle.digest.clone(), bytes));
            handle
        });
        self.blobs.extend(outcome.blobs);
        let mut files = Vec::with_capacity(outcome.files.len());
        for (delta, bytes) in outcome.files {
            if let (Some(digest), Some(bytes)) = (&delta.digest, bytes) {
                self.blobs.push((digest.clone(), bytes));
            }
            files.push(delta);
        }
        Event::ToolCompleted(ToolCompleted {
            step,
            output: outcome.output,
            handle,
            files,
            child,
            parts: outcome.parts,
        })
    }

    /// Records the outcome of a call that waited, or whose approval expired.
    pub(super) fn settle_waiting(
        &mut self,
        step: StepId,
        result: Result<Value, Failure>,
    ) -> Result<(), DriveError> {
        let outcome = result.and_then(|content| {
            let name = self.run.call(step).map_or("", |state| &state.call.name);
            self.agent.gate.cap(name, content, step)
        });
        self.settle(step, outcome)
    }
}

fn past_deadline(name: &str, effect: Effect) -> Failure {
    let doubt = tool::doubt(effect);
    let message =
        format!("tool `{name}` had not returned at the run's deadline, and was stopped{doubt}");
    Failure::last("tool_timeout", message)
}
