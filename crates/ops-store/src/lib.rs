//! The engine's only SQL: adapters of [`ops_core::ports::Store`].
//!
//! - [`sqlite`]: one process, one folder, one writer thread with group commit. The default.
//! - `postgres` (feature `postgres`): a server, and as many processes as wanted.
//! - [`version_1`]: the tasks of the first Opspawn.
//!
//! Each verb of the port is one atomic step here; no transaction type leaves this crate, and every
//! transition is decided by [`ops_core::rules`] before it is written.

/// A crash point, by its name; nothing without the feature `failpoints`.
#[cfg(feature = "failpoints")]
macro_rules! crash_point {
    ($name:literal) => {
        fail::fail_point!($name)
    };
}
#[cfg(not(feature = "failpoints"))]
macro_rules! crash_point {
    ($name:literal) => {};
}

#[cfg(feature = "postgres")]
pub mod postgres;
pub mod sqlite;
pub mod version_1;

#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
pub use sqlite::{Durability, OpenError, Options, SqliteStore};
