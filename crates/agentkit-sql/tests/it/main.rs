//! `sql_query` on files, and on the PostgreSQL servers that `cargo xtask test` starts.

#![expect(clippy::unwrap_used, reason = "the helpers of a test are a test")]

mod harness;
#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;
