//! The store on SQLite: one process owns a folder, one thread writes, a few connections read.
//!
//! Reading order: `store` (open and close), `verbs`, `prepare` (what callers do first), `inbox` and
//! `writer` (group commit), `batch` (what a write is) and `cascade` (what it means for tied tasks), the
//! writes `submit`, `fork`, `claim`, `apply`, `approvals` and `leases`, then `reads`, and `list` and
//! `count` over `search`.

mod agents;
mod answer;
mod apply;
mod approvals;
mod backup;
mod batch;
mod blob;
mod cascade;
mod changes;
mod checkpoint;
mod claim;
mod columns;
mod count;
pub mod doctor;
mod error;
mod fork;
mod inbox;
mod job;
mod leases;
mod linger;
mod list;
mod lock;
mod open;
mod options;
mod prepare;
mod rates;
mod readers;
mod reads;
mod repeat;
mod request;
mod retention;
mod rows;
mod schedules;
mod schema;
mod search;
mod sessions;
mod statements;
mod stats;
mod store;
mod submit;
mod terms;
mod verbs;
mod writer;

pub use backup::{Backup, BackupError, backup, restore};
pub use lock::{LOCK_FILE, LockInfo, running_server};
pub use open::{DATABASE_FILE, OpenError};
pub use options::{Durability, Options};
pub use schema::SCHEMA_VERSION;
pub use store::SqliteStore;
