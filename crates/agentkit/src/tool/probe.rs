//! Probes: read-only calls that say whether a call whose outcome was lost took effect.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use super::Tool;

/// A read-only call that says whether another call took effect.
pub struct Probe {
    /// The tool that looks. Its call must be `pure` or `idempotent`, and passes the gate.
    pub tool: Arc<dyn Tool>,
    /// Arguments of the probe's tool.
    pub input: Value,
    /// How long the lost call may still take effect after its worker was lost. A look that saw
    /// [`Seen::NotDone`](crate::event::Seen::NotDone) counts only after that.
    pub settle: Duration,
    /// Treatment of a call that did not take effect.
    pub not_done: NotDone,
}

/// Treatment of a `write` call that did not take effect, by its probe. A `keyed` call runs again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NotDone {
    /// A person decides: the far side may not know the call's key, so a first request that comes late and a
    /// second request would take effect twice.
    #[default]
    Park,
    /// The call runs again, with the same key.
    Rerun,
}
