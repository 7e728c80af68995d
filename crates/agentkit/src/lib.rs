//! A toolkit for LLM agents whose runs survive crashes.
//!
//! A run is a fold over an append-only log of [`event::Event`]s. The [`run`] machine looks at the
//! folded [`run::Run`] and says what is next; the driver in [`drive`] is the only code that performs
//! it, and it records what it is about to do and what came of it through a [`drive::Recorder`]. A
//! crashed run therefore resumes from its log: no recorded model call is made twice, and an effect
//! whose outcome is unknown is said to be in doubt.
//!
//! This crate knows no server, no SQL and no message broker.

pub mod agent;
mod config;
pub mod definition;
pub mod drive;
mod effect;
pub mod event;
pub mod memory;
pub mod model;
mod names;
pub mod planner;
pub mod policy;
pub mod run;
mod time;
pub mod tool;

pub use agent::Agent;
pub use definition::Definition;
pub use event::{Event, StepId, Usage};
pub use model::Model;
pub use tool::{Tool, ToolSpec};

/// A boxed future, so that the seams of this crate are object-safe.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
