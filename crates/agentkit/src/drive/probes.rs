//! Calls whose outcome was lost, and the probes that settle them without a person.

use std::sync::Arc;

use serde_json::{Value, json};
use tracing::Instrument as _;

use super::{DriveError, Driver, RecordError};
use crate::{
    event::{
        CallKey, CallPurpose, Event, Failure, GateDecision, Initiator, ModelFailed, Resolution,
        Seen, StepId, ToolCalled, ToolCompleted, ToolFailed, ToolProbed, ToolResolved, ToolStarted,
        Wait,
    },
    run::{CallState, Progress},
    telemetry,
    tool::{Effect, Gate, NotDone, Probe, Resource, Tool, ToolContext},
};

/// Result of settling a call in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// The call has its outcome, or is to run again.
    Settled,
    /// A look counts from then on, in UTC microseconds.
    Later(i64),
    /// A person has to decide.
    Parks,
}

/// A look that was taken.
struct Look {
    probe: StepId,
    saw: Seen,
    /// The output of the probe's tool, as shown.
    result: Value,
    /// Whether the gate would not let it look: a further one would fare the same.
    refused: bool,
}

impl Driver<'_> {
    /// Settles the calls in flight that must not simply run again. Returns the wait, if a call is still in
    /// doubt.
    pub(super) async fn settle_doubts(&mut self) -> Result<Option<Wait>, DriveError> {
        let mut parked = Vec::new();
        let mut later: Option<i64> = None;
        for step in self.run.in_doubt() {
            match self.settle_doubt(step).await? {
                Doubt::Settled => {}
                Doubt::Parks => parked.push(step),
                Doubt::Later(at) => later = Some(later.map_or(at, |before| before.min(at))),
            }
        }
        let deadline = self
            .run
            .config()
            .and_then(|config| config.limits.deadline_micros);
        Ok(match later {
            Some(at) => {
                let until_micros = at.min(deadline.unwrap_or(i64::MAX));
                Some(Wait::Timer { until_micros })
            }
            None if parked.is_empty() => None,
            None => Some(Wait::InDoubt { steps: parked }),
        })
    }

    /// A `keyed` call may run again whatever a probe says, but a call that is known to be done need not.
    pub(super) async fn settle_keyed(&mut self) -> Result<(), DriveError> {
        let keyed = |state: &&CallState| state.call.effect == Effect::Keyed;
        let steps = self.run.in_flight().filter(keyed);
        let steps: Vec<StepId> = steps.map(|state| state.call.step).collect();
        for step in steps {
            let Some((tool, call, probe)) = self.declared(step) else {
                continue;
            };
            let look = self.look(step, &call, &*tool, &probe).await?;
            let now = self.environment.clock.now_micros();
            self.push(Event::ToolProbed(ToolProbed {
                step,
                probe: look.probe,
                saw: look.saw,
                settles_micros: now,
            }))?;
            if look.saw == Seen::Done {
                self.was_done(step, look)?;
            }
        }
        Ok(())
    }

    async fn settle_doubt(&mut self, step: StepId) -> Result<Doubt, DriveError> {
        let now = self.environment.clock.now_micros();
        let limits = self.run.config().map(|config| &config.limits);
        let deadline = limits.and_then(|limits| limits.deadline_micros);
        if deadline.is_some_and(|end| end <= now) {
            return Ok(Doubt::Parks);
        }
        let Some((tool, call, probe)) = self.declared(step) else {
            return Ok(Doubt::Parks);
        };
        let earlier = match self.run.call(step).map(|state| &state.progress) {
            Some(Progress::Doubted { settles_micros, .. }) => Some(*settles_micros),
            _ => None,
        };
        if let Some(at) = earlier.filter(|at| *at > now) {
            return Ok(Doubt::Later(at));
        }
        let look = self.look(step, &call, &*tool, &probe).await?;
        // Counted from the first look after the loss, which is later than the loss itself. A clock that
        // was set back meanwhile only makes it longer.
        let settle = i64::try_from(probe.settle.as_micros()).unwrap_or(i64::MAX);
        let settles_micros =
            earlier.unwrap_or_else(|| self.environment.clock.now_micros().saturating_add(settle));
        self.push(Event::ToolProbed(ToolProbed {
            step,
            probe: look.probe,
            saw: look.saw,
            settles_micros,
        }))?;
        let saw = match units::mutant!("agentkit.done_is_not_done") {
            true => Seen::NotDone,
            false => look.saw,
        };
        let settled = settles_micros <= now || units::mutant!("agentkit.not_done_counts_at_once");
        Ok(match saw {
            Seen::Done => {
                self.was_done(step, look)?;
                Doubt::Settled
            }
            Seen::Unknown if look.refused => Doubt::Parks,
            Seen::NotDone | Seen::Unknown if !settled => Doubt::Later(settles_micros),
            Seen::NotDone if probe.not_done == NotDone::Rerun => {
                let resolution = Resolution::Retry;
                self.push(Event::ToolResolved(ToolResolved { step, resolution }))?;
                Doubt::Settled
            }
            Seen::NotDone | Seen::Unknown => Doubt::Parks,
        })
    }

    /// The probe that the tool of a call declares for it.
    fn declared(&self, step: StepId) -> Option<(Arc<dyn Tool>, ToolCalled, Probe)> {
        let call = &self.run.call(step)?.call;
        let tool = Arc::clone(self.agent.gate.registry().get(&call.name)?);
        let probe = tool.probe(&call.input, call.key.as_ref()?)?;
        Some((tool, call.clone(), probe))
    }

    fn was_done(&mut self, step: StepId, look: Look) -> Result<(), DriveError> {
        let output = json!({
            "note": "the answer of this call was lost when its worker stopped; the call took effect, \
                     as a look afterwards has shown",
            "seen": look.result,
        });
        self.push(Event::ToolCompleted(ToolCompleted {
            step,
            output,
            handle: None,
            files: Vec::new(),
            child: None,
            parts: Vec::new(),
        }))?;
        Ok(())
    }

    /// Has a call's probe look. A look that a crash broke off is taken again.
    async fn look(
        &mut self,
        step: StepId,
        call: &ToolCalled,
        tool: &dyn Tool,
        probe: &Probe,
    ) -> Result<Look, DriveError> {
        let purpose = CallPurpose::Probe { of: step };
        let failed = |probe, refused, failure: Failure| Look {
            probe,
            saw: Seen::Unknown,
            result: Value::from(failure.message),
            refused,
        };
        let gate = self
            .agent
            .gate
            .for_probe(&call.name, Arc::clone(&probe.tool));
        let Ok(gate) = gate else {
            let failure = Failure::last("unknown_tool", "the probe's tool cannot be used");
            return Ok(failed(step, true, failure));
        };
        let name = &probe.tool.spec().name;
        let (looked, outcome) = self
            .machine_call(&gate, purpose, name, &probe.input)
            .await?;
        Ok(match outcome {
            Ok(result) => Look {
                probe: looked,
                saw: tool.probed(&call.input, &result),
                result,
                refused: false,
            },
            Err(Refusal::NotAdmitted(failure)) => failed(looked, true, failure),
            Err(Refusal::Tool(failure)) => failed(looked, false, failure),
        })
    }

    /// A call that the machine itself makes: recorded like any other, and not shown to the model.
    pub(super) async fn machine_call(
        &mut self,
        gate: &Gate,
        purpose: CallPurpose,
        name: &str,
        input: &Value,
    ) -> Result<(StepId, Result<Value, Refusal>), DriveError> {
        self.check_or_save().await?;
        let again = self.run.machine_call_for(purpose).map(|state| {
            let (step, attempt) = (state.call.step, state.tries + 1);
            (step, attempt)
        });
        let step = match again {
            Some((step, attempt)) => {
                let key = None;
                self.push(Event::ToolStarted(ToolStarted { step, attempt, key }))?;
                step
            }
            None => {
                let step = StepId(self.run.last_step().0 + 1);
                if let Some(error) = self.admit_own(gate, purpose, step, name, input).await? {
                    return Ok((step, Err(Refusal::NotAdmitted(error))));
                }
                step
            }
        };
        self.flush(None).await?;
        crash_point!("run.after_machine_intent");
        if let Err(refusal) = self.environment.recorder.check() {
            let message = "the run was told to stop before this call was made";
            let error = Failure::passing(ModelFailed::NOT_CALLED, message);
            self.push(Event::ToolFailed(ToolFailed { step, error }))?;
            return Err(self
                .save_before(refusal)
                .await
                .map_or_else(DriveError::from, |()| {
                    DriveError::from(RecordError::Stopping)
                }));
        }
        let Some(called) = self.run.machine_call(step).map(|state| state.call.clone()) else {
            let message = "the call is not known any more";
            return Ok((
                step,
                Err(Refusal::Tool(Failure::last(
                    ModelFailed::NOT_CALLED,
                    message,
                ))),
            ));
        };
        let context = ToolContext {
            policy: gate.policy_check(&called.name, self.policy_context().agent),
            ..self.tool_context(&called)
        };
        let content = telemetry::Content::of(self.agent);
        let span = telemetry::execute_tool(content, &called);
        let run = gate.run(&called.name, called.input.clone(), context);
        let outcome = self.in_time(run.instrument(span)).await?;
        let outcome = outcome.unwrap_or_else(|| {
            let message = "the run's deadline came before this call returned";
            Err(Failure::last("tool_timeout", message))
        });
        let outcome = outcome.and_then(|outcome| match outcome.follow_up {
            // Nothing of what it asks for is begun: it had better not read as done.
            Some(_) => Err(Failure::last(
                "denied",
                "a call that the machine makes gives a result, and begins or awaits nothing",
            )),
            None => Ok(outcome),
        });
        match outcome {
            Ok(outcome) => {
                let handle = outcome.handle.map(|(handle, bytes)| {
                    self.blobs.push((handle.digest.clone(), bytes));
                    handle
                });
                let output = outcome.output;
                self.push(Event::ToolCompleted(ToolCompleted {
                    step,
                    output: output.clone(),
                    handle,
                    files: Vec::new(),
                    child: None,
                    parts: Vec::new(),
                }))?;
                Ok((step, Ok(output)))
            }
            Err(mut error) => {
                // A tool that gives this code was called nevertheless.
                if error.code == ModelFailed::NOT_CALLED {
                    "tool_failed".clone_into(&mut error.code);
                }
                let failure = error.clone();
                self.push(Event::ToolFailed(ToolFailed { step, error }))?;
                Ok((step, Err(Refusal::Tool(failure))))
            }
        }
    }

    /// Records a call of the machine's own with the gate's decision; returns why the call must not run.
    /// Such a call must not change the world, and no person is asked about the call.
    async fn admit_own(
        &mut self,
        gate: &Gate,
        purpose: CallPurpose,
        step: StepId,
        name: &str,
        input: &Value,
    ) -> Result<Option<Failure>, DriveError> {
        let admission = gate
            .recheck(name, input.clone(), &self.policy_context())
            .await;
        let error = admission.error.or_else(|| {
            let denied = |message: &str| Some(Failure::last("denied", message));
            // An `idempotent` call may write, as `write_file` does. One that names no resource is taken at its word, and so
            // is a probe, which its tool declares.
            let touched = admission.resources.iter();
            let mut writes = touched.flat_map(|touched| &touched.writes);
            let writes = writes.any(|resource| *resource != Resource::Everything);
            let is_preview = matches!(purpose, CallPurpose::Preview { .. });
            // The memory adds a fact once for each key, so a lost call is made again with the same key.
            let may_write = purpose == CallPurpose::Remember && admission.effect == Effect::Keyed;
            if admission.effect.is_write() && !may_write || is_preview && writes {
                return denied("a call that the machine makes must not change anything");
            }
            admission.approval.as_ref().and_then(|_| {
                denied("a person would have to approve this call, and the machine asks nobody")
            })
        });
        self.push(Event::ToolCalled(ToolCalled {
            step,
            provider_id: String::new(),
            name: name.to_owned(),
            input: admission.input,
            effect: admission.effect,
            resources: admission.resources.filter(|_| error.is_none()),
            key: error.is_none().then(|| self.environment.call_key()),
            initiator: Initiator::Machine,
            purpose: Some(purpose),
            decision: match error.clone() {
                Some(error) => GateDecision::Refuse { error },
                None => GateDecision::Start,
            },
        }))?;
        Ok(error)
    }

    /// The context of a call's tool.
    pub(super) fn tool_context(&self, call: &ToolCalled) -> ToolContext {
        let environment = self.environment;
        ToolContext {
            step: call.step,
            key: key_of(call),
            effect: call.effect,
            workspace: environment.workspace.clone(),
            tree: environment.tree.clone(),
            cancel: environment.cancel.clone(),
            now_micros: environment.clock.now_micros(),
            results: Arc::clone(self.run.results()),
            blobs: Arc::clone(&environment.blobs),
            policy: self
                .agent
                .gate
                .policy_check(&call.name, self.policy_context().agent),
            resumed: self
                .run
                .call(call.step)
                .and_then(|state| state.resumed.clone()),
            memory: self.memory_of(call),
        }
    }
}

fn key_of(call: &ToolCalled) -> CallKey {
    call.key
        .clone()
        .expect("a key is recorded with the intent at the latest")
}

/// Why a call of the machine's own gave no result.
pub(super) enum Refusal {
    /// The gate did not admit the call.
    NotAdmitted(Failure),
    /// Its tool failed.
    Tool(Failure),
}
