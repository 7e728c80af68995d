//! A call that runs.

use std::{
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncWriteExt as _, Interest},
    net::{UnixStream, unix::pipe},
    time::{Instant, sleep_until},
};

use super::{
    drain::{Kept, drain},
    helper::{Helper, SendError},
};
use crate::{
    Call, Ended, Error, Limit, Limits, Network, Outcome, PROXY_PORT,
    linux::{
        sys::sockets,
        wire::{self, Granted, How, Program, Run, Status},
    },
    proxy,
};

/// How much later than its limit a call that does not end is given up.
const GRACE: Duration = Duration::from_secs(10);
/// Programs are looked for here.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The host's ends of a call.
pub(super) struct Running {
    status: UnixStream,
    input: Option<pipe::Sender>,
    output: pipe::Receiver,
    error: pipe::Receiver,
    /// Its loss would end the call.
    _helper: Arc<Helper>,
}

/// Hands a call over.
pub(super) async fn begin(
    helper: &Arc<Helper>,
    call: &Call,
    slot: u32,
) -> Result<Running, SendError> {
    let made = || -> io::Result<_> {
        let (status, their_status) = sockets::pair()?;
        let (output, their_output) = sockets::pipe()?;
        let (error, their_error) = sockets::pipe()?;
        let (input, their_input) = if call.input.is_empty() {
            (None, std::fs::File::open("/dev/null")?.into())
        } else {
            let (theirs, ours) = sockets::pipe()?;
            (Some(pipe::Sender::from_owned_fd(ours)?), theirs)
        };
        sockets::set_nonblocking(status.as_fd())?;
        let theirs = [their_input, their_output, their_error, their_status];
        let running = Running {
            status: UnixStream::from_std(status.into())?,
            input,
            output: pipe::Receiver::from_owned_fd(output)?,
            error: pipe::Receiver::from_owned_fd(error)?,
            _helper: Arc::clone(helper),
        };
        Ok((running, theirs))
    };
    let (running, theirs) = made().map_err(SendError::Failed)?;
    let run = request(call, slot);
    let fds: Vec<_> = theirs.iter().map(OwnedFd::as_fd).collect();
    helper.ask(&run, &fds).await?;
    Ok(running)
}

fn request(call: &Call, slot: u32) -> Run {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut variables: Vec<(String, Vec<u8>)> = [
        ("PATH", PATH),
        ("HOME", "/tmp"),
        ("TMPDIR", "/tmp"),
        ("LANG", "C.UTF-8"),
    ]
    .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
    .into();
    let proxy = matches!(call.network, Network::Proxy(_));
    if proxy {
        let url = format!("http://127.0.0.1:{PROXY_PORT}");
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            variables.push((name.to_owned(), url.clone().into_bytes()));
            variables.push((name.to_ascii_lowercase(), url.clone().into_bytes()));
        }
    }
    for (name, value) in &call.variables {
        variables.retain(|(known, _)| known != name);
        variables.push((name.clone(), value.as_bytes().to_vec()));
    }
    let limits = &call.limits;
    Run {
        slot,
        program: Program::Execute {
            arguments: call
                .arguments
                .iter()
                .map(|text| text.as_bytes().to_vec())
                .collect(),
            variables,
        },
        folder: call.folder.clone(),
        grants: call
            .grants
            .iter()
            .map(|grant| Granted {
                source: grant.source.clone(),
                target: grant.target.clone(),
                writable: grant.writable,
            })
            .collect(),
        proxy,
        limits: wire::Limits {
            wall_ms: millis(limits.wall).max(1),
            cpu_ms: millis(limits.cpu).max(1),
            memory: limits.memory,
            processes: limits.processes,
            file_bytes: limits.file,
            disk_bytes: limits.disk,
            disk_files: limits.files,
        },
    }
}

/// The last message of a call.
struct Last {
    how: How,
    cpu: Duration,
    max_rss: u64,
}

impl Running {
    /// Feeds the call, keeps its output, and waits for its end.
    pub(super) async fn finish(self, call: &Call, began: Instant) -> Result<Outcome, Error> {
        let Self {
            status,
            input,
            output,
            error,
            _helper,
        } = self;
        let bytes = call.input.clone();
        let feed = async move {
            if let Some(mut input) = input {
                // A program need not read to the end.
                let _ = input.write_all(&bytes).await;
            }
            std::future::pending::<()>().await;
        };
        let most = call.limits.output;
        let deadline = Instant::now() + call.limits.wall + GRACE;
        let reading = async {
            tokio::join!(
                drain(output, Kept::First(most), &status),
                drain(
                    error,
                    Kept::Last {
                        bytes: Limits::MAX_ERROR,
                        limit: most.saturating_mul(16),
                    },
                    &status
                ),
            )
        };
        let ending = last_message(&status, &call.network);
        let both = async { tokio::join!(reading, ending) };
        let ((output, error), last) = tokio::select! {
            ended = both => ended,
            () = feed => unreachable!("feeding never ends"),
            () = sleep_until(deadline) => {
                return Err(Error::Lost("it did not end in time".to_owned()));
            }
        };
        let last = last?;
        let passed = output.passed || error.passed;
        Ok(Outcome {
            ended: match last.how {
                _ if passed => Ended::Passed(Limit::Output),
                How::Exited(code) => Ended::Exited(code),
                How::Signalled(signal) => Ended::Signalled(signal),
                How::WallClock => Ended::Passed(Limit::Wall),
                How::Cpu => Ended::Passed(Limit::Cpu),
                How::Memory => Ended::Passed(Limit::Memory),
                How::Disk => Ended::Passed(Limit::Disk),
                How::Abandoned => return Err(Error::Lost("it was told to end".to_owned())),
            },
            output: output.bytes,
            error: error.bytes,
            cpu: last.cpu,
            max_rss: last.max_rss,
            wall: began.elapsed(),
        })
    }
}

/// Serves the call's network until it tells how it ended.
async fn last_message(status: &UnixStream, network: &Network) -> Result<Last, Error> {
    let mut served: Option<tokio::task::JoinSet<()>> = None;
    let mut resets = 0;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let mut fds = Vec::new();
        let lost = |error: io::Error| Error::Lost(error.to_string());
        let message = loop {
            status.readable().await.map_err(lost)?;
            let read = status.try_io(Interest::READABLE, || {
                sockets::receive(status.as_fd(), &mut buffer, &mut fds, false)
            });
            match read {
                Ok(0) => {
                    return Err(Error::Lost("its first process was killed".to_owned()));
                }
                Ok(length) => break serde_json::from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The sandbox has ended without reading that it should: its last message comes next.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset && resets < 8 => {
                    resets += 1;
                }
                Err(error) => return Err(lost(error)),
            }
        };
        match message.map_err(|error| lost(error.into()))? {
            Status::Listening => {
                if let (Network::Proxy(dial), Some(fd)) = (network, fds.pop()) {
                    let listener = std::net::TcpListener::from(fd);
                    listener.set_nonblocking(true).map_err(lost)?;
                    let listener = tokio::net::TcpListener::from_std(listener).map_err(lost)?;
                    let mut serving = tokio::task::JoinSet::new();
                    serving.spawn(proxy::serve(listener, Arc::clone(dial)));
                    // Aborted with the call.
                    served = Some(serving);
                }
            }
            Status::Failed(error) => return Err(Error::NotStarted(error)),
            Status::Ended {
                how,
                cpu_ms,
                max_rss,
            } => {
                drop(served);
                return Ok(Last {
                    how,
                    cpu: Duration::from_millis(cpu_ms),
                    max_rss,
                });
            }
        }
    }
}
