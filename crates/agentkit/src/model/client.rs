//! The client of models over HTTP: one call is one `POST`, and no failure is retried here. A request
//! that a server refused because of a field that others want is sent once more without that field.
//!
//! What all surfaces share is here: the HTTP call, the stream of events, the kinds of failures and
//! the care for secrets. What differs has a module for each [`ApiSurface`]: how a request is written,
//! and how an answer is read into a draft.

mod arguments;
mod builder;
mod chat;
mod classify;
mod config;
mod content;
pub(crate) mod extra;
mod failure;
mod fields;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod generate_content;
mod learnt;
mod messages;
mod project;
mod reader;
mod report;
mod request;
mod responses;
mod retry_after;
mod schema;
mod sse;
mod surface;
mod text;
mod turns;
mod written;

use std::{sync::Arc, time::Duration};

use reqwest::{
    Url,
    header::{CONTENT_ENCODING, HeaderMap},
    redirect,
};

pub(crate) use self::schema::is_held;
use self::{
    builder::DecodeError,
    failure::{Failures, Head},
    learnt::Learnt,
    reader::Reader,
    report::Report,
    request::Outgoing,
};
pub use self::{
    config::{ApiKey, Config, ConfigError, Provider},
    surface::ApiSurface,
};
use super::{DeltaSink, Model, ModelError, ModelInfo, Request, Response};
use crate::{BoxFuture, tool::ToolSpec};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Of an error body, so much is read.
const MAX_ERROR: usize = 64 << 10;
/// The most tools that one call finds out to be refused: each costs a request that was not served.
const MAX_REFUSED_TOOLS: u32 = 8;
/// How long the end of a body is awaited, so that the connection can be used again.
const DRAIN: Duration = Duration::from_millis(20);
/// How long a count of tokens is awaited after the model's own end of an answer. Some servers never
/// close the connection.
const AFTER_END: Duration = Duration::from_secs(3);

