//! The helper process, seen from the host.

use std::{
    io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use super::{HELPER, Options};
use crate::{
    Report, SetupError, Step,
    linux::{
        sys::sockets,
        wire::{Hello, MAX_MESSAGE, Run, Start},
    },
};

/// The process, with the socket that it listens to. When this is dropped, it ends with all its calls.
pub(super) struct Helper {
    pub(super) report: Report,
    control: Option<OwnedFd>,
    child: Mutex<Child>,
    id: u32,
}

/// Why a request did not reach the helper process.
pub(super) enum SendError {
    /// The process is gone.
    Gone,
    /// The system refused.
    Failed(io::Error),
}

impl Helper {
    /// Starts the process and waits until it has tried the set-up.
    pub(super) fn start(options: &Options, limit: Duration) -> Result<Self, SetupError> {
        let failed = |error: io::Error| SetupError::new(Step::Helper, &error);
        let (control, theirs) = sockets::pair().map_err(failed)?;
        // Of the environment, which may hold secrets, it gets nothing.
        let mutant = std::env::var_os(units::mutants::VARIABLE);
        let mut child = Command::new(&options.program)
            .arg0(HELPER)
            .env_clear()
            .envs(mutant.map(|name| (units::mutants::VARIABLE, name)))
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let start = Start {
            slots: options.concurrency,
            without_cgroups: options.without_cgroups,
        };
        match hello(&control, &start, limit) {
            Ok(Hello::Ready(report)) => Ok(Self {
                report,
                control: Some(control),
                id: child.id(),
                child: Mutex::new(child),
            }),
            Ok(Hello::Failed(error)) => {
                drop(control);
                let _ = child.wait();
                Err(error)
            }
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(failed(error))
            }
        }
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Asks for a call.
    pub(super) async fn ask(&self, run: &Run, fds: &[BorrowedFd<'_>]) -> Result<(), SendError> {
        let bytes = serde_json::to_vec(run).map_err(|error| SendError::Failed(error.into()))?;
        let control = self.control.as_ref().ok_or(SendError::Gone)?;
        loop {
            match sockets::send(control.as_fd(), &bytes, fds) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                    ) =>
                {
                    return Err(SendError::Gone);
                }
                Err(error) => return Err(SendError::Failed(error)),
            }
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It notices, kills what runs, and ends.
        drop(self.control.take());
        if let Ok(child) = self.child.get_mut() {
            let _ = child.wait();
        }
    }
}

fn hello(control: &OwnedFd, start: &Start, limit: Duration) -> io::Result<Hello> {
    sockets::send(control.as_fd(), &serde_json::to_vec(start)?, &[])?;
    let milliseconds = u32::try_from(limit.as_millis()).ok();
    let [ready, _] = sockets::poll(control.as_fd(), control.as_fd(), milliseconds)?;
    if !ready.readable && !ready.closed {
        return Err(io::Error::other("it did not answer in time"));
    }
    let mut buffer = vec![0; MAX_MESSAGE];
    match sockets::receive(control.as_fd(), &mut buffer, &mut Vec::new(), false)? {
        0 => Err(io::Error::other(
            "it ended at once; does the program call `agentkit_sandbox::helper` in its main?",
        )),
        length => Ok(serde_json::from_slice(&buffer[..length])?),
    }
}
