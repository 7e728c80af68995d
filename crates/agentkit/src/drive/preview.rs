//! Previews: calls that the machine makes so that the reviewer of another call sees what is at stake.

use serde_json::Value;

use super::{
    Approval, Command, DriveError, Driver, Preview, external::agent_digest, probes::Refusal,
};
use crate::{
    event::{CallPurpose, Failure, GateDecision, PreviewCall, StepId, ToolCalled},
    tool::canonical_digest,
};

/// A preview that was made: its step and its outcome.
type Seen = (StepId, Result<Value, Failure>);

impl Driver<'_> {
    /// Makes the preview of a call that waits for approval, and shows the reviewer the outcome.
    ///
    /// The outcome of the preview and the approval's copy of the outcome are one append. A crash before this
    /// append leaves a call of the machine's own in flight, which the next driver makes again; a crash after
    /// it finds both. A preview that fails, or that the gate refuses, is shown as it is: the reviewer decides
    /// without a preview, and the call waits no longer for it.
    pub(super) async fn preview(&mut self, step: StepId) -> Result<(), DriveError> {
        let state = self.run.call(step);
        let found = state.and_then(|state| Some((state.call.clone(), state.preview()?.clone())));
        let Some((called, PreviewCall { tool, input })) = found else {
            return Ok(());
        };
        let purpose = CallPurpose::Preview { of: step };
        let gate = self.agent.gate.clone();
        let (made, outcome) = self.machine_call(&gate, purpose, &tool, &input).await?;
        let outcome = outcome.map_err(|refusal| match refusal {
            Refusal::NotAdmitted(failure) | Refusal::Tool(failure) => failure,
        });
        let request = self.approval_request(&called, Some((made, outcome)));
        self.commands.extend(request);
        self.flush(None).await?;
        Ok(())
    }

    /// The request for approval of a call that is asked about, with the preview as far as it is.
    pub(super) fn approval_request(
        &self,
        called: &ToolCalled,
        seen: Option<Seen>,
    ) -> Option<Command> {
        let GateDecision::Ask {
            reason,
            until_micros,
            tool_digest,
            escalation,
            preview,
        } = &called.decision
        else {
            return None;
        };
        let entry = self.agent.gate.registry().get(&called.name);
        let (step, outcome) = seen.unzip();
        Some(Command::RequestApproval(Approval {
            step: called.step,
            tool: called.name.clone(),
            tool_digest: tool_digest.clone().unwrap_or_default(),
            agent_digest: self.run.config().map(agent_digest).unwrap_or_default(),
            input: called.input.clone(),
            input_digest: canonical_digest(&called.input),
            input_schema: entry
                .map(|tool| tool.spec().input_schema.clone())
                .unwrap_or_default(),
            reason: reason.clone(),
            until_micros: *until_micros,
            escalation: escalation.clone(),
            preview: preview.clone().map(|call| Preview {
                call,
                step,
                outcome,
            }),
        }))
    }
}
