//! Probes: read-only calls that say whether a call whose outcome was lost took effect.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use super::Tool;

/// A read-only call that says whether another call took effect.
pub struct Probe {
    /// The tool that looks. Its call must be `pure` or `idempotent`, and passes the gate.
    pub tool: Arc<dyn Tool>,
    /// What it is called with.
    pub input: Value,
    /// How long the lost call may still take effect after its worker was lost. A look that saw
    /// [`Seen::NotDone`](crate::event::Seen::NotDone) counts only after that.
    pub settle: Duration,
    /// What follows where the call did not take effect.
    pub not_done: NotDone,
}

/// What follows where a probe saw that a `write` call did not take effect. A `keyed` one runs again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NotDone {
    /// A person decides: whoever is called may not know the call's key, so a first request that comes
    /// later than thought and a second one would be two.
    #[default]
    Park,
    /// The call runs again, with the same key.
    Rerun,
}
