//! Queues that wake workers, and live hints that wake readers.
//!
//! Nothing here carries work: a lost wake-up costs delay only, because the store is the truth.

pub mod local;

pub use local::{LocalLive, LocalQueue};
