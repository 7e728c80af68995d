//! The store's verbs for the loops that keep tasks moving, of every tenant.

use super::{Fut, StoreError};
use crate::time::Micros;

/// What `wake_due` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Due {
    /// How many tasks it moved on or ended.
    pub woken: u32,
    /// When the next one is due.
    pub next: Option<Micros>,
}

/// Whether a store can do its work.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreHealth {
    /// Why writes fail, since the last one failed; none once one succeeds again.
    pub failure: Option<StoreError>,
    /// What a person has to see to, though the store works: one sentence each.
    pub warnings: Vec<String>,
}

/// The verbs of the engine's loops. None of them writes while nothing is due.
pub trait UpkeepStore: Send + Sync {
    /// Ends the sessions whose heartbeats stopped, and takes their leases back; says how many.
    fn expire_sessions(&self) -> Fut<'_, Result<u32, StoreError>>;
    /// Moves on the tasks whose delay or timer is over, and ends those that are past their deadline, at
    /// most `limit`.
    fn wake_due(&self, limit: u32) -> Fut<'_, Result<Due, StoreError>>;
    /// Corrects the tasks that were written to under a clock that was ahead, as
    /// [`clock`](crate::rules::clock) says, at most `limit`; says how many. Those that nothing is due of
    /// are corrected with their next event.
    fn correct_clocks(&self, limit: u32) -> Fut<'_, Result<u32, StoreError>>;
    /// The queues that have ready tasks: what a sweeper wakes.
    fn ready_queues(&self) -> Fut<'_, Result<Vec<String>, StoreError>>;
    /// Whether the store can do its work, as far as it knows without asking the disk.
    fn health(&self) -> StoreHealth {
        StoreHealth::default()
    }
}
