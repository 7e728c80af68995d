//! An MCP host against servers that misbehave.

#![expect(clippy::unwrap_used, reason = "the helpers of a test are a test")]

mod calls;
mod conformance;
mod eras;
mod http;
mod lists;
mod processes;
mod questions;
mod real;
mod world;
