//! The agent factory: a definition, a configuration and an input make an [`agentkit::Agent`], whose tools
//! come from sources.
//!
//! A worker asks it for the agents of tasks (it implements [`ops_worker::Agents`]), the engine for what
//! definitions and inputs mean ([`ops_core::ports::AgentDefinitions`]), and an evaluation or a program of
//! one's own for an agent without any task ([`Factory::make`]).
//!
//! Reading order: `settings` (what is configured), `ask` (what an agent is made for) with `input`, `factory`,
//! its parts `providers`, `tape`, `limits` and `tools`, then the ports in `worker` and `definitions`.

mod ask;
mod definitions;
mod factory;
mod input;
mod limits;
mod providers;
pub mod settings;
mod tape;
pub mod tools;
mod worker;

pub use self::{
    ask::{Ask, AskedBy, Made},
    factory::{Factory, FactoryError},
    input::TASK_TYPES,
    providers::{Outline, PROVIDERS, Providers},
    settings::{CassetteMode, CassetteSettings, Endpoint, Settings},
    tools::{Catalogue, FixedTools, Health, SourceContext, SourceError, ToolSource},
};

#[cfg(test)]
mod tests;
