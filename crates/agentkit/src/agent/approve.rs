//! Approvals of a run in this process: a closure decides about calls that the policy asks about.

use std::{collections::BTreeSet, fmt};

use serde_json::Value;

use crate::{
    BoxFuture, Event, StepId,
    drive::{Batch, DriveEnvironment, DriveError},
    event::{GateDecision, ToolApproved, ToolDenied},
    run::Run,
};

/// A call before its approval.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PendingCall {
    /// The step.
    pub step: StepId,
    /// The tool.
    pub tool: String,
    /// The exact arguments of the call.
    pub input: Value,
    /// Why the policy asks.
    pub reason: String,
}

/// Decision about a call.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum CallDecision {
    /// The call runs with its arguments.
    Approve,
    /// The call runs with these arguments. The gate checks the arguments as it checks those of a model.
    ApproveWith(Value),
    /// The call never runs; the model reads the reason.
    Deny(String),
    /// No decision: the run goes on as far as it can, and ends with [`RunError::Waiting`](super::RunError::Waiting).
    Leave,
}

type Decide = dyn FnMut(PendingCall) -> BoxFuture<'static, CallDecision> + Send;

/// Decides about calls.
pub(super) struct Approver {
    decide: Box<Decide>,
    /// Calls without a decision. The closure was asked, and is not asked again.
    left: BTreeSet<StepId>,
}

impl Approver {
    pub(super) fn new<F, D>(mut decide: F) -> Self
    where
        F: FnMut(PendingCall) -> D + Send + 'static,
        D: Future<Output = CallDecision> + Send + 'static,
    {
        Self {
            decide: Box::new(move |call| Box::pin(decide(call))),
            left: BTreeSet::new(),
        }
    }

    /// Decides about steps that wait for approval, and records the decisions. Whether there was a decision: without a
    /// decision the run would wait for ever.
    pub(super) async fn decide(
        &mut self,
        steps: &[StepId],
        run: &mut Run,
        environment: &DriveEnvironment,
    ) -> Result<bool, DriveError> {
        let mut events = Vec::new();
        for step in steps {
            let is_left =
                self.left.contains(step) && !units::mutant!("agentkit.a_left_call_is_asked_again");
            let call = run.call(*step).filter(|_| !is_left);
            let Some(call) = call.map(|state| &state.call) else {
                continue;
            };
            let pending = PendingCall {
                step: *step,
                tool: call.name.clone(),
                input: call.input.clone(),
                reason: match &call.decision {
                    GateDecision::Ask { reason, .. } => reason.clone(),
                    GateDecision::Start | GateDecision::Queue | GateDecision::Refuse { .. } => {
                        String::new()
                    }
                },
            };
            let approved = |input| ToolApproved {
                step: *step,
                input,
                by: None,
            };
            events.push(match (self.decide)(pending).await {
                CallDecision::Approve => Event::ToolApproved(approved(None)),
                CallDecision::ApproveWith(input) => Event::ToolApproved(approved(Some(input))),
                CallDecision::Deny(reason) => Event::ToolDenied(ToolDenied {
                    step: *step,
                    reason,
                    by: None,
                }),
                CallDecision::Leave => {
                    self.left.insert(*step);
                    continue;
                }
            });
        }
        if events.is_empty() {
            return Ok(false);
        }
        environment
            .recorder
            .append(Batch {
                events: &events,
                blobs: Vec::new(),
                commands: Vec::new(),
                stop: None,
                run: None,
            })
            .await?;
        for event in &events {
            run.apply(event)?;
        }
        Ok(true)
    }
}

impl fmt::Debug for Approver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Approver")
    }
}
