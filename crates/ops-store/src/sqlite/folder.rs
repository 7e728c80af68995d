//! The data folder: its lock, its database's connections and its log, backups of it, and its state.

pub(crate) mod backup;
pub mod doctor;
pub(crate) mod lock;
pub(crate) mod open;
pub(crate) mod start;
pub(crate) mod wal;
