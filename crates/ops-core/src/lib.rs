//! The pure domain of the engine: what a task is, what may happen to it, and what it asks of the
//! world. Nothing here does I/O; time, randomness and storage come in through [`ports`].
//!
//! [`rules`] is the only author of transitions: `decide(lifecycle, cause, now)` gives the events and the
//! next lifecycle, and an adapter commits both in one transaction.

mod actor;
pub mod agent;
pub mod approval;
mod choice;
pub mod code;
pub mod command;
pub mod event;
mod field;
pub mod id;
pub mod json;
pub mod ports;
pub mod rate;
pub mod retry;
pub mod rules;
pub mod schedule;
pub mod stats;
pub mod task;
pub mod time;
mod usage;

pub use actor::{Actor, Caller, ParseActorError};
pub use agent::{AgentDigest, AgentName};
pub use approval::{Approval, ApprovalStatus, NewApproval};
pub use code::Code;
pub use command::{
    Append, ChildSpec, Next, Rejection, RunAction, RunCommand, TaskAction, TaskCommand,
};
pub use event::{NewEvent, StoredEvent};
pub use field::FieldError;
pub use id::{KeyId, SessionId, TaskId, TenantId};
pub use json::Json;
pub use task::{Lifecycle, Parent, State, Task, Ties, Wait, WaitRequest};
pub use time::Micros;
