//! The store's writing verbs, once for every dialect that keeps to the port [`Rows`].
//!
//! A verb loads rows, lets a rule decide about each, writes, and goes on with what follows from the
//! transition (see [`crate::rules`]). A dialect implements [`Rows`]: find rows, keep rows. The dialect makes a
//! [`Write`] for each call, on the rows of one transaction, and commits when the verb has answered. A refused verb
//! has made no write, so that one transaction can carry many verbs, each with a verdict
//! of its own.
//!
//! The verbs are synchronous. A dialect whose database is asked over a network runs them on a thread of
//! its own and waits there: its transactions then never depend on a caller who may go away.
//!
//! Reading order: `rows` (the port), `write` (transitions and their consequences), `submit`, `claim`, `run`, `ask`,
//! `upkeep`, `agents`, `schedules`, `size`.

mod agents;
mod ask;
mod claim;
mod rows;
mod run;
mod schedules;
pub mod size;
mod submit;
mod upkeep;
mod write;

pub use self::{
    rows::{AgentRows, Key, Numbered, Rows, ScheduleRows, Times},
    write::{Done, Write},
};
