//! Why a command was refused.

use ops_core::{Code, Rejection, ports::StoreError};

/// A refused command: a code of the registry and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The stable code, with its title and remedy.
    pub code: Code,
    /// What happened and why.
    pub message: String,
    /// Each offending part of the input, if that is what is wrong.
    pub fields: Vec<FieldError>,
}

/// One offending part of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Where it is: names of fields, outermost first, as the types of this crate name them
    /// (`idempotency_key`, `input`, `arguments`, `limits.max_cost`). A surface translates those that it
    /// names otherwise. Within `input` and `arguments` they are the keys of the document.
    pub path: Vec<String>,
    /// What is wrong with it.
    pub message: String,
    /// A stable kind, for instance `missing` or `unknown_field`.
    pub kind: &'static str,
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

impl FieldError {
    /// One offending part.
    pub fn new(path: &[&str], kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            path: path.iter().map(|part| (*part).to_owned()).collect(),
            message: message.into(),
            kind,
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
            StoreError::IdempotencyMismatch => Code::IdempotencyMismatch,
            StoreError::Full(_) => Code::StorageFull,
            StoreError::TooLarge { .. } => Code::BodyTooLarge,
            StoreError::Unreadable(_) => Code::StorageDamaged,
            StoreError::SessionOver | StoreError::Unavailable(_) => Code::StorageUnavailable,
        };
        Self::new(code, error.to_string())
    }
}
