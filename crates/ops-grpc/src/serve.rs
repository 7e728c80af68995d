//! From a port to the calls: accepting, limits, and the end.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Request;
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use ops_server::Local;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic_health::server::HealthReporter;

use crate::{beside::Beside, health, service::Service};

/// How every connection of HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What clients that speak something else are told, most of them browsers.
const NOT_GRPC: &str =
    "This port speaks gRPC, over HTTP/2 without TLS. REST has a port of its own.\n";
/// How long no connection is accepted after the system could not give a connection.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// Bytes of a header at the most.
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// Bytes that a client may send before a call reads them, for a call and for a connection.
const CALL_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of answers that wait for a client, for a call.
const SEND_BUFFER: usize = 64 << 10;
/// Calls that a client may take back before they are looked at.
const MAX_RESETS: usize = 64;

/// How connections are served.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Connections at once; one more is closed.
    pub max_connections: usize,
    /// Calls at once on a connection; one more waits at the client.
    pub max_calls_per_connection: u32,
    /// Calls at once, streams among them; one more is refused as `overloaded`.
    pub max_calls: usize,
    /// The largest message of a client, in bytes.
    pub max_message_bytes: usize,
    /// How long a connection may take to begin.
    pub preface_timeout: Duration,
    /// How long a message may rest between two of its pieces.
    pub body_timeout: Duration,
    /// How often a silent client is asked whether it is there, and how long the client has for its answer.
    pub keep_alive: (Duration, Duration),
    /// How long a connection may have no call.
    pub idle_timeout: Duration,
    /// How old a connection becomes, up to a tenth more: then its client connects anew, maybe to another server.
    pub max_age: Duration,
    /// How long calls under way may take once the server stops.
    pub grace: Duration,
    /// The span of a call, of its method and its metadata `traceparent`.
    pub span: fn(&str, Option<&str>) -> tracing::Span,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_connections: 4_096,
            max_calls_per_connection: 256,
            max_calls: 8_192,
            max_message_bytes: 4 << 20,
            preface_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            keep_alive: (Duration::from_secs(30), Duration::from_secs(20)),
            idle_timeout: Duration::from_secs(600),
            max_age: Duration::from_secs(3_600),
            grace: Duration::from_secs(10),
            span: |_, _| tracing::Span::none(),
        }
    }
}

struct Shared {
    service: Arc<Service>,
    settings: Settings,
    stop: CancellationToken,
    begun: Instant,
    accepted: AtomicU64,
}

/// Calls of a connection.
struct Calls {
    open: AtomicUsize,
    /// Milliseconds from the start of the server to the end of the last call.
    last: AtomicU64,
}

/// A call that is under way.
struct Open {
    shared: Arc<Shared>,
    calls: Arc<Calls>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.calls.open.fetch_sub(1, Ordering::Relaxed);
        self.calls
            .last
            .store(self.shared.millis(), Ordering::Relaxed);
    }
}

/// Serves calls on a port until `stop`: then nothing more is accepted, calls under way are finished, streams end, and
/// calls that take longer than the grace time are cut off.
///
/// # Errors
/// The name of a method without an operation of REST: a defect.
pub async fn serve(
    listener: TcpListener,
    local: Local,
    settings: Settings,
    stop: CancellationToken,
) -> Result<(), String> {
    let reporter = HealthReporter::new();
    let beside = Beside::new(reporter.clone(), &stop);
    let shared = Arc::new(Shared {
        service: Arc::new(Service::new(local.clone(), &settings, beside)?),
        stop: stop.clone(),
        begun: Instant::now(),
        accepted: AtomicU64::new(0),
        settings,
    });
    health::begin(&reporter, &local).await;
    let watch = tokio::spawn(health::watch(reporter, local, stop.clone()));
    let free = Arc::new(Semaphore::new(shared.settings.max_connections));
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = open.join_next(), if !open.is_empty() => continue,
            () = stop.cancelled() => break,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of file descriptors, or a client that left again: neither ends the server.
            sleep(ACCEPT_BACKOFF).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&free).try_acquire_owned() else {
            tracing::debug!(%peer, "a connection was closed: as many are open as may be");
            continue;
        };
        let shared = Arc::clone(&shared);
        open.spawn(async move {
            connection(stream, shared).await;
            drop(permit);
        });
    }
    drop(listener);
    let finish = async { while open.join_next().await.is_some() {} };
    if timeout(shared.settings.grace, finish).await.is_err() {
        let connections = open.len();
        tracing::warn!(
            connections,
            "cut off: calls were not done in the grace time"
        );
        open.shutdown().await;
    }
    // The loop ends with the stop.
    let _ = watch.await;
    Ok(())
}

