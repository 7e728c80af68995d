//! OpenAI chat completions: also the surface of Ollama, vLLM, llama.cpp, OpenRouter and most
//! gateways.
//!
//! One call is one `POST {base_url}/chat/completions`; nothing is retried here. Source:
//! <https://platform.openai.com/docs/api-reference/chat>.

mod answer;
mod failure;
mod report;
mod retry_after;
mod sse;
mod wire;

use std::time::Duration;

use reqwest::{
    Client, Url,
    header::{self, HeaderMap, HeaderName, HeaderValue},
    redirect,
};

use self::{
    answer::Reader,
    failure::{Failures, Head},
    wire::Mode,
};
use super::{DeltaSink, Model, ModelError, Request, Response};
use crate::BoxFuture;

/// Where OpenAI itself answers.
pub const BASE_URL: &str = "https://api.openai.com/v1";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Of an error body, so much is read.
const MAX_ERROR: usize = 64 << 10;
/// How long the end of a body is awaited, so that the connection can be used again.
const DRAIN: Duration = Duration::from_millis(20);

/// How to reach a model.
#[derive(Clone)]
pub struct Config {
    /// Up to and including the version, for instance [`BASE_URL`]; a slash at its end is fine.
    pub base_url: String,
    /// Sent as `Authorization: Bearer`, if there is one.
    pub api_key: Option<ApiKey>,
    /// The model, as the provider names it.
    pub model: String,
    /// Sent with each request, as name and value; they win over this client's own.
    pub headers: Vec<(String, String)>,
    /// Whether to ask for a stream. Either kind of answer is understood.
    pub stream: bool,
    /// The longest that a whole call may take.
    pub timeout: Duration,
    /// The longest pause between two pieces of a stream. It does not bound the wait for the first
    /// one: a model may think for minutes before it.
    pub idle_timeout: Duration,
    /// The provider's name: the first part of [`Model::name`], and in upper case the prefix of the
    /// variables that error messages name, for instance `OPENAI_API_KEY`.
    pub provider: String,
}

impl Config {
    /// OpenAI with default settings and no key.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            base_url: BASE_URL.to_owned(),
            api_key: None,
            model: model.into(),
            headers: Vec::new(),
            stream: true,
            timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(60),
            provider: "openai".to_owned(),
        }
    }

    /// The key, unless there is only white space.
    fn key(&self) -> Option<&str> {
        self.api_key
            .as_ref()
            .map(|key| key.0.trim())
            .filter(|key| !key.is_empty())
    }
}

/// Shows neither the key nor the values of headers, nor the base URL, which may hold a password.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("provider", &self.provider)
            .field("model", &self.model)
            .field("api_key", &self.api_key)
            .field(
                "headers",
                &self
                    .headers
                    .iter()
                    .map(|(name, _)| name)
                    .collect::<Vec<_>>(),
            )
            .field("stream", &self.stream)
            .field("timeout", &self.timeout)
            .field("idle_timeout", &self.idle_timeout)
            .finish_non_exhaustive()
    }
}

/// A key that nothing shows.
#[derive(Clone)]
pub struct ApiKey(String);

