//! The ports, by who calls.

mod agents;
mod retention;
mod runs;
mod schedules;
mod tasks;
mod upkeep;
