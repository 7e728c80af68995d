//! Surfaces over the engine's commands: REST and server-sent events.
//!
//! [`router`] makes the routes, [`serve()`] brings them to a port. Surfaces read event envelopes
//! and the lifecycle; they know no agent, no SQL and no broker.

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod info;
mod json;
mod metrics;
mod part;
mod problem;
mod query;
mod rest;
pub mod serve;
mod time;

pub use self::{
    info::{ModelInfo, ServerInfo},
    part::Part,
    rest::{
        Local, LocalBody, LocalFollower, RestSettings, event_view, health_router, router, surfaces,
    },
    serve::{Hosts, serve},
};
