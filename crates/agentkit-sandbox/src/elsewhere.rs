//! Systems without the sandbox: every call is refused.

use std::path::PathBuf;

use crate::{Call, Error, Outcome, Report, SetupError, Step};

/// How the helper process is made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// For tests, elsewhere.
    pub without_cgroups: bool,
    /// Calls that may run at once.
    pub concurrency: u32,
    /// The program that calls [`helper`] in its `main`.
    pub program: PathBuf,
}

/// State of the sandbox.
#[derive(Debug, Clone)]
pub enum State {
    /// No call has needed it.
    NotStarted,
    /// The set-up was tried and works.
    Ready(Report),
    /// A step of the set-up failed.
    Refused(SetupError),
}

/// Counters of a sandbox, all 0 here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Programs that ran.
    pub calls: u64,
    /// Programs that were killed because they passed a limit.
    pub limits_passed: u64,
    /// Programs that did not run.
    pub refused: u64,
    /// Programs whose end is not known.
    pub lost: u64,
    /// Processor time of programs, in milliseconds.
    pub cpu_millis: u64,
}

/// Refuses every call.
#[derive(Debug, Clone, Default)]
pub struct Sandbox;

/// The work of the helper process, which does not exist here.
pub fn helper() {}

impl Sandbox {
    /// A sandbox that refuses.
    #[must_use]
    pub fn new(_: Options) -> Self {
        Self
    }

    /// State of the sandbox.
    #[must_use]
    pub fn state(&self) -> State {
        State::Refused(refused())
    }

    /// Counters since the sandbox was made.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts::default()
    }

    /// Tries the whole set-up.
    ///
    /// # Errors
    /// Always.
    pub async fn start(&self) -> Result<Report, SetupError> {
        Err(refused())
    }

    /// Runs a program.
    ///
    /// # Errors
    /// Always.
    pub async fn run(&self, _: Call) -> Result<Outcome, Error> {
        Err(Error::Unavailable(refused()))
    }
}

fn refused() -> SetupError {
    SetupError {
        step: Step::Helper,
        cause: "programs are only sandboxed on Linux; use a Linux machine or container".to_owned(),
        errno: 0,
    }
}
