//! The landlock rules of the sandbox: read every file there, write the granted folders.
//!
//! The mount namespace shows the granted folders alone, with the same rights. Landlock is a second wall: a program that
//! reached a file outside, through a mount or an open directory, could still not open it.

use std::{io, path::Path};

use super::sys::{landlock, mounts};

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
/// All rights of version 1, from `EXECUTE` to `MAKE_SYM`.
const VERSION_1: u64 = (1 << 13) - 1;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;

/// Abstract Unix sockets and signals reach no process outside.
const SCOPED: u64 = 0b11;

/// The rights that this version of landlock knows.
fn known(version: u32) -> u64 {
    let since = |first: u32, right: u64| if version >= first { right } else { 0 };
    VERSION_1 | since(2, REFER) | since(3, TRUNCATE) | since(5, IOCTL_DEV)
}

/// Holds this process to landlock rules: each file below the root may be read and executed, and files below
/// `writable` may be written. `version` is that of the kernel.
pub(crate) fn restrict(version: u32, writable: &[&Path]) -> io::Result<()> {
    let known = known(version);
    let scoped = if version >= 6 { SCOPED } else { 0 };
    let rules = landlock::create(known, 0, scoped)?;
    let root = std::fs::File::open("/")?;
    let open = |path: &Path| {
        use std::os::fd::AsFd as _;
        mounts::open_plain(root.as_fd(), path.strip_prefix("/").unwrap_or(path))
    };
    use std::os::fd::AsFd as _;
    let read = EXECUTE | READ_FILE | READ_DIR;
    landlock::allow(rules.as_fd(), root.as_fd(), read)?;
    // Device nodes, of which the mount namespace has the harmless ones.
    let devices = open(Path::new("/dev"))?;
    let write = (WRITE_FILE | TRUNCATE | IOCTL_DEV) & known;
    landlock::allow(rules.as_fd(), devices.as_fd(), write)?;
    for path in writable {
        let folder = open(path)?;
        // Devices are not made there, and those that are there do nothing.
        let all = known & !(IOCTL_DEV | 1 << 6 | 1 << 11);
        landlock::allow(rules.as_fd(), folder.as_fd(), all)?;
    }
    landlock::restrict(rules.as_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_kernels_are_asked_for_what_they_know() {
        assert_eq!(known(1), 0x1fff);
        assert_eq!(known(2), 0x3fff);
        assert_eq!(known(4), 0x7fff);
        assert_eq!(known(7), 0xffff);
    }
}
