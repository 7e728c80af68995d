//! The tier of the sandbox on this machine, or the reason why no sandbox can be made.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The tier that programs run in, and the holder of each limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How programs lose the rights of this process.
    pub user: UserTier,
    /// Version of landlock; `None` if the kernel has no landlock. Then the mount namespace alone keeps files apart.
    pub landlock: Option<u32>,
    /// Holder of the limit on memory.
    pub memory: Holder,
    /// Holder of the limit on processes.
    pub processes: Holder,
    /// Why a better holder is not used, and the like.
    pub notes: Vec<String>,
}

/// How programs lose the rights of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserTier {
    /// This process is root; each call has a user id of its own, and granted folders are mounted with their owner mapped
    /// to it.
    OwnUser,
    /// Each call is in a user namespace, as the user of this process.
    UserNamespace,
}

/// Holder of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holder {
    /// A cgroup of version 2.
    CgroupV2,
    /// A cgroup of version 1.
    CgroupV1,
    /// The first process of the sandbox, which sums up the used memory every 20 ms.
    Watch,
    /// A limit of the kernel for each user.
    Rlimit,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CgroupV2 => "cgroup v2",
            Self::CgroupV1 => "cgroup v1",
            Self::Watch => "a watch of resident sets",
            Self::Rlimit => "RLIMIT_NPROC",
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = match self.user {
            UserTier::OwnUser => "a user id of its own for each call",
            UserTier::UserNamespace => "a user namespace for each call",
        };
        write!(f, "process: {user}, namespaces, seccomp, ")?;
        match self.landlock {
            Some(version) => write!(f, "landlock {version}")?,
            None => f.write_str("no landlock")?,
        }
        write!(
            f,
            "; memory by {}, processes by {}",
            self.memory, self.processes
        )?;
        for note in &self.notes {
            write!(f, "; {note}")?;
        }
        Ok(())
    }
}

/// A step of the set-up that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{step} failed: {cause}{}", remedy(*step, *errno))]
pub struct SetupError {
    /// The step.
    pub step: Step,
    /// Error text of the kernel.
    pub cause: String,
    /// The number of the kernel's error, or 0.
    pub errno: i32,
}

/// A step of the set-up of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// The helper process that makes sandboxes.
    Helper,
    /// A user namespace, and the mapping of its users.
    UserNamespace,
    /// A mount namespace.
    MountNamespace,
    /// A network namespace.
    NetworkNamespace,
    /// The namespaces of processes, mounts, messages and names of a call.
    Namespaces,
    /// The folder tree that programs see.
    Root,
    /// A granted folder.
    Grant,
    /// `/proc`.
    Proc,
    /// A cgroup.
    Cgroup,
    /// Limits of the kernel.
    Limits,
    /// The user of the call.
    User,
    /// Capabilities, and that they stay away.
    Capabilities,
    /// Landlock.
    Landlock,
    /// The filter of system calls.
    Seccomp,
    /// The program itself.
    Execute,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Helper => "starting the helper process",
            Self::UserNamespace => "making a user namespace",
            Self::MountNamespace => "making a mount namespace",
            Self::NetworkNamespace => "making a network namespace",
            Self::Namespaces => "making the namespaces of a call",
            Self::Root => "making the folder tree",
            Self::Grant => "mounting a granted folder",
            Self::Proc => "mounting /proc",
            Self::Cgroup => "using a cgroup",
            Self::Limits => "setting limits",
            Self::User => "changing the user",
            Self::Capabilities => "dropping capabilities",
            Self::Landlock => "using landlock",
            Self::Seccomp => "installing the seccomp filter",
            Self::Execute => "executing the program",
        })
    }
}

/// Remedy for a failed step, as the end of a sentence.
fn remedy(step: Step, errno: i32) -> &'static str {
    match step {
        Step::UserNamespace => {
            "; allow user namespaces to this user (sysctl kernel.unprivileged_userns_clone=1, \
             user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns=0 or an AppArmor profile \
             with `userns,`), or in a container a seccomp profile that allows unshare and clone; or run as root"
        }
        Step::MountNamespace | Step::NetworkNamespace | Step::Namespaces | Step::Root => {
            "; in a container, give it a seccomp profile that allows unshare, clone, mount and pivot_root, and \
             CAP_SYS_ADMIN or user namespaces; on Ubuntu, see kernel.apparmor_restrict_unprivileged_userns"
        }
        Step::Proc => {
            "; a container that hides parts of /proc does not allow a new one: run it with \
             `--security-opt systempaths=unconfined`"
        }
        Step::Grant if errno == 22 => {
            "; the file system of the folder may not support mounts with mapped owners: run the server as \
             another user than root, or put the folder on ext4, xfs, btrfs or tmpfs"
        }
        Step::Grant => "; does the folder exist, without symbolic links on its path?",
        Step::Seccomp => "; use a kernel with CONFIG_SECCOMP_FILTER",
        Step::Execute => {
            "; a program must be below /usr or in a granted folder, be executable, and its interpreter too"
        }
        Step::Helper
        | Step::Cgroup
        | Step::Limits
        | Step::User
        | Step::Capabilities
        | Step::Landlock => "",
    }
}

impl SetupError {
    /// A step that failed with an error of the kernel.
    pub(crate) fn new(step: Step, error: &std::io::Error) -> Self {
        Self {
            step,
            cause: error.to_string(),
            errno: error.raw_os_error().unwrap_or(0),
        }
    }
}
