//! The data folder: its lock and its database's connections, backups of it, and its state.

pub(crate) mod backup;
pub mod doctor;
pub(crate) mod lock;
pub(crate) mod open;
