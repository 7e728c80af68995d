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
    /// Changes the world, and whoever is called does it once for each key ([`CallKey`]): it runs again
    /// with the same key.
    ///
    /// [`CallKey`]: crate::event::CallKey
    Keyed,
    /// Anything else: after a crash its outcome is in doubt, and the run parks.
    Write,
}

impl Effect {
    /// Whether a second call, with a key of its own, could change the world a second time.
    #[must_use]
    pub fn is_write(self) -> bool {
        match self {
            Self::Pure | Self::Idempotent => false,
            Self::Keyed | Self::Write => true,
        }
    }
}
