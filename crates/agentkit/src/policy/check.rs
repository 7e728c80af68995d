//! Questions of a tool to the policy while it runs.

use std::sync::Arc;

use serde_json::Value;

use super::Permission;

/// Asks the policy about a call of the same tool with other arguments.
///
/// A tool that is led elsewhere while running, as by an HTTP redirect, asks before going there: the
/// decision was about the arguments that the call began with.
#[derive(Clone)]
pub struct PolicyCheck(Arc<dyn Fn(Value) -> Permission + Send + Sync>);

impl PolicyCheck {
    /// A check that asks this.
    pub fn new(check: impl Fn(Value) -> Permission + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }

    /// A check that allows every call, for callers without a policy.
    #[must_use]
    pub fn allow_all() -> Self {
        Self::new(|_| Permission::Allow)
    }

    /// Whether the tool may do the effect of a call with these arguments.
    pub fn check(&self, arguments: Value) -> Permission {
        (self.0)(arguments)
    }
}
