//! The rules of a task, pure and written once.
//!
//! A store verb in any dialect is one worklist: load rows, let a rule decide about each, write what was
//! decided, and for each [`links::Follow`] load its targets and go on. SQL may narrow what is loaded
//! (candidates, order, limit, tenant, the guard on epoch and number of the last event); it decides
//! nothing. Numbers that SQL needs are bound from the constants here.
//!
//! A [`State`](crate::task::State), a [`Wait`](crate::task::Wait), a
//! [`Lifecycle`](crate::task::Lifecycle) and a [`Transition`] are made here, or decoded from a row; a
//! [`Fork`](crate::ports::Fork) is made here alone. Other crates cannot make them:
//!
//! ```compile_fail,E0639
//! let done = ops_core::State::Failed { dead_letter: false };
//! ```
//! ```compile_fail,E0603
//! let done = ops_core::State::Completed;
//! ```
//! ```compile_fail,E0639
//! let wait = ops_core::Wait::Concurrency { key: "k".to_owned() };
//! ```
//! ```compile_fail,E0639
//! fn transition(after: ops_core::Lifecycle) -> ops_core::rules::Transition {
//!     ops_core::rules::Transition {
//!         events: Vec::new(),
//!         after,
//!         outcome: None,
//!         children: Vec::new(),
//!         approvals: Vec::new(),
//!     }
//! }
//! ```
//! ```compile_fail,E0639
//! fn fork(from: ops_core::TaskId) -> ops_core::ports::Fork {
//!     ops_core::ports::Fork {
//!         from,
//!         step: 1,
//!         until: 0,
//!         also: Vec::new(),
//!         resets: Vec::new(),
//!         note: None,
//!         lost: Vec::new(),
//!         redrives: false,
//!     }
//! }
//! ```

pub mod agents;
pub mod approval;
pub mod budget;
mod cause;
pub mod claim;
pub mod clock;
pub mod configuration;
mod decide;
pub mod deduplicate;
#[cfg(test)]
mod fixtures;
mod fold;
pub mod fork;
pub mod lease;
pub mod limits;
pub mod links;
pub mod mcp;
pub mod provider;
pub mod retention;
pub mod schedule;
pub mod submit;

pub use self::{
    cause::{Cause, DecidedApproval},
    decide::{Outcome, Transition, decide},
};
