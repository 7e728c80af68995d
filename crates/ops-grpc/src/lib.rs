//! gRPC: the service of version 1 (`ops_core.proto`) and `opspawn.v1`, with health and reflection.
//!
//! Each method is an operation of REST under the same name. A call is translated by the descriptors of its messages
//! into the request of that operation, answered by the routes in this process, and translated back. So both surfaces
//! have one set of rules, limits and error codes, and a new field of REST is a field of a message.

mod beside;
mod decode;
mod encode;
mod follow;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod health;
mod methods;
mod names;
mod request;
mod serve;
mod service;
mod status;
mod wire;

pub use self::{
    names::{rest_name, snake, word},
    serve::{Settings, serve},
    status::grpc_code,
};
