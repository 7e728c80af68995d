//! The store on SQLite: one process owns a folder, one thread writes, a few connections read.
//!
//! Reading order:
//! - `store`: opening and closing; `folder`: the data folder, its lock, backups and `doctor`.
//! - `ports`: the verbs as callers see them. Each packs large values (`values`), then asks the writer or a
//!   reader.
//! - `writer`: one thread, one connection, group commit. A `batch` is the group that is being written.
//! - `verbs/*`: what the writer does for each verb: load rows, decide, write, follow the links.
//! - `queries`: what readers ask.
//! - `schema`: migrations, and rows as values of the domain.

mod error;
mod folder;
mod options;
mod ports;
mod queries;
mod schema;
mod sessions;
mod store;
mod values;
mod verbs;
mod writer;

pub use folder::{
    backup::{Backup, BackupError, Compacted, Damage, backup, compact, restore},
    doctor,
    lock::{Guest, LOCK_FILE, Lock, LockInfo, Serves, running_server, without_guests},
    open::{DATABASE_FILE, OpenError},
};
#[cfg(feature = "postgres")]
pub(crate) use folder::{
    backup::{discard_damaged, make as make_backup},
    open::open_reader,
};
pub use options::{Durability, Options};
pub use schema::SCHEMA_VERSION;
#[cfg(feature = "postgres")]
pub(crate) use schema::sums::ALL as SUMMED;
pub use store::SqliteStore;
#[cfg(feature = "postgres")]
pub(crate) use values::blob::{Chunk, unpack};
pub use writer::stats::Stats;
