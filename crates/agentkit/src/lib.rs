//! A toolkit for LLM agents whose runs survive crashes.
//!
//! A run is a fold over an append-only log of [`event::Event`]s. The [`run`] machine looks at the
//! folded [`run::Run`] and says what is next; the driver in [`drive`] is the only code that performs
//! it, and it records what it is about to do and what came of it through a [`drive::Recorder`]. A
//! crashed run therefore resumes from its log: no recorded model call is made twice, and an effect
//! whose outcome is unknown is said to be in doubt.
//!
//! This crate knows no server, no SQL and no message broker.
//!
//! The package is `opspawn-agentkit`. A program that derives schemas and runs agents depends on:
//!
//! ```toml
//! [dependencies]
//! agentkit = { package = "opspawn-agentkit", path = "../opspawn/crates/agentkit" }
//! schemars = "1"
//! serde = { version = "1", features = ["derive"] }
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! Features, all off unless asked for: `scripted` is the model of [`model::scripted`], `definitions` the
//! module [`definition`], and `failpoints` crash points for fault tests.
//!
//! ```
//! use agentkit::{Agent, model::scripted::Scripted, tool::{Effect, function}};
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! struct City {
//!     city: String,
//! }
//!
//! async fn weather(City { city }: City) -> Result<String, String> {
//!     Ok(format!("18 degrees in {city}"))
//! }
//!
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! // With OPENAI_API_KEY set: `let model = Client::from_env("openai/gpt-5")?;`
//! # let script = "[[turn]]\ncalls = [{ tool = 'weather', arguments = { city = 'Oslo' } }]\n[[turn]]\nanswer = 'It is {{ last }}.'";
//! # let model = Scripted::parse(script)?;
//! let agent = Agent::builder(model)
//!     .instructions("Answer briefly.")
//!     .tool(function("weather", "The weather in a city.", weather).effect(Effect::Pure))
//!     .build()?;
//! let answer = agent.run("How is the weather in Oslo?").await?;
//! assert_eq!(answer.to_string(), "It is 18 degrees in Oslo.");
//! # Ok(()) }
//! # tokio::runtime::Runtime::new().unwrap().block_on(f()).unwrap();
//! ```
//!
//! [`agent::RunBuilder`] runs it for a typed answer, or as a stream of events. [`Agent::chat`] asks question after
//! question, each with the messages before. [`drive::drive`] runs it over a log of your own, which is what makes a run
//! durable.

/// A crash point, by its name; no code without the feature `failpoints`.
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

pub mod agent;
mod config;
#[cfg(feature = "definitions")]
pub mod definition;
pub mod drive;
mod effect;
pub mod event;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod goal;
pub mod memory;
pub mod model;
pub mod planner;
pub mod policy;
pub mod run;
mod schema;
pub mod telemetry;
#[cfg(any(feature = "definitions", feature = "scripted"))]
mod template;
mod time;
pub mod tool;
mod values;

pub use agent::{Agent, AgentBuilder};
#[cfg(feature = "definitions")]
pub use definition::Definition;
pub use event::{Event, StepId, Usage};
pub use goal::Goal;
pub use model::Model;
pub use schemars::{self, JsonSchema};
pub use tool::{Tool, ToolSpec};

/// A boxed future, so that the seams of this crate are object-safe.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
