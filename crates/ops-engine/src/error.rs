//! Why a command was refused.

pub use ops_core::FieldError;
use ops_core::{Code, Rejection, ports::StoreError};

/// A refused command: a code of the registry and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The stable code, with its title and remedy.
    pub code: Code,
    /// The problem and its cause.
    pub message: String,
    /// Each invalid part of the input; empty for other problems.
    pub fields: Vec<FieldError>,
}

impl Error {
    /// An error without fields.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            fields: Vec::new(),
        }
    }

    /// An invalid input; the message is made of the fields'.
    #[must_use]
    pub fn invalid(fields: Vec<FieldError>) -> Self {
        let sentences: Vec<_> = fields
            .iter()
            .map(|field| match field.path.as_slice() {
                [] => field.message.clone(),
                path => format!("`{}`: {}", path.join("."), field.message),
            })
            .collect();
        Self {
            code: Code::InvalidBody,
            message: sentences.join("; "),
            fields,
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::NotFound => Code::TaskNotFound,
            StoreError::Rejected(rejection) => match rejection {
                Rejection::Terminal(_) => Code::TaskFinal,
                Rejection::NotInDoubt(_) => Code::NotInDoubt,
                Rejection::Cancelling => Code::TaskCancelling,
                Rejection::Child { .. }
                | Rejection::Budget { .. }
                | Rejection::ProviderLimit { .. } => Code::RunFailed,
                Rejection::Tree { .. } => Code::TooManyTasks,
                Rejection::WrongState(_)
                | Rejection::StaleEpoch { .. }
                | Rejection::WrongSeq { .. }
                | Rejection::NotDue => Code::Internal,
            },
            StoreError::NoApproval(_) => Code::ApprovalNotFound,
            StoreError::Decided(_) => Code::ApprovalDecided,
            StoreError::WrongRevision { .. } => Code::ApprovalChanged,
            StoreError::AgentChanged(_) => Code::AgentChanged,
            StoreError::ScheduleChanged(_) => Code::ScheduleChanged,
            StoreError::NoAgent(_) => Code::UnknownAgent,
            StoreError::AgentCycle(_) => Code::AgentCycle,
            StoreError::AgentInUse(_) => Code::AgentInUse,
            StoreError::McpRefused(_) => Code::McpDefinitionChanged,
            StoreError::IdempotencyMismatch => Code::IdempotencyMismatch,
            StoreError::Full(_) => Code::StorageFull,
            StoreError::TooLarge { .. } => Code::BodyTooLarge,
            StoreError::Unreadable(_) => Code::StorageDamaged,
            StoreError::SessionOver | StoreError::Unavailable(_) => Code::StorageUnavailable,
        };
        Self::new(code, error.to_string())
    }
}
