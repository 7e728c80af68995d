// What PostgreSQL's errors mean: whether to try again, on which connection, and what to tell a caller.

use std::time::Duration;

use ops_core::ports::StoreError;
use tokio_postgres::error::{Error, SqlState};

/// A statement, a transaction or a connection failed.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) remedy: Remedy,
    pub(crate) message: String,
    /// Whether the disk of the database is full.
    full: bool,
}

// What is to be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Try the transaction again: others were in its way, or a plan was out of date.
    Again,
    /// Connect anew, then try again: the connection is broken, or leads to a server that only reads.
    Reconnect,
    // Nothing helps but a person.
    Give,
}

impl Failure {
    pub(crate) fn give(message: impl Into<String>) -> Self {
        Self {
            remedy: Remedy::Give,
            message: message.into(),
            full: false,
        }
    }

    pub(crate) fn again(message: impl Into<String>) -> Self {
        Self {
            remedy: Remedy::Again,
            ..Self::give(message)
        }
    }

    pub(crate) fn late(deadline: Duration) -> Self {
        Self {
            remedy: Remedy::Reconnect,
            ..Self::give(format!(
                "the database has not answered within {:.0} s",
                deadline.as_secs_f64()
            ))
        }
    }

    pub(crate) fn into_store_error(self) -> StoreError {
        match self.full {
            true => StoreError::Full(self.message),
            false => StoreError::Unavailable(self.message),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let Some(state) = error.code() else {
            // Not from the server: the connection.
            return Self {
                remedy: Remedy::Reconnect,
                message: with_causes(&error),
                full: false,
            };
        };
        Self {
            remedy: remedy(state),
            full: *state == SqlState::DISK_FULL,
            message: with_causes(&error),
        }
    }
}

fn remedy(state: &SqlState) -> Remedy {
    const AGAIN: [SqlState; 8] = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        // A statement of ours that took too long: it may have waited for a lock.
        SqlState::QUERY_CANCELED,
        // Another transaction was first with a key: the next look finds it.
        SqlState::UNIQUE_VIOLATION,
        // "cached plan must not change result type", after a migration beneath us.
        SqlState::FEATURE_NOT_SUPPORTED,
        SqlState::OUT_OF_MEMORY,
        SqlState::IN_FAILED_SQL_TRANSACTION,
    ];
    let code = state.code();
    if AGAIN.contains(state) {
        Remedy::Again
    } else if *state == SqlState::READ_ONLY_SQL_TRANSACTION
        || *state == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
        || *state == SqlState::TOO_MANY_CONNECTIONS
        || code.starts_with("08")
        || code.starts_with("57P")
    {
        Remedy::Reconnect
    } else {
        Remedy::Give
    }
}

// The error with what it comes from. The client library shows no password.
fn with_causes(error: &Error) -> String {
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !said.contains(&more) {
            said = format!("{said}: {more}");
        }
        cause = error.source();
    }
    said
}
