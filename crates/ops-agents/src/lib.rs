//! The agent factory: a definition, a configuration and an input make an [`agentkit::Agent`], whose tools
//! come from sources.
//!
//! A worker asks it for the agents of tasks (it implements [`ops_worker::Agents`]), the engine for what
//! definitions and inputs mean ([`ops_core::ports::AgentDefinitions`]), and an evaluation or a program of
//! one's own for an agent without any task ([`Factory::make`]).
//!
//! Reading order: `settings` (what is configured), `request` (what an agent is made for) with `input`, `factory`,
//! its parts `providers`, `tape`, `limits` and `tools`, then the ports in `worker` and `definitions`.

mod current;
mod definitions;
mod factory;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod input;
mod limits;
mod prompt;
mod providers;
mod request;
pub mod settings;
mod tape;
pub mod tools;
mod worker;

pub use self::{
    current::Current,
    factory::{Factory, FactoryError},
    input::TASK_TYPES,
    prompt::PromptReader,
    providers::{Outline, PROVIDERS, Providers},
    request::{AgentRequest, Made, RequestedBy},
    settings::{CassetteMode, CassetteSettings, Endpoint, LongTermSettings, Settings},
    tools::{
        Catalogue, FixedTools, Health, MEMORY_SOURCE, McpSources, SourceContext, SourceError,
        ToolSource, records_folder,
    },
};

#[cfg(test)]
mod tests;
