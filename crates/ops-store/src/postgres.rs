//! The store on PostgreSQL: a server, and as many processes of this program as wanted.
//!
//! The verbs are in [`ops_core::verbs`]; here are the rows. Callers queue requests, and threads with a connection
//! each carry the requests out. A writing thread takes all waiting requests into one transaction; a reading thread
//! sees one state of the database. Statements work through a pooler that gives each transaction another connection.
//!
//! Reading order: `store`, `ports` (the verbs as callers see them), `lane` (requests, batches, retries), `work` (a
//! transaction's rows), `queries`, `verbs` (sessions and retention, which have rows of their own), `schema`,
//! `connection`, `listen` (other processes on the same database).

mod bulk;
mod clock;
pub(crate) mod connection;
pub(crate) mod error;
mod export;
mod import;
mod lane;
mod listen;
mod options;
mod ports;
mod queries;
mod restore;
mod schema;
mod shared;
mod store;
mod url;
mod verbs;
mod work;

pub use clock::DatabaseClock;
pub use export::{ExportError, Progress, backup};
pub use import::{ImportError, Imported, import};
pub use options::{Options, Time};
pub use restore::{RestoreError, Restored, restore};
pub use schema::{OpenError, SCHEMA_VERSION};
pub use store::{Inspection, PostgresStore, inspect, live_sessions, migrate};
pub use url::{Address, UrlError};
