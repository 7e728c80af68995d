//! Effect classes.

use serde::{Deserialize, Serialize};

/// What repeating a call does, and so what happens to it after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Changes nothing: it runs again.
    Pure,
    /// Leaves the same state however often it runs: it runs again.
    Idempotent,
    /// Anything else: after a crash its outcome is in doubt, and the run parks.
    Write,
}
