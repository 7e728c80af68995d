//! Exit codes.

use std::process::ExitCode;

/// What the process says to its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// The command failed.
    Failed = 1,
    /// The command line or the input was wrong.
    Usage = 2,
    /// The task failed or was cancelled.
    TaskFailed = 3,
    /// The server or the database cannot be used.
    Unavailable = 5,
    /// The task waits for somebody's word.
    Waits = 6,
    /// Time was up.
    Timeout = 124,
    /// Interrupted.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that asks for its own exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Exiting {
    /// The code.
    pub(crate) exit: Exit,
    /// What happened.
    pub(crate) message: String,
}

/// An error with an exit code.
pub(crate) fn error(exit: Exit, message: impl Into<String>) -> anyhow::Error {
    Exiting {
        exit,
        message: message.into(),
    }
    .into()
}

/// The exit code of an error.
pub(crate) fn code_of(error: &anyhow::Error) -> Exit {
    if let Some(exiting) = error.downcast_ref::<Exiting>() {
        return exiting.exit;
    }
    match error.downcast_ref::<ops_store::OpenError>() {
        Some(_) => Exit::Unavailable,
        None => Exit::Failed,
    }
}