impl<T: Into<String>> From<T> for ApiKey {
    fn from(key: T) -> Self {
        Self(key.into())
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

/// A configuration that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The base URL is none.
    #[error("the base URL is not an http or https URL; an example is {BASE_URL}")]
    BaseUrl,
    /// The key cannot be sent.
    #[error("the API key holds characters that no HTTP header can carry; set it again")]
    ApiKey,
    /// An extra header cannot be sent.
    #[error("the extra header `{name}` is not a valid HTTP header")]
    Header {
        /// Its name.
        name: String,
    },
    /// There is no HTTP client, most often because the system has no CA certificates.
    #[error("no HTTP client can be made; are CA certificates installed (ca-certificates)?")]
    Client(#[source] reqwest::Error),
}

/// A model behind an OpenAI-compatible server. It keeps connections, so make it once and share it.
#[derive(Debug)]
pub struct OpenAi {
    config: Config,
    name: String,
    url: Url,
    /// The URL for people: without user, password and query.
    place: String,
    headers: HeaderMap,
    client: Client,
}

impl OpenAi {
    /// Checks the configuration and makes the HTTP client; nothing is sent.
    ///
    /// If the process has no default TLS provider yet, it gets rustls with ring.
    ///
    /// # Errors
    /// [`ConfigError`] says what cannot work.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let url = endpoint(&config.base_url)?;
        let mut place = url.clone();
        place.set_query(None);
        // A URL with a host takes these.
        let _ = (place.set_username(""), place.set_password(None));
        Ok(Self {
            name: format!("{}/{}", config.provider, config.model),
            place: place.to_string(),
            headers: headers(&config)?,
            client: client(&url).map_err(ConfigError::Client)?,
            url,
            config,
        })
    }

    fn failures<'a>(&'a self, request: &'a Request) -> Failures<'a> {
        Failures {
            name: &self.name,
            place: &self.place,
            config: &self.config,
            request,
        }
    }

    async fn exchange(
        &self,
        request: &Request,
        deltas: &dyn DeltaSink,
    ) -> Result<Response, ModelError> {
        let mode = if self.config.stream {
            Mode::Stream
        } else {
            Mode::Whole
        };
        let body = wire::body(&self.config.model, request, mode);
        let sent = body.len();
        let failures = self.failures(request);
        let call = self
            .client
            .post(self.url.clone())
            .headers(self.headers.clone())
            .body(body);
        let mut response = call
            .send()
            .await
            .map_err(|error| failures.sending(&error))?;
        let head = Head::new(response.status().as_u16(), response.headers());
        if !response.status().is_success() {
            let body = self.error_body(&mut response).await;
            return Err(failures.answered(head, &body));
        }
        let mut reader = Reader::new(deltas);
        while !reader.is_done() {
            // Only a stream has to keep moving, and only once it has begun.
            let chunk = if self.config.stream && reader.has_begun() {
                tokio::time::timeout(self.config.idle_timeout, response.chunk()).await
            } else {
                Ok(response.chunk().await)
            };
            let taken = match chunk {
                Ok(Ok(Some(bytes))) => reader.push(&bytes),
                Ok(Ok(None)) => break,
                // The answer is whole: that the connection broke afterwards does not matter.
                Ok(Err(_)) | Err(_) if reader.is_complete() => break,
                Ok(Err(error)) => return Err(failures.broken(head, &error)),
                Err(_) => return Err(failures.idle(head)),
            };
            if let Err(trouble) = taken {
                return Err(failures.trouble(head, trouble, reader.has_output()));
            }
        }
        if reader.is_done() {
            let _ = tokio::time::timeout(DRAIN, response.chunk()).await;
        }
        let has_output = reader.has_output();
        match reader.finish() {
            Ok(answer) => Ok(answer.response(sent, &self.config.model, head.request_id)),
            Err(trouble) => Err(failures.trouble(head, trouble, has_output)),
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

impl Model for OpenAi {
    fn name(&self) -> &str {
        &self.name
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
                Err(_) => Err(self.failures(request).late()),
            }
        })
    }
}

/// `{base_url}/chat/completions`; a query, as Azure wants one, stays.
fn endpoint(base_url: &str) -> Result<Url, ConfigError> {
    let mut url = Url::parse(base_url.trim()).map_err(|_| ConfigError::BaseUrl)?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(ConfigError::BaseUrl);
    }
    if !url.path().ends_with("/chat/completions") {
        let mut path = url.path_segments_mut().map_err(|()| ConfigError::BaseUrl)?;
        path.pop_if_empty().extend(["chat", "completions"]);
    }
    Ok(url)
}

fn headers(config: &Config) -> Result<HeaderMap, ConfigError> {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if config.stream {
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("text/event-stream"),
        );
    }
    if let Some(key) = config.key() {
        let mut value: HeaderValue = format!("Bearer {key}")
            .parse()
            .map_err(|_| ConfigError::ApiKey)?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    for (name, value) in &config.headers {
        let wrong = || ConfigError::Header { name: name.clone() };
        let name: HeaderName = name.parse().map_err(|_| wrong())?;
        let mut value: HeaderValue = value.parse().map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

fn client(url: &Url) -> Result<Client, reqwest::Error> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may have been faster; any provider will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let builder = || {
        Client::builder()
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
