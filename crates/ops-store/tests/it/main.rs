//! Tests of the stores: one conformance suite for every dialect, and what only SQLite has.

#![expect(clippy::unwrap_used, reason = "the helpers of a test are a test")]

mod alike;
mod conformance;
mod mcp;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;
mod world;
