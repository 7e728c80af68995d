//! One call of a program: its arguments, grants and limits, and its end.

use std::{ffi::OsString, path::PathBuf, sync::Arc, time::Duration};

use crate::{Dial, SetupError};

/// A program to run.
#[derive(Debug, Clone)]
pub struct Call {
    /// The program and its arguments. A name without `/` is looked for in `PATH` of the sandbox.
    pub arguments: Vec<OsString>,
    /// Variables beside `PATH`, `HOME`, `TMPDIR` and `LANG`, which the sandbox sets; these win.
    pub variables: Vec<(String, OsString)>,
    /// Standard input; empty is `/dev/null`.
    pub input: bytes::Bytes,
    /// The folder that the program starts in, as the sandbox sees it.
    pub folder: PathBuf,
    /// Folders that the program may read or write.
    pub grants: Vec<Grant>,
    /// Hosts that the program may reach.
    pub network: Network,
    /// Limits that end the program.
    pub limits: Limits,
}

impl Call {
    /// A program that starts in `/tmp` without grants and with default limits.
    #[must_use]
    pub fn new<T: Into<OsString>>(arguments: impl IntoIterator<Item = T>) -> Self {
        Self {
            arguments: arguments.into_iter().map(Into::into).collect(),
            variables: Vec::new(),
            input: bytes::Bytes::new(),
            folder: PathBuf::from("/tmp"),
            grants: Vec::new(),
            network: Network::None,
            limits: Limits::default(),
        }
    }
}

/// A folder that a program may use, with all below it.
///
/// A git repository in a writable folder stays read-only (`.git`): a hook or setting written there could run
/// outside of the sandbox when a person uses git in the folder. A grant of `.git` itself makes it writable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The folder outside: absolute, and without symbolic links. [`std::fs::canonicalize`] it when it is configured, not when
    /// it is used: a program that may write a folder above could have put a link there.
    pub source: PathBuf,
    /// Where the program sees it; absolute.
    pub target: PathBuf,
    /// Whether the program may write the folder.
    pub writable: bool,
}

/// Hosts that a program may reach.
#[derive(Clone, Default)]
pub enum Network {
    /// No host, and no other sandbox.
    #[default]
    None,
    /// The hosts that this lets through, by an HTTP proxy that the variables `HTTPS_PROXY` and `HTTP_PROXY` name. Programs that
    /// use no proxy reach no host.
    Proxy(Arc<dyn Dial>),
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Proxy(_) => "Proxy",
        })
    }
}

/// Limits of a program. A program that passes a limit is killed with all its descendants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Time since its start.
    pub wall: Duration,
    /// Processor time of all its processes.
    pub cpu: Duration,
    /// Bytes of memory of all its processes, `/tmp` included, half of which `/tmp` may have.
    pub memory: u64,
    /// Processes and threads at once. A program that wants more is refused them, not killed.
    pub processes: u32,
    /// Bytes of standard output. Of standard error the last [`Limits::MAX_ERROR`] bytes are kept; 16 times as
    /// many as this end it.
    pub output: u64,
    /// Bytes of one file.
    pub file: u64,
    /// Bytes in the folders that may be written, with the files that were there before.
    pub disk: u64,
    /// Files and folders in the folders that may be written, with the files that were there before.
    pub files: u64,
}

impl Limits {
    /// Bytes of standard error that are kept.
    pub const MAX_ERROR: usize = 8 * 1024;
}

impl Default for Limits {
    /// One minute, 512 MiB, 64 processes, 1 MiB of output, 1 GiB on disk.
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(60),
            cpu: Duration::from_secs(60),
            memory: 512 << 20,
            processes: 64,
            output: 1 << 20,
            file: 1 << 30,
            disk: 1 << 30,
            files: 100_000,
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How the program ended.
    pub ended: Ended,
    /// Standard output, up to the limit.
    pub output: Vec<u8>,
    /// The end of standard error.
    pub error: Vec<u8>,
    /// Processor time of all processes.
    pub cpu: Duration,
    /// The largest resident set of one process, in bytes.
    pub max_rss: u64,
    /// Time since the call was handed over.
    pub wall: Duration,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this code.
    Exited(i32),
    /// By a signal that the sandbox did not send.
    Signalled(i32),
    /// Passed a limit and was killed.
    Passed(Limit),
}

/// A limit that was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// [`Limits::wall`]
    Wall,
    /// [`Limits::cpu`]
    Cpu,
    /// [`Limits::memory`]
    Memory,
    /// [`Limits::output`]
    Output,
    /// [`Limits::file`], [`Limits::disk`] or [`Limits::files`]
    Disk,
}

/// Why a program was not run, or its end is not known.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The sandbox cannot be made here. Nothing ran.
    #[error("the sandbox cannot be used: {0}")]
    Unavailable(SetupError),
    /// The program could not be started in the sandbox.
    #[error("the program cannot be started: {0}")]
    NotStarted(SetupError),
    /// The call cannot be made, for the reason given.
    #[error("the call cannot be made: {0}")]
    Invalid(String),
    /// The sandbox ended without telling how. Its processes are dead.
    #[error("the sandbox was lost while the program ran: {0}")]
    Lost(String),
}
