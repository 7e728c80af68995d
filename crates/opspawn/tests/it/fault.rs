//! Processes that are killed, stopped and frozen lose nothing, and repeat no write.
//!
//! The product runs as the built binary. A model stub and an effect ledger stand outside it and
//! write down every call that reaches them; what the product's log says is held against that.

mod budget;
mod cancel;
#[cfg(all(feature = "postgres", feature = "rabbit"))]
mod chaos;
mod checks;
mod child;
mod children;
mod compaction;
mod decisions;
mod deck;
mod fleet;
mod folder;
mod history;
mod kills;
mod long;
mod mid_stream;
mod parallel;
mod pause;
mod plan;
#[cfg(feature = "postgres")]
mod postgres;
mod probe;
mod reask;
mod schedules;
mod settle;
mod shutdown;
mod story;
mod timer;
mod wire;
mod world;
