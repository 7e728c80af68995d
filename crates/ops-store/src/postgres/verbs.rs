// Verbs that are no verbs of [`ops_core::verbs`]: what has rows of its own here.

pub(crate) mod mcp;
pub(crate) mod retention;
pub(crate) mod sessions;
