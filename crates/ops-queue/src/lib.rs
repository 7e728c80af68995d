//! Queues that wake workers, and live hints that wake readers.
//!
//! Nothing here carries work: a lost wake-up costs delay only, because the store is the truth.

pub mod local;
#[cfg(feature = "rabbit")]
pub mod rabbit;

pub use local::{LocalLive, LocalQueue};
#[cfg(feature = "rabbit")]
pub use rabbit::RabbitQueue;
