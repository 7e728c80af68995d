//! The ports, by who calls.

mod agents;
mod budgets;
mod mcp;
mod retention;
mod runs;
mod schedules;
mod tasks;
mod upkeep;
