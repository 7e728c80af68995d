//! Command tools: programs of one's own, declared in the configuration, that run in the sandbox.
//!
//! A tool is an argument list without a shell. The call's arguments are JSON on standard input and, where the list
//! names them, words of the list; the result is the program's standard output. The declaration grants
//! folders, hosts and secrets, and the sandbox holds the program to them, so that the resources of a call are known without
//! trusting the program.

mod argv;
mod changes;
mod definition;
mod grants;
mod modules;
mod result;
mod scripts;
mod secrets;
mod tool;
mod wasm;

pub use self::{
    definition::{Definition, Mistake, Probe, Touches, WorkspaceAccess},
    modules::Modules,
    secrets::{NoSecrets, Secret, SecretError, Secrets, spellings},
    tool::{Base, CommandTool},
    wasm::{ModuleProbe, WasmDefinition},
};
