//! The store's verbs for the loops that keep tasks moving, of every tenant.

use super::{Configuration, Fut, StoreError};
use crate::time::Micros;

/// Outcome of `wake_due`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Due {
    /// How many tasks it moved on or ended.
    pub woken: u32,
    /// The next due date.
    pub next: Option<Micros>,
}

/// Whether a store can do its work.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreHealth {
    /// The last failure of a write; `None` once a write succeeds again.
    pub failure: Option<StoreError>,
    /// Warnings for the operator of a store that works: one sentence each.
    pub warnings: Vec<String>,
}

/// The verbs of the engine's loops. No verb writes while no date is due.
pub trait UpkeepStore: Send + Sync {
    /// Ends the sessions whose heartbeats stopped, and takes their leases back; says how many.
    fn expire_sessions(&self) -> Fut<'_, Result<u32, StoreError>>;
    /// Moves on the tasks whose delay or timer is over, and ends the tasks that are past their deadline, at
    /// most `limit`.
    fn wake_due(&self, limit: u32) -> Fut<'_, Result<Due, StoreError>>;
    /// Corrects the tasks that were written under a clock that was ahead, as [`clock`](crate::rules::clock)
    /// says, at most `limit`; gives their number. A task without a due date is corrected with its next
    /// event.
    fn correct_clocks(&self, limit: u32) -> Fut<'_, Result<u32, StoreError>>;
    /// The queues that have ready tasks, for the sweeper.
    fn ready_queues(&self) -> Fut<'_, Result<Vec<String>, StoreError>>;
    /// The queues that live workers of all processes serve; none where one process has the store to itself.
    fn served_queues(&self) -> Fut<'_, Result<Vec<String>, StoreError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
    /// The configurations of the live workers of all processes; an empty list where one process has the store to itself.
    fn worker_configurations(&self) -> Fut<'_, Result<Vec<Configuration>, StoreError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
    /// Whether the store can do its work, as far as it knows without asking the disk.
    fn health(&self) -> StoreHealth {
        StoreHealth::default()
    }
}
