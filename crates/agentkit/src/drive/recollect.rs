//! Calls to long-term memory that the machine makes: the recall before planning, and the outcome at the end.

use serde_json::Value;

use super::{DriveError, Driver, probes::Refusal};
use crate::{
    event::{CallPurpose, Initiator, ToolCalled},
    memory::long_term::{CallMemory, Source},
};

impl Driver<'_> {
    /// Makes a call to long-term memory, and records its outcome before the next effect. A memory that is away, or a
    /// policy that denies the call, is told in the log: the run goes on without memory.
    pub(super) async fn recollect(
        &mut self,
        purpose: CallPurpose,
        tool: &str,
        input: &Value,
    ) -> Result<(), DriveError> {
        let gate = self.agent.gate.clone();
        let (step, outcome) = self.machine_call(&gate, purpose, tool, input).await?;
        if let Err(Refusal::NotAdmitted(failure) | Refusal::Tool(failure)) = outcome {
            tracing::warn!(
                %step,
                tool,
                code = failure.code,
                reason = failure.message,
                "long-term memory did not take part; the run goes on without it"
            );
        }
        self.flush(None).await?;
        crash_point!("run.after_recollection");
        Ok(())
    }

    /// The memory that a call's tool gets.
    pub(super) fn memory_of(&self, call: &ToolCalled) -> Option<CallMemory> {
        let memory = self.agent.long_term.clone()?;
        Some(CallMemory {
            memory,
            source: match call.initiator {
                Initiator::Model => Source::Model,
                Initiator::Machine => Source::Run,
            },
            learnt: self.run.has_learnt(),
        })
    }
}
