//! The engine's commands and loops, on a store in memory and a clock that goes with the test.

#![expect(clippy::unwrap_used, reason = "the helpers of a test are a test")]

mod control;
mod forks;
mod loops;
mod schedules;
mod submit;
mod world;
