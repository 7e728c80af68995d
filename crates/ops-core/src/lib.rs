//! The pure domain of the engine: what a task is, what may happen to it, and what it asks of the
//! world. Nothing here does I/O; time, randomness and storage come in through [`ports`].
//!
//! [`decide()`] is the only author of transitions: `decide(lifecycle, command, now)` gives the events
//! and the next lifecycle, and an adapter commits both in one transaction.

pub mod agent;
pub mod approval;
mod choice;
pub mod code;
pub mod command;
pub mod decide;
pub mod event;
mod field;
pub mod id;
pub mod json;
pub mod ports;
pub mod rate;
pub mod retry;
pub mod schedule;
pub mod stats;
pub mod task;
pub mod time;
mod usage;

pub use agent::{AgentDigest, AgentName};
pub use approval::{Approval, ApprovalStatus, NewApproval};
pub use code::Code;
pub use command::{Append, Command, Judgement, Next, Rejection};
pub use decide::{Decision, decide};
pub use event::{NewEvent, StoredEvent};
pub use field::FieldError;
pub use id::{SessionId, TaskId, TenantId};
pub use json::Json;
pub use task::{Lifecycle, Parent, State, Task, Ties, Wait};
pub use time::Micros;
