//! The shapes of retention, for `/openapi.json`.
#![expect(dead_code, reason = "they are described, never made")]

use std::collections::BTreeMap;

use utoipa::ToSchema;

/// How long tasks are kept, and the tasks that a deletion would take now.
#[derive(ToSchema)]
#[schema(as = RetentionState)]
pub(crate) struct RetentionCandidate {
    keep: Keep,
    /// Tasks by state.
    tasks: BTreeMap<String, u64>,
    /// Their events.
    events: u64,
}

/// Seconds after the end of a task, by its state; null for ever.
#[derive(ToSchema)]
pub(crate) struct Keep {
    #[schema(required)]
    completed: Option<f64>,
    #[schema(required)]
    failed: Option<f64>,
    #[schema(required)]
    cancelled: Option<f64>,
}

/// Deleted tasks, or tasks that would be deleted.
#[derive(ToSchema)]
#[schema(as = RetentionRun)]
pub(crate) struct Deleted {
    dry_run: bool,
    keep: Keep,
    /// Tasks by state.
    tasks: BTreeMap<String, u64>,
    /// Their events.
    events: u64,
    /// Whether there is more to delete.
    more: bool,
}
