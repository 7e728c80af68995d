//! System calls behind safe functions. The only unsafe code of the workspace.
//!
//! Every function keeps the memory that it hands to the kernel alive until the call is over, and turns
//! a negative result into an [`io::Error`]. Functions that change the process (its namespaces, its
//! user, its program) are safe for memory; they are called in the single-threaded zygote and its children.
#![expect(
    unsafe_code,
    reason = "system calls that the standard library does not have"
)]

pub(crate) mod landlock;
pub(crate) mod mounts;
pub(crate) mod process;
pub(crate) mod seccomp;
pub(crate) mod sockets;

use std::io;

/// The result of a system call that the C library wraps.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// The result of a raw system call.
fn check_long(result: libc::c_long) -> io::Result<libc::c_long> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}
