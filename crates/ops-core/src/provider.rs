//! Limits of providers: requests and tokens for each minute, of all workers that use one key. The rules are in
//! [`rules::provider`](crate::rules::provider).

use std::sync::Arc;

use crate::time::Micros;

/// SHA-256 of a provider's endpoint and key: processes that use one key have one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProviderKey(pub [u8; 32]);

/// The most calls to a provider under one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderLimit {
    /// The provider, as the names of its models begin: `openai`.
    pub provider: String,
    /// The endpoint and the key.
    pub key: ProviderKey,
    /// Requests for each minute, from 1; `None` for no limit.
    pub requests: Option<u32>,
    /// Tokens for each minute, from 1; `None` for no limit.
    pub tokens: Option<u32>,
}

/// How far the limits of a key are used: times up to which calls have taken the minute's share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProviderState {
    /// When the next request is expected.
    pub requests_at: Micros,
    /// When the tokens of the calls so far are worked off.
    pub tokens_at: Micros,
    /// The end of the line of waiting tasks: the turn of the next task to wait.
    pub line_at: Micros,
    /// The time of the last change.
    pub changed_at: Micros,
}

/// A change of a provider's state that an append brings about; the changes commit with its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderEntry {
    /// A model call is about to begin.
    Call {
        /// The limits.
        limit: Arc<ProviderLimit>,
        /// The tokens that the call reserves.
        tokens: u64,
        /// The turn that the task has waited for.
        turn: Option<Micros>,
    },
    /// A model call has an outcome: its usage takes the place of the reserved tokens. A call without an outcome keeps its
    /// reservation.
    Settle {
        /// The limits.
        limit: Arc<ProviderLimit>,
        /// The reserved tokens.
        reserved: u64,
        /// The usage in tokens.
        used: u64,
    },
    /// The task waits for its turn. The append's wait ends then.
    Wait {
        /// The limits.
        limit: Arc<ProviderLimit>,
        /// The tokens of the call.
        tokens: u64,
        /// The turn that the task has waited for before.
        turn: Option<Micros>,
    },
}

impl ProviderEntry {
    /// The limits that the entry is about.
    #[must_use]
    pub fn limit(&self) -> &ProviderLimit {
        match self {
            Self::Call { limit, .. } | Self::Settle { limit, .. } | Self::Wait { limit, .. } => {
                limit
            }
        }
    }
}
