//! The store's verbs for the loops that keep tasks moving, of every tenant.

use super::{Fut, StoreError};
use crate::time::Micros;

/// What `wake_due` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Due {
    /// How many tasks it moved on.
    pub woken: u32,
    /// When the next one is due.
    pub next: Option<Micros>,
}

/// The verbs of the engine's loops. None of them writes while nothing is due.
pub trait UpkeepStore: Send + Sync {
    /// Ends the sessions whose heartbeats stopped, and takes their leases back; says how many.
    fn expire_sessions(&self) -> Fut<'_, Result<u32, StoreError>>;
    /// Moves on the tasks whose delay or timer is over, at most `limit`.
    fn wake_due(&self, limit: u32) -> Fut<'_, Result<Due, StoreError>>;
    /// The queues that have ready tasks: what a sweeper wakes.
    fn ready_queues(&self) -> Fut<'_, Result<Vec<String>, StoreError>>;
}
