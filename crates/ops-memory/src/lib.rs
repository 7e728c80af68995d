//! The store's ports in memory, for tests: no SQL, no disk, and no rule of its own.
//!
//! The writing verbs are those of [`ops_core::verbs`]. Where this store finds rows by a scan, a database has an
//! index. So a test that needs a store needs no folder, and a dialect whose histories differ from the histories
//! here has a rule of its own.
//!
//! Reading order: `data` (rows and queries), `rows` (the port of the verbs), `sessions`, and `ports`, the verbs
//! for their callers.

mod budgets;
mod claims;
mod clock;
mod data;
mod filter;
mod ports;
mod rows;
mod sessions;
mod store;

pub use clock::ManualClock;
pub use store::{MemoryStore, Options};
