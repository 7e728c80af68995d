//! Takes features of the kernel away from this process and all that follow, as an old kernel or a container does.

use std::io;

use crate::linux::{filter, sys::process};

/// A feature that the sandbox uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Landlock is absent.
    Landlock,
    /// User namespaces: refused.
    UserNamespaces,
    /// Mount namespaces: refused.
    MountNamespaces,
    /// Network namespaces: refused.
    NetworkNamespaces,
    /// Process namespaces: refused.
    ProcessNamespaces,
    /// Mounts of new file systems: refused.
    Mounts,
    /// Filters of system calls are absent.
    Seccomp,
    /// `pivot_root`: refused.
    Root,
    /// Changes of a mount's attributes are absent.
    MountAttributes,
}

impl Feature {
    /// Every feature.
    pub const ALL: [Self; 9] = [
        Self::Landlock,
        Self::UserNamespaces,
        Self::MountNamespaces,
        Self::NetworkNamespaces,
        Self::ProcessNamespaces,
        Self::Mounts,
        Self::Seccomp,
        Self::Root,
        Self::MountAttributes,
    ];
}

/// Takes a feature away, for good.
///
/// # Errors
/// If the kernel has no filters itself.
pub fn deny(feature: Feature) -> io::Result<()> {
    let space = |kind: i32| filter::refusing(&[], Some(kind as u32));
    let call = |call, error| filter::refusing(&[(call, error)], None);
    let program = match feature {
        Feature::Landlock => call(libc::SYS_landlock_create_ruleset, libc::ENOSYS),
        Feature::UserNamespaces => space(libc::CLONE_NEWUSER),
        Feature::MountNamespaces => space(libc::CLONE_NEWNS),
        Feature::NetworkNamespaces => space(libc::CLONE_NEWNET),
        Feature::ProcessNamespaces => space(libc::CLONE_NEWPID),
        Feature::Mounts => call(libc::SYS_mount, libc::EPERM),
        Feature::Seccomp => call(libc::SYS_seccomp, libc::EINVAL),
        Feature::Root => call(libc::SYS_pivot_root, libc::EPERM),
        Feature::MountAttributes => call(libc::SYS_mount_setattr, libc::ENOSYS),
    };
    process::no_new_privileges()?;
    filter::apply(&program)
}
