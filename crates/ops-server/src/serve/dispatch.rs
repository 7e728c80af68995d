//! The way of every request to the routes and back.

use std::{
    any::Any,
    convert::Infallible,
    fmt::Write as _,
    hash::{BuildHasher, Hasher, RandomState},
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicU64, Ordering},
};

use axum::{Router, body::Body};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use ops_core::Code;

use super::Hosts;
use crate::problem::{Pending, Problem};

/// The header that carries a request's id.
pub(super) const REQUEST_ID: &str = "x-request-id";
const MAX_REQUEST_ID: usize = 128;

/// The way to the routes.
pub(crate) struct Dispatcher {
    routes: TowerToHyperService<Router>,
    hosts: Hosts,
    listen: Option<SocketAddr>,
    /// Sets the ids of this process apart from the ids of another process.
    process: u64,
    requests: AtomicU64,
}

impl Dispatcher {
    pub(crate) fn new(routes: Router, hosts: Hosts, listen: Option<SocketAddr>) -> Self {
        Self {
            routes: TowerToHyperService::new(routes),
            hosts,
            listen,
            process: RandomState::new().build_hasher().finish(),
            requests: AtomicU64::new(1),
        }
    }

    /// Answers a request in every case.
    pub(crate) async fn answer<B>(&self, request: Request<B>) -> Result<Response<Body>, Infallible>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let id = match request.headers().get(REQUEST_ID) {
            Some(id) if is_sane(id) => id.clone(),
            Some(_) | None => self.new_id(),
        };
        tracing::debug!(method = %request.method(), uri = %request.uri(), request_id = ?id, "request");
        let allowed = self
            .hosts
            .check(request.uri(), request.headers(), self.listen);
        let mut response = match allowed {
            Ok(()) => self.route(request, &id).await,
            Err(problem) => problem.response(id.to_str().ok()),
        };
        if let Some(Pending(problem)) = response.extensions_mut().remove() {
            if problem.status() == StatusCode::INTERNAL_SERVER_ERROR {
                tracing::error!(request_id = ?id, ?problem, "a request failed");
            }
            // The routes announced the length of the body without the id.
            response.headers_mut().remove(header::CONTENT_LENGTH);
            *response.body_mut() = Body::from(problem.body(id.to_str().ok()));
        }
        response.headers_mut().insert(REQUEST_ID, id);
        Ok(response)
    }

    async fn route<B>(&self, request: Request<B>, id: &HeaderValue) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let routed = AssertUnwindSafe(async { self.routes.call(request).await });
        match routed.catch_unwind().await {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(panic) => {
                let message = message(&*panic);
                tracing::error!(request_id = ?id, message, "a request panicked");
                let detail = "the server failed while it answered; its log has the request id";
                Problem::new(Code::Internal, detail).response(id.to_str().ok())
            }
        }
    }

    /// An id for a request that carries no id.
    pub(super) fn new_id(&self) -> HeaderValue {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut text = String::with_capacity(32);
        write!(text, "{:016x}-{number:x}", self.process).expect("writing to memory does not fail");
        HeaderValue::try_from(text).expect("hex digits are a header value")
    }
}

/// An id is taken over if it can be logged and searched for as it is.
fn is_sane(id: &HeaderValue) -> bool {
    let id = id.as_bytes();
    (1..=MAX_REQUEST_ID).contains(&id.len())
        && id
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}
