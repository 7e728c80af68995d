//! The worker: it claims tasks, drives their agent runs and appends what happened.
//!
//! Only this crate sees both worlds: the tasks of `ops-core` and the runs of `agentkit`. The lease
//! is what entitles it to act; it checks its lease before each effect, and every append names it.

mod agents;
mod claim;
mod envelope;
mod family;
mod load;
mod outside;
mod recorder;
mod run;
mod session;
mod slots;
mod snapshot;
mod workspace;

pub use self::{
    agents::{Agents, Job, Prepared},
    claim::{QueueSettings, Settings, Worker},
    outside::exhaustion,
    workspace::{Folders, WorkspaceError, checked_path, private_folder},
};
