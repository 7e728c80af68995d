//! The meaning of a refused append for a run.

use agentkit::drive::RecordError;
use ops_core::{Rejection, ports::StoreError};

/// The reason of the recorder.
pub(crate) fn refused(error: &StoreError) -> RecordError {
    match error {
        StoreError::Rejected(Rejection::Cancelling) => RecordError::Cancelled,
        StoreError::NotFound
        | StoreError::SessionOver
        | StoreError::Rejected(
            Rejection::Terminal(_)
            | Rejection::WrongState(_)
            | Rejection::StaleEpoch { .. }
            | Rejection::WrongSeq { .. }
            | Rejection::NotInDoubt(_)
            | Rejection::NotDue,
        ) => RecordError::LeaseLost,
        StoreError::Rejected(
            Rejection::Child { .. }
            | Rejection::Tree { .. }
            | Rejection::Budget { .. }
            | Rejection::ProviderLimit { .. },
        )
        | StoreError::IdempotencyMismatch
        | StoreError::Full(_)
        | StoreError::TooLarge { .. }
        | StoreError::NoApproval(_)
        | StoreError::Decided(_)
        | StoreError::WrongRevision { .. }
        | StoreError::AgentChanged(_)
        | StoreError::AgentInUse(_)
        | StoreError::ScheduleChanged(_)
        | StoreError::NoAgent(_)
        | StoreError::AgentCycle(_)
        | StoreError::Unreadable(_)
        | StoreError::McpRefused(_)
        | StoreError::Unavailable(_) => RecordError::Unavailable(error.to_string()),
    }
}
