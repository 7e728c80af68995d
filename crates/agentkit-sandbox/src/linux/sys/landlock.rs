//! The three system calls of landlock.

use std::{
    io,
    mem::size_of,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
    ptr,
};

use super::check_long;

#[repr(C)]
struct Ruleset {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

#[repr(C, packed)]
struct BelowPath {
    allowed_access: u64,
    parent_fd: i32,
}

/// The version of landlock that this kernel has.
pub(crate) fn version() -> io::Result<u32> {
    // SAFETY: with this flag the kernel reads no attributes.
    let version = check_long(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            ptr::null::<Ruleset>(),
            0_usize,
            1_u32,
        )
    })?;
    Ok(version as u32)
}

/// A set of rules that decides about these accesses.
pub(crate) fn create(files: u64, network: u64, scoped: u64) -> io::Result<OwnedFd> {
    let attributes = Ruleset {
        handled_access_fs: files,
        handled_access_net: network,
        scoped,
    };
    // Older kernels know fewer fields, and take the structure if the others are zero.
    // SAFETY: the attributes have the size that is told; the descriptor is new.
    unsafe {
        let fd = check_long(libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const attributes,
            size_of::<Ruleset>(),
            0_u32,
        ))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Allows accesses below a path.
pub(crate) fn allow(rules: BorrowedFd<'_>, path: BorrowedFd<'_>, access: u64) -> io::Result<()> {
    let below = BelowPath {
        allowed_access: access,
        parent_fd: path.as_raw_fd(),
    };
    // SAFETY: the rule outlives the call; 1 says that it is one below a path.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            rules.as_raw_fd(),
            1_u32,
            &raw const below,
            0_u32,
        )
    })
    .map(drop)
}

/// Holds this process and all that follow to the rules, for good.
pub(crate) fn restrict(rules: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a plain system call.
    check_long(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0_u32) })
        .map(drop)
}