/// A model behind HTTP. It keeps connections, so make it once and share it.
pub struct Client {
    config: Config,
    name: String,
    url: Url,
    /// The URL for people: without user, password and query.
    endpoint: String,
    headers: HeaderMap,
    http: reqwest::Client,
    learnt: Learnt,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("place", &self.endpoint)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Checks the configuration and makes the HTTP client; nothing is sent.
    ///
    /// If the process has no default TLS provider yet, it gets rustls with ring.
    ///
    /// # Errors
    /// [`ConfigError`] says what cannot work.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let url = config.endpoint()?;
        let mut endpoint = url.clone();
        endpoint.set_query(None);
        // A URL with a host takes these.
        let _ = (endpoint.set_username(""), endpoint.set_password(None));
        Ok(Self {
            name: config.name(),
            endpoint: endpoint.to_string(),
            headers: config.headers()?,
            http: http(&url).map_err(ConfigError::Client)?,
            url,
            config,
            learnt: Learnt::default(),
        })
    }

    /// A client for a model by its name, with key and base URL from the environment.
    ///
    /// # Errors
    /// As [`Config::from_env`] and [`Client::new`].
    pub fn from_env(name: &str) -> Result<Self, ConfigError> {
        Self::new(Config::from_env(name)?)
    }

    fn failures<'a>(&'a self, request: &'a Request, sent: u64) -> Failures<'a> {
        Failures {
            name: &self.name,
            endpoint: &self.endpoint,
            config: &self.config,
            request,
            sent,
        }
    }

    async fn exchange(
        &self,
        request: &Request,
        deltas: &dyn DeltaSink,
    ) -> Result<Response, ModelError> {
        let surface = self.config.surface();
        let mut refused_tools = 0;
        loop {
            let outgoing = Outgoing {
                config: &self.config,
                name: &self.name,
                request,
                learnt: &self.learnt,
            };
            let body = extra::with(surface.body(&outgoing), &self.config.info.request);
            let body = bytes::Bytes::from(body);
            let sent = outgoing.estimated(body.len());
            let failures = self.failures(request, sent);
            let call = self
                .http
                .post(self.url.clone())
                .headers(self.headers.clone())
                .body(body.clone());
            let mut response = call
                .send()
                .await
                .map_err(|error| failures.sending(&error))?;
            let head = Head::new(response.status().as_u16(), response.headers(), &self.config);
            if response.status().is_success() {
                return self.answer(response, head, &failures, deltas).await;
            }
            let refusal = self.error_body(&mut response).await;
            let report = Report::read(&refusal);
            if self.learnt.learn(head.status, &report, &body) {
                continue;
            }
            // One tool whose schema is refused would cost the run every other one.
            let tools = request
                .tools
                .iter()
                .filter(|tool| !self.learnt.is_left_out(tool));
            let tools: Vec<&Arc<ToolSpec>> = tools.collect();
            let left_out = match refused_tools < MAX_REFUSED_TOOLS {
                true => self.learnt.leave_out(head.status, &report, &tools),
                false => None,
            };
            let Some(tool) = left_out else {
                return Err(failures.answered(head, &report));
            };
            refused_tools += 1;
            tracing::warn!(
                model = self.name,
                tool,
                reason = report.message.as_deref().unwrap_or_default(),
                "the provider refuses the definition of a tool; it is left out of requests to this model"
            );
        }
    }

    async fn answer(
        &self,
        mut response: reqwest::Response,
        head: Head,
        failures: &Failures<'_>,
        deltas: &dyn DeltaSink,
    ) -> Result<Response, ModelError> {
        let packed = response.headers().get(CONTENT_ENCODING);
        if packed.is_some_and(|packed| packed.as_bytes() != b"identity") {
            return Err(failures.decode_error(head, DecodeError::PACKED, false));
        }
        let decoder = self.config.surface().decoder();
        let mut reader = Reader::new(decoder, deltas, failures.request);
        while !reader.is_done() {
            // Only a stream has to keep moving, and only once it has begun.
            let patience = match (reader.is_over(), self.config.stream && reader.has_begun()) {
                (true, _) => Some(AFTER_END.min(self.config.idle_timeout)),
                (false, true) => Some(self.config.idle_timeout),
                (false, false) => None,
            };
            let chunk = match patience {
                Some(patience) => tokio::time::timeout(patience, response.chunk()).await,
                None => Ok(response.chunk().await),
            };
            let taken = match chunk {
                Ok(Ok(Some(bytes))) => reader.push(&bytes),
                Ok(Ok(None)) => break,
                // The answer is whole: that the connection broke afterwards does not matter.
                Ok(Err(_)) | Err(_) if reader.is_complete() => break,
                Ok(Err(error)) => return Err(failures.broken(head, &error)),
                Err(_) => return Err(failures.idle(head)),
            };
            if let Err(decode_error) = taken {
                return Err(failures.decode_error(head, decode_error, reader.has_output()));
            }
        }
        if reader.is_done() {
            let _ = tokio::time::timeout(DRAIN, response.chunk()).await;
        }
        let has_output = reader.has_output();
        match reader.finish() {
            Ok(builder) => Ok(builder.response(failures.sent, &self.config, head.request_id)),
            Err(decode_error) => Err(failures.decode_error(head, decode_error, has_output)),
        }
    }

    /// The beginning of an error body; the status counts even if the body does not come.
    async fn error_body(&self, response: &mut reqwest::Response) -> Vec<u8> {
        let mut body = Vec::new();
        while body.len() < MAX_ERROR {
            match tokio::time::timeout(self.config.idle_timeout, response.chunk()).await {
                Ok(Ok(Some(bytes))) => body.extend_from_slice(&bytes),
                Ok(Ok(None) | Err(_)) | Err(_) => break,
            }
        }
        body.truncate(MAX_ERROR);
        body
    }
}

impl Model for Client {
    fn name(&self) -> &str {
        &self.name
    }

    fn info(&self) -> Option<&ModelInfo> {
        Some(&self.config.info)
    }

    fn tools_left_out(&self, tools: &[Arc<ToolSpec>]) -> Vec<String> {
        let left_out = tools.iter().filter(|tool| self.learnt.is_left_out(tool));
        left_out.map(|tool| tool.name.clone()).collect()
    }

    fn call<'a>(
        &'a self,
        request: &'a Request,
        deltas: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        Box::pin(async move {
            let exchange = self.exchange(request, deltas);
            match tokio::time::timeout(self.config.timeout, exchange).await {
                Ok(outcome) => outcome,
                Err(_) => Err(self.failures(request, 0).late()),
            }
        })
    }
}

/// An HTTP client for requests to this URL, with the care that requests with a key need: no redirects, a bound on the
/// time to connect, and no proxy to this machine. If the process has no default TLS provider yet, it gets rustls with
/// ring.
///
/// # Errors
/// The certificates of the system cannot be used.
pub fn http(url: &Url) -> Result<reqwest::Client, reqwest::Error> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may have been faster; any provider will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let builder = || {
        reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // A redirected POST would become a GET, and the key would travel along.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("agentkit/", env!("CARGO_PKG_VERSION")))
    };
    if url.scheme() == "https" {
        return builder().build();
    }
    if is_loopback(url) {
        // Straight to the server: no proxy, hence no TLS, hence no certificates to load.
        return builder().no_proxy().tls_certs_only([]).build();
    }
    builder()
        .build()
        .or_else(|_| builder().tls_certs_only([]).build())
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<std::net::IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}
