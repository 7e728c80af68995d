//! The worker: claims tasks, drives their agent runs and appends the runs' events.
//!
//! Only this crate sees both worlds: the tasks of `ops-core` and the runs of `agentkit`. The lease entitles
//! the worker to act; the worker checks its lease before each effect, and every append names the lease.

mod agents;
mod children;
mod claim;
mod claims;
mod envelope;
mod external;
mod live_sink;
mod load;
mod recorder;
mod refused;
mod run;
mod session;
mod slots;
mod snapshot;
mod spending;
mod throttle;
mod workspace;

pub use self::{
    agents::{Agents, Job, Prepared},
    claim::{QueueSettings, Settings, Worker},
    claims::refused_usages,
    external::exhaustion,
    load::{LoadError, at_model_call},
    workspace::{Folders, WorkspaceError, checked_path, private_folder},
};
