//! The built binary as users drive it: commands, REST, model endpoints that misbehave, bad input.
//!
//! Every test has a folder of its own ([`test_dir::TestDir`]), starts the binary with an environment that
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
mod bound_children;
mod budget;
mod canary;
mod cassette;
mod chain;
mod claims;
#[cfg(feature = "postgres")]
mod clocks;
mod command_tools;
mod damage;
mod databases;
mod docs;
#[cfg(feature = "failpoints")]
mod eval;
mod example;
mod exit_codes;
mod export;
mod full_disk;
#[cfg(feature = "grpc")]
mod grpc;
mod guards;
mod http_tools;
#[cfg(feature = "postgres")]
mod idle;
mod images;
#[cfg(feature = "failpoints")]
mod in_doubt;
mod large_result;
mod many_files;
mod mcp;
mod mcp_real;
mod memory;
mod migrate_v1;
mod mistakes;
mod old_folder;
mod parts;
mod planners;
mod policy;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_backup;
#[cfg(feature = "failpoints")]
mod previews;
mod provider_limits;
mod queues;
mod quotas;
#[cfg(all(feature = "postgres", feature = "rabbit"))]
mod rabbitmq;
mod reload;
mod retention;
mod roles;
mod run_flags;
mod schedules;
mod secrecy;
mod surface;
#[cfg(all(feature = "postgres", feature = "rabbit"))]
mod system;
mod task_commands;
mod tasks;
mod telemetry;
mod terminal;
mod test_dir;
mod together;
mod version_1;
mod waits;
#[cfg(feature = "wasm")]
mod wasm_reach;
mod wasm_tools;
mod wire;
mod wire_budget;
mod wire_faults;
