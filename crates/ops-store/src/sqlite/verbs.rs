//! What the writer does for each verb: load rows, let a rule decide, write, follow the links.

pub(crate) mod agents;
pub(crate) mod approvals;
pub(crate) mod budgets;
pub(crate) mod children;
pub(crate) mod claim;
pub(crate) mod command;
pub(crate) mod follow;
pub(crate) mod fork;
pub(crate) mod leases;
pub(crate) mod mcp;
pub(crate) mod retention;
pub(crate) mod schedules;
pub(crate) mod submit;
