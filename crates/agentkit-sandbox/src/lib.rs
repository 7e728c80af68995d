//! Runs programs that are not trusted: a program reads, writes and reaches only its grants, and every limit ends
//! the program.
//!
//! [`Sandbox`] keeps a helper process, the *zygote*: this program, executed anew through `/proc/self/exe`, with one
//! thread. For each call the zygote makes a first process in new namespaces, which mounts the granted folders, starts the
//! program, watches its limits, kills every process that is left, and reports the end. The program itself runs with no
//! capability, a user of its own, landlock rules and a seccomp filter. When the host is gone, all processes of the sandbox are gone.
//!
//! A program that uses this crate calls [`helper`] first of all in its `main`.
//!
//! The kernel is shared: a hole in it is a hole in the sandbox. Where the kernel lacks a feature,
//! [`Sandbox::run`] refuses, and names the step that failed and its remedy.

mod call;
#[cfg(target_os = "linux")]
mod linux;
mod proxy;
mod report;
#[cfg(target_os = "linux")]
mod sandbox;
#[cfg(not(target_os = "linux"))]
#[path = "elsewhere.rs"]
mod sandbox;

pub mod wasm;

pub use self::{
    call::{Call, Ended, Error, Grant, Limit, Limits, Network, Outcome},
    proxy::Dial,
    report::{Holder, Report, SetupError, Step, UserTier},
    sandbox::{Counts, Options, Sandbox, State, helper},
};

/// Port of the proxy on a call's loopback.
const PROXY_PORT: u16 = 3128;

/// For tests: filters that take features of the kernel away from this process, as a container does.
#[cfg(target_os = "linux")]
#[doc(hidden)]
pub mod deny;
