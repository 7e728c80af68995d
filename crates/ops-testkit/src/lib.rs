//! What fault tests need around the product: processes to start and kill, and witnesses that live
//! outside it and write down everything they see.
//!
//! - [`Opspawn`] starts the built binary on a [`DataDir`], kills it, and talks to it over [`Http`].
//! - [`ModelStub`] stands in for a model provider: it follows a plan that stands in the task's
//!   goal, misbehaves on demand, and logs each request ([`ModelRequest`]).
//! - [`Ledger`] takes the effects of tools and logs each of them ([`Effect`]).
//! - [`CrashPlan`] makes the binary kill itself at a named point, and proves that it did.
//! - [`StandIn`] is a provider inside the test, which holds answers back and compares requests.
//! - [`Aimock`] is a mock of the providers' wire that others wrote.
//!
//! The two witnesses are programs of their own (`opspawn-model-stub`, `opspawn-ledger`): a crash
//! of the product or of the test cannot take back what they wrote.

pub mod aimock;
pub mod clock;
mod crash;
mod data;
mod everything;
mod http;
mod log;
mod opspawn;
pub mod postgres;
mod process;
mod programs;
pub mod rabbitmq;
pub mod serve;
mod skip;
mod stand_in;
mod wait;

pub use aimock::{
    Aimock, AimockPath, npm_package, python_mcp_server, python_packages, require_aimock,
};
pub use crash::CrashPlan;
pub use data::DataDir;
pub use everything::EverythingOverHttp;
pub use http::{Http, Reply};
pub use log::{Effect, LogFile, ModelRequest, append_line, read_log};
pub use opspawn::{Launch, Opspawn, echo};
pub use process::{Process, Stream};
pub use programs::{Ledger, McpStub, ModelStub, mcp_stub};
pub use rustix::process::Signal;
pub use skip::skip;
pub use stand_in::{Answer, SeenRequest, StandIn};
pub use wait::wait_until;
