//! Everything that does not write, on connections of its own.

pub(crate) mod agents;
pub(crate) mod approvals;
pub(crate) mod budgets;
pub(crate) mod count;
pub(crate) mod list;
pub(crate) mod mcp;
pub(crate) mod readers;
pub(crate) mod reads;
pub(crate) mod schedules;
pub(crate) mod search;
pub(crate) mod view;
