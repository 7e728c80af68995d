//! Surfaces over the engine's commands: REST and server-sent events.
//!
//! [`router`] makes the routes, [`serve()`] brings them to a port. Surfaces read event envelopes
//! and the lifecycle; they know no agent, no SQL and no broker.

mod info;
mod json;
mod metrics;
mod problem;
mod query;
mod rest;
pub mod serve;
mod time;

pub use self::{
    info::{ModelInfo, ServerInfo},
    rest::{Surface, event_view, router},
    serve::{Hosts, serve},
};
