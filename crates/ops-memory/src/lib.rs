//! The store's ports in memory, for tests: no SQL, no disk, and no rule of its own.
//!
//! Each verb is what [`ops_core::rules`] describes: find rows, let a rule decide about each, write, and
//! for each follow-up find its targets and go on. Where rows are found by a scan, a database has an index.
//! So a test that needs a store needs no folder, and a dialect whose histories differ from the ones here
//! has a rule of its own.
//!
//! Reading order: `data` (rows and queries), `write` (transitions and what follows from them), `submit`,
//! `claim`, `sessions`, and `ports`, the verbs as callers see them.

mod check;
mod claim;
mod clock;
mod data;
mod filter;
mod ports;
mod sessions;
mod store;
mod submit;
mod write;

pub use clock::ManualClock;
pub use store::{MemoryStore, Options};
