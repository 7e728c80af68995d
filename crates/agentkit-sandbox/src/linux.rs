//! The sandbox on Linux.

mod cgroups;
mod files;
pub(crate) mod filter;
pub(crate) mod sys;
pub(crate) mod wire;
pub(crate) mod zygote;
