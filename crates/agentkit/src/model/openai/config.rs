//! How to reach a model, and what of it cannot work.

use std::time::Duration;

use reqwest::{
    Url,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};

/// Where OpenAI itself answers.
pub const BASE_URL: &str = "https://api.openai.com/v1";

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
    /// The provider's name: the first part of [`name`](crate::Model::name), and in upper case the prefix of the
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
    pub(super) fn key(&self) -> Option<&str> {
        self.api_key
            .as_ref()
            .map(|key| key.0.trim())
            .filter(|key| !key.is_empty())
    }

    /// `{base_url}/chat/completions`; a query, as Azure wants one, stays.
    pub(super) fn endpoint(&self) -> Result<Url, ConfigError> {
        let mut url = Url::parse(self.base_url.trim()).map_err(|_| ConfigError::BaseUrl)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(ConfigError::BaseUrl);
        }
        if !url.path().ends_with("/chat/completions") {
            let mut path = url.path_segments_mut().map_err(|()| ConfigError::BaseUrl)?;
            path.pop_if_empty().extend(["chat", "completions"]);
        }
        Ok(url)
    }

    /// The headers of each request.
    pub(super) fn headers(&self) -> Result<HeaderMap, ConfigError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if self.stream {
            headers.insert(
                header::ACCEPT,
                HeaderValue::from_static("text/event-stream"),
            );
        }
        if let Some(key) = self.key() {
            let mut value: HeaderValue = format!("Bearer {key}")
                .parse()
                .map_err(|_| ConfigError::ApiKey)?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        for (name, value) in &self.headers {
            let wrong = || ConfigError::Header { name: name.clone() };
            let name: HeaderName = name.parse().map_err(|_| wrong())?;
            let mut value: HeaderValue = value.parse().map_err(|_| wrong())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(headers)
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
