//! The pure domain of the engine: tasks, their transitions, and the ports to the world. The crate does no
//! I/O; time, randomness and storage come in through [`ports`].
//!
//! [`rules`] is the only author of transitions: `decide(lifecycle, cause, now)` gives the events and the
//! next lifecycle, and an adapter commits both in one transaction.

mod actor;
pub mod agent;
pub mod approval;
pub mod budget;
mod choice;
pub mod code;
pub mod command;
pub mod event;
mod field;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod id;
pub mod json;
pub mod mcp;
pub mod ports;
pub mod provider;
pub mod rate;
pub mod retry;
pub mod rules;
pub mod schedule;
pub mod stats;
pub mod task;
pub mod time;
mod usage;
pub mod verbs;

pub use actor::{Actor, Caller, ParseActorError};
pub use agent::{AgentDigest, AgentName};
pub use approval::{
    Approval, ApprovalDetails, ApprovalStatus, Escalation, NewApproval, Preview, PreviewOutcome,
};
pub use code::Code;
pub use command::{
    Append, ChildSpec, Next, Rejection, RunAction, RunCommand, TaskAction, TaskCommand,
};
pub use event::{NewEvent, StoredEvent};
pub use field::FieldError;
pub use id::{KeyId, SessionId, TaskId, TenantId};
pub use json::Json;
pub use task::{Lifecycle, Parent, Relations, State, Task, Wait, WaitRequest};
pub use time::Micros;
