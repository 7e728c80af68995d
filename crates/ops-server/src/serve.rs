//! From a port to the routes: accepting, limits, and the end.

mod connection;
pub(crate) mod dispatch;
mod host;
mod io;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

pub use self::host::Hosts;
use self::{connection::Shared, dispatch::Dispatcher};

/// How connections are served.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whose requests are answered.
    pub hosts: Hosts,
    /// Connections at once; one more is told 503. Keep the number below the limit on open files.
    pub max_connections: usize,
    /// How long a request header may take, and how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long a client may take no byte of an answer.
    pub write_timeout: Duration,
    /// How long requests in flight may take once the server stops.
    pub grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hosts: Hosts::Any,
            max_connections: 16_384,
            header_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(60),
            grace: Duration::from_secs(10),
        }
    }
}

/// Refusals for want of a free connection that are written at once; beyond it connections are
/// closed without a word.
const MAX_REFUSALS: usize = 256;
/// How long no connection is accepted after the system could not give a connection.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// How long the log is silent about the same failure.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// `EMFILE`, on every system that this runs on.
const OUT_OF_FILES: i32 = 24;

/// Serves the routes on a port until `stop`: then nothing more is accepted, what is in flight is
/// finished, event streams end, and what takes longer than the grace time is cut off.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    settings: Settings,
    stop: CancellationToken,
) {
    let free = Arc::new(Semaphore::new(settings.max_connections));
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    let dispatcher = Dispatcher::new(routes, settings.hosts, listener.local_addr().ok());
    let grace = settings.grace;
    let shared = Arc::new(Shared::new(dispatcher, settings, stop.clone()));
    let mut open = JoinSet::new();
    let mut complaints = Complaints::default();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = accept(&listener, &mut complaints) => accepted,
            Some(ended) = open.join_next(), if !open.is_empty() => {
                report(ended);
                continue;
            }
            () = stop.cancelled() => break,
        };
        tracing::debug!(%peer, "connection");
        set_up(&stream);
        if let Ok(permit) = Arc::clone(&free).try_acquire_owned() {
            let shared = Arc::clone(&shared);
            open.spawn(async move {
                connection::run(stream, shared).await;
                drop(permit);
            });
        } else if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
            let shared = Arc::clone(&shared);
            open.spawn(async move {
                connection::refuse(stream, &shared).await;
                drop(permit);
            });
        }
    }
    drop(listener);
    let finish = async {
        while let Some(ended) = open.join_next().await {
            report(ended);
        }
    };
    if tokio::time::timeout(grace, finish).await.is_err() {
        tracing::warn!(
            connections = open.len(),
            "cut off: not done in the grace time"
        );
        open.shutdown().await;
    }
}

/// What the kernel takes of an answer that the client does not: 2.5 MB on loopback otherwise, for
/// each follower that does not read.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_BYTES: u32 = 128 << 10;

/// Neither is needed for an answer: a system that refuses them is slower or larger.
fn set_up(stream: &TcpStream) {
    // Answers are written whole: nothing is gained by waiting for more.
    let _ = stream.set_nodelay(true);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES);
}

/// Complaints about connections that could not be accepted: a minute's are one line.
#[derive(Default)]
struct Complaints {
    last: Option<Instant>,
    held_back: u64,
}

impl Complaints {
    /// The line that is due, if a line is due.
    fn about(&mut self, error: &std::io::Error, now: Instant) -> Option<String> {
        let is_due = self.last.is_none_or(|last| now - last >= LOG_INTERVAL);
        if !is_due {
            self.held_back += 1;
            return None;
        }
        self.last = Some(now);
        let more = match std::mem::take(&mut self.held_back) {
            0 => String::new(),
            more => format!(" ({more} more times since this was last told)"),
        };
        let hint = match error.raw_os_error() {
            Some(OUT_OF_FILES) => {
                "; this process has as many files open as it may: raise `ulimit -n`, or close \
                 connections"
            }
            _ => "",
        };
        Some(format!(
            "a connection could not be accepted: {error}{hint}{more}"
        ))
    }
}

async fn accept(listener: &TcpListener, complaints: &mut Complaints) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                // Out of file descriptors, or a client that left again: neither ends the server.
                if let Some(line) = complaints.about(&error, Instant::now()) {
                    tracing::warn!("{line}");
                }
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// security/S9
    #[test]
    fn a_system_that_gives_no_connection_is_told_of_once_a_minute_with_the_remedy() {
        let error = std::io::Error::from_raw_os_error(OUT_OF_FILES);
        let mut complaints = Complaints::default();
        let begun = Instant::now();
        let lines: Vec<_> = (0..2_400)
            .filter_map(|n| complaints.about(&error, begun + ACCEPT_BACKOFF * n))
            .collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("raise `ulimit -n`"), "{lines:?}");
        assert!(lines[1].contains("(1199 more times"), "{lines:?}");
        let other = std::io::Error::from_raw_os_error(103);
        let line = Complaints::default().about(&other, begun).unwrap();
        assert!(!line.contains("ulimit"), "{line}");
    }
}
