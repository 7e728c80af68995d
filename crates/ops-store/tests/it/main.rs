//! Tests of the stores: one conformance suite for every dialect, and what only SQLite has.

mod conformance;
mod sqlite;
mod world;
