//! Programs that try to get out, and those that do not, against every tier that this kernel can have.

#![expect(clippy::unwrap_used, reason = "the helpers of a test are a test")]
#![cfg(target_os = "linux")]

mod calls;
mod closed;
mod escape;
mod host;
mod traps;
