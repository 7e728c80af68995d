//! Messages between host and zygote: one JSON object in each message of a socket.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Report, SetupError};

/// The most bytes of one message. The socket buffers of the kernel hold more by default.
pub(crate) const MAX_MESSAGE: usize = 128 * 1024;

/// First message of the host. The answer is [`Hello`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    /// Calls that may run at once.
    pub(crate) slots: u32,
    /// Where cgroup file systems are, if not where the mount table says.
    pub(crate) without_cgroups: bool,
}

/// Result of the zygote's set-up.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Hello {
    /// A trial call went through the whole set-up.
    Ready(Report),
    /// A step failed.
    Failed(SetupError),
}

/// One call. Its message carries standard input, output and error, and the status socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) slot: u32,
    pub(crate) program: Program,
    /// The folder that the program starts in.
    pub(crate) folder: PathBuf,
    pub(crate) grants: Vec<Granted>,
    /// Whether the call has a network of its own with a listener that the host serves.
    pub(crate) proxy: bool,
    pub(crate) limits: Limits,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Program {
    /// Goes through the whole set-up and executes no program.
    Trial,
    /// Executes a program.
    Execute {
        arguments: Vec<Vec<u8>>,
        variables: Vec<(String, Vec<u8>)>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Granted {
    /// Outside; without symbolic links.
    pub(crate) source: PathBuf,
    /// In the sandbox.
    pub(crate) target: PathBuf,
    pub(crate) writable: bool,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) wall_ms: u64,
    pub(crate) cpu_ms: u64,
    pub(crate) memory: u64,
    pub(crate) processes: u32,
    pub(crate) file_bytes: u64,
    pub(crate) disk_bytes: u64,
    pub(crate) disk_files: u64,
}

/// Messages of a sandbox's first process to the host.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Status {
    /// The message carries the listening socket of the call's network.
    Listening,
    /// The program could not be started.
    Failed(SetupError),
    /// Every process of the sandbox is gone.
    Ended { how: How, cpu_ms: u64, max_rss: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum How {
    Exited(i32),
    Signalled(i32),
    WallClock,
    Cpu,
    Memory,
    Disk,
    /// The host has closed its end.
    Abandoned,
}
