//! One connection, from its first byte to its last.

use std::sync::Arc;

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use ops_core::Code;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::{
    Settings,
    dispatch::{Dispatcher, REQUEST_ID},
    io::{RequestError, Watched},
};
use crate::problem::Problem;

/// A request header has at most so many bytes, its first line included.
const MAX_HEADER_BYTES: usize = 64 << 10;
/// Most bytes that are buffered for a connection, each way.
const MAX_BUFFER_BYTES: usize = 128 << 10;

/// Settings that all connections share.
pub(super) struct Shared {
    dispatcher: Dispatcher,
    http: http1::Builder,
    settings: Settings,
    stop: CancellationToken,
}

impl Shared {
    pub(super) fn new(dispatcher: Dispatcher, settings: Settings, stop: CancellationToken) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(settings.header_timeout)
            .max_header_size(MAX_HEADER_BYTES)
            .max_buf_size(MAX_BUFFER_BYTES);
        Self {
            dispatcher,
            http,
            settings,
            stop,
        }
    }
}

/// Serves a connection.
pub(super) async fn run(stream: TcpStream, shared: Arc<Shared>) {
    let watched = Watched::new(stream, shared.settings.write_timeout);
    let service = service_fn(|request| shared.dispatcher.answer(request));
    let mut connection = shared.http.serve_connection(TokioIo::new(watched), service);
    let outcome = tokio::select! {
        outcome = &mut connection => outcome,
        () = shared.stop.cancelled() => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    let mut watched = connection.into_parts().io.into_inner();
    let fault = match &outcome {
        Ok(()) => watched.held_back(),
        Err(error) => {
            tracing::debug!(%error, "connection ended");
            // An idle connection is closed without a word.
            let unanswered = watched.is_unanswered();
            let slow = unanswered && error.is_timeout();
            // To anything else that it cannot parse it has an answer, which was held back.
            let http2 = unanswered && error.is_parse();
            let unanswered = slow.then_some(RequestError::TooSlow);
            let unanswered = unanswered.or(http2.then_some(RequestError::Http2));
            watched.held_back().or(unanswered)
        }
    };
    if let Some(fault) = fault {
        let problem = Problem::new(fault.code(), message(fault, &shared.settings));
        watched
            .say(&final_response(&problem, &shared.dispatcher))
            .await;
    }
    if outcome.is_ok() || fault.is_some() {
        tokio::select! {
            () = watched.close() => {}
            () = shared.stop.cancelled() => {}
        }
    }
}

/// Tells a client that there are too many.
pub(super) async fn refuse(stream: TcpStream, shared: &Shared) {
    let mut watched = Watched::new(stream, shared.settings.write_timeout);
    let most = shared.settings.max_connections;
    let message = format!("{most} connections are open, as many as may be");
    let problem = Problem::new(Code::Overloaded, message);
    watched
        .say(&final_response(&problem, &shared.dispatcher))
        .await;
    watched.close().await;
}

fn message(fault: RequestError, settings: &Settings) -> String {
    match fault {
        RequestError::Malformed => "the bytes that came are not an HTTP/1.1 request".to_owned(),
        RequestError::Http2 => {
            "the bytes that came begin an HTTP/2 connection; use HTTP/1.1".to_owned()
        }
        RequestError::UriTooLong => "the request target has more than 65534 bytes".to_owned(),
        RequestError::HeaderTooLarge => {
            format!("the request header has more than {MAX_HEADER_BYTES} bytes, or 100 lines")
        }
        RequestError::TooSlow => {
            let most = settings.header_timeout.as_secs();
            format!("the request header was not complete after {most} s")
        }
    }
}

/// An answer outside of hyper; the connection ends after it.
fn final_response(problem: &Problem, dispatcher: &Dispatcher) -> Vec<u8> {
    let id = dispatcher.new_id();
    let id = id.to_str().unwrap_or_default();
    let body = problem.body(Some(id));
    let response = problem.response(None);
    let mut out = format!("HTTP/1.1 {}\r\n", response.status()).into_bytes();
    for (name, value) in response.headers() {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    let rest = format!(
        "content-length: {}\r\nconnection: close\r\n{REQUEST_ID}: {id}\r\n\r\n",
        body.len()
    );
    out.extend_from_slice(rest.as_bytes());
    out.extend_from_slice(&body);
    out
}
