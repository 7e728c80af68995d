//! The tools that agents get, as configured.

use std::sync::Arc;

use agentkit::Tool;
use agentkit_tools::{Quota, http};

use crate::config::Config;

/// Every tool of this configuration.
pub(crate) fn configured(config: &Config) -> Vec<Arc<dyn Tool>> {
    let defaults = http::Settings::default();
    let allow = config.optional("tools.http.allow").unwrap_or_default();
    let http = http::Settings {
        // Checked when the configuration was loaded.
        allow: allow.parse().unwrap_or_default(),
        max_bytes: config
            .number("tools.http.max_bytes")
            .unwrap_or(defaults.max_bytes),
        timeout: config
            .duration("tools.http.timeout")
            .unwrap_or(defaults.timeout),
        writes: config.writes().to_vec(),
        ..defaults
    };
    let limit = |key| {
        config
            .number(key)
            .filter(|most| *most > 0)
            .unwrap_or(u64::MAX)
    };
    let quota = Quota::new(
        limit("quota.task_bytes"),
        limit("quota.task_files"),
        limit("quota.total_bytes"),
    );
    let mut tools = agentkit_tools::standard_within(&http, &Arc::new(quota));
    tools.extend(agentkit::tool::control::all());
    #[cfg(feature = "failpoints")]
    tools.extend(crate::faults::ledger_tools());
    tools
}