async fn connection(mut stream: TcpStream, shared: Arc<Shared>) {
    let settings = &shared.settings;
    // Answers are written whole: nothing is gained by waiting for more.
    let _ = stream.set_nodelay(true);
    let begins = tokio::select! {
        begins = timeout(settings.preface_timeout, begins(&stream)) => begins,
        () = shared.stop.cancelled() => return,
    };
    match begins {
        Ok(Some(true)) => {}
        Ok(Some(false)) => {
            // Who does not take the answer is no worse off than without.
            let _ = timeout(Duration::from_secs(2), async {
                let length = NOT_GRPC.len();
                let answer = format!(
                    "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\
                     connection: close\r\n\r\n{NOT_GRPC}"
                );
                stream.write_all(answer.as_bytes()).await?;
                stream.shutdown().await
            })
            .await;
            return;
        }
        Ok(None) | Err(_) => return,
    }
    let calls = Calls {
        open: AtomicUsize::new(0),
        last: AtomicU64::new(shared.millis()),
    };
    let calls = Arc::new(calls);
    let service = service_fn(|request: Request<Incoming>| {
        let (shared, calls) = (Arc::clone(&shared), Arc::clone(&calls));
        async move {
            calls.open.fetch_add(1, Ordering::Relaxed);
            let open = Open { shared, calls };
            let response = Arc::clone(&open.shared.service).answer(request).await;
            // A stream is a call until its end.
            let response = response.map(|body| {
                Body::new(body.map_frame(move |frame| {
                    let _ = &open;
                    frame
                }))
            });
            Ok::<_, Infallible>(response)
        }
    });
    let (interval, patience) = settings.keep_alive;
    let mut served = std::pin::pin!(
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(interval)
            .keep_alive_timeout(patience)
            .max_concurrent_streams(settings.max_calls_per_connection)
            .max_header_list_size(MAX_HEADER_BYTES)
            .initial_stream_window_size(CALL_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .serve_connection(TokioIo::new(stream), service)
    );
    // Connections of one moment end at different moments.
    let number = shared.accepted.fetch_add(1, Ordering::Relaxed);
    let age = settings.max_age + settings.max_age.mul_f64((number % 16) as f64 / 160.0);
    let outcome = tokio::select! {
        outcome = served.as_mut() => outcome,
        () = async {
            tokio::select! {
                () = shared.stop.cancelled() => {}
                () = sleep(age) => {}
                () = idle(&shared, &calls) => {}
            }
        } => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection ended");
    }
}

/// Whether a connection begins as HTTP/2 does; none if the client left.
async fn begins(stream: &TcpStream) -> Option<bool> {
    let mut start = [0; PREFACE.len()];
    loop {
        let read = stream
            .peek(&mut start)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        if start[..read] != PREFACE[..read] {
            return Some(false);
        }
        if read == PREFACE.len() {
            return Some(true);
        }
        // The rest is on its way; what is there would be seen again and again.
        sleep(Duration::from_millis(10)).await;
    }
}

/// Ends once a connection has had no call for long.
async fn idle(shared: &Shared, calls: &Calls) {
    let most = u64::try_from(shared.settings.idle_timeout.as_millis()).unwrap_or(u64::MAX);
    loop {
        sleep(shared.settings.idle_timeout / 4).await;
        let silent = shared
            .millis()
            .saturating_sub(calls.last.load(Ordering::Relaxed));
        if calls.open.load(Ordering::Relaxed) == 0 && silent >= most {
            return;
        }
    }
}

impl Shared {
    fn millis(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
