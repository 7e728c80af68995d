//! The built binary as users drive it: commands, REST, model endpoints that misbehave, bad input.
//!
//! Every test has a folder of its own ([`place::Place`]), starts the binary with an environment that
//! holds nothing but what the test says, and ends only what it started. Each run of a command is
//! checked for panics, whatever else the test looks at.

mod agents;
mod approvals;
mod backup;
mod bad_body;
mod bad_folder;
mod bad_model;
mod bad_tools;
mod bench;
mod bombs;
mod budget;
mod cassette;
mod chain;
mod damage;
mod docs;
#[cfg(feature = "failpoints")]
mod eval;
mod example;
mod exit_codes;
mod export;
mod full_disk;
mod http_tools;
mod images;
#[cfg(feature = "failpoints")]
mod in_doubt;
mod large_result;
mod many_files;
mod mistakes;
mod old_folder;
mod parts;
mod place;
mod planners;
mod policy;
mod queues;
mod retention;
mod run_flags;
mod schedules;
mod secrecy;
mod surface;
mod task_commands;
mod tasks;
mod telemetry;
mod terminal;
mod together;
mod version_1;
mod waits;
mod wire;
mod wire_budget;
mod wire_faults;
