//! How to reach a model, and what of it cannot work.

use std::time::Duration;

use reqwest::{
    Url,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use units::ModelName;

use super::{request::Mode, surface::ApiSurface};
use crate::model::catalog::{Catalog, ModelInfo};

/// Who serves models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provider {
    /// OpenAI, or a server that speaks one of its surfaces.
    OpenAi,
    /// Anthropic.
    Anthropic,
    /// Google's Gemini API.
    Google,
    /// OpenRouter.
    OpenRouter,
}

impl Provider {
    /// Every provider.
    pub const ALL: [Self; 4] = [
        Self::OpenAi,
        Self::Anthropic,
        Self::Google,
        Self::OpenRouter,
    ];

    /// The first part of a model's name, and in upper case the prefix of the variables that error
    /// messages name, for instance `OPENAI_API_KEY`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Google => "google",
            Self::OpenRouter => "openrouter",
        }
    }

    /// The provider of a name, if there is one.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|provider| provider.name() == name)
    }

    /// Where it answers itself.
    #[must_use]
    pub fn base_url(self) -> &'static str {
        match self {
            Self::OpenAi => "https://api.openai.com/v1",
            Self::Anthropic => "https://api.anthropic.com/v1",
            Self::Google => "https://generativelanguage.googleapis.com/v1beta",
            Self::OpenRouter => "https://openrouter.ai/api/v1",
        }
    }

    /// The surface of models of which the model table says nothing.
    #[must_use]
    pub fn surface(self) -> ApiSurface {
        match self {
            Self::OpenAi | Self::OpenRouter => ApiSurface::Chat,
            Self::Anthropic => ApiSurface::Messages,
            Self::Google => ApiSurface::GenerateContent,
        }
    }
}

/// How to reach a model.
#[derive(Clone)]
pub struct Config {
    /// Who serves it.
    pub provider: Provider,
    /// The model, as the provider names it.
    pub model: String,
    /// What is known of it.
    pub info: ModelInfo,
    /// For instance [`Provider::base_url`]; a slash at its end is fine.
    pub base_url: String,
    /// Sent as the surface wants it, if there is one.
    pub api_key: Option<ApiKey>,
    /// Sent with each request, as name and value; they win over this client's own.
    pub headers: Vec<(String, String)>,
    /// Whether to ask for a stream. Either kind of answer is understood.
    pub stream: bool,
    /// The longest that a whole call may take.
    pub timeout: Duration,
    /// The longest pause between two pieces of a stream. It does not bound the wait for the first
    /// one: a model may think for minutes before it.
    pub idle_timeout: Duration,
}

impl Config {
    /// A model at its provider, with default settings, what the built-in table knows of it, and no
    /// key.
    pub fn new(provider: Provider, model: impl Into<String>) -> Self {
        let mut config = Self {
            provider,
            model: model.into(),
            info: ModelInfo::default(),
            base_url: provider.base_url().to_owned(),
            api_key: None,
            headers: Vec::new(),
            stream: true,
            timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(60),
        };
        config.info = Catalog::built_in().info(&config.name());
        config
    }

    /// A model by provider and name, for instance `openai/gpt-5`, with key and base URL from the
    /// environment: `OPENAI_API_KEY` and `OPENAI_BASE_URL`, and the like.
    ///
    /// # Errors
    /// If the provider is not known, or has neither a key nor a base URL.
    pub fn from_env(name: &str) -> Result<Self, ConfigError> {
        let unknown = || ConfigError::Provider {
            name: name.to_owned(),
        };
        let whole: ModelName = name.parse().map_err(|_| unknown())?;
        let provider = Provider::by_name(whole.provider()).ok_or_else(unknown)?;
        let prefix = provider.name().to_uppercase();
        let variable = |name: String| std::env::var(name).ok().filter(|text| !text.is_empty());
        let mut config = Self::new(provider, whole.model());
        let base_url = variable(format!("{prefix}_BASE_URL"));
        let key = variable(format!("{prefix}_API_KEY"));
        if key.is_none() && base_url.is_none() {
            return Err(ConfigError::NoKey { prefix });
        }
        config.api_key = key.map(ApiKey);
        config.base_url = base_url.unwrap_or(config.base_url);
        Ok(config)
    }

    /// Provider and model, for instance `openai/gpt-5`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.provider.name(), self.model)
    }

    /// The surface that it is called on.
    #[must_use]
    pub fn surface(&self) -> ApiSurface {
        self.info.surface.unwrap_or(self.provider.surface())
    }

    /// Checks base URL, key and headers, without a request.
    ///
    /// # Errors
    /// What cannot be sent.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.endpoint()?;
        self.headers()?;
        Ok(())
    }

    pub(super) fn mode(&self) -> Mode {
        if self.stream {
            Mode::Stream
        } else {
            Mode::Whole
        }
    }

    /// The key, unless there is only white space.
    pub(super) fn key(&self) -> Option<&str> {
        self.api_key
            .as_ref()
            .map(|key| key.0.trim())
            .filter(|key| !key.is_empty())
    }

    /// The base URL with the surface's path; a query, as Azure wants one, stays.
    pub(super) fn endpoint(&self) -> Result<Url, ConfigError> {
        let wrong = || ConfigError::BaseUrl {
            provider: self.provider.name(),
            prefix: self.provider.name().to_uppercase(),
            shown: without_password(&self.base_url),
            example: self.provider.base_url(),
        };
        let mut url = Url::parse(self.base_url.trim()).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong());
        }
        let surface = self.surface();
        let path = surface.path(self);
        if !url.path().ends_with(&format!("/{}", path.join("/"))) {
            let has_version = url
                .path_segments()
                .is_some_and(|mut parts| parts.any(is_version));
            let mut parts = url.path_segments_mut().map_err(|()| wrong())?;
            parts.pop_if_empty();
            parts
                .extend(surface.version().filter(|_| !has_version))
                .extend(path);
        }
        if let Some((name, value)) = surface.query(self.mode()) {
            url.query_pairs_mut().append_pair(name, value);
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
        if let Some((name, value)) = self.surface().header() {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Some(key) = self.key() {
            let (name, value) = self.surface().key(key);
            let mut value: HeaderValue = value.parse().map_err(|_| ConfigError::ApiKey)?;
            value.set_sensitive(true);
            headers.insert(name, value);
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

/// The beginning of a URL, without what may be a password or a key in it.
fn without_password(url: &str) -> String {
    let url = url.trim();
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let url = &url[..end];
    let shown = match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        (_, None) => url.to_owned(),
    };
    shown.chars().take(120).collect()
}

/// Whether a part of a path is a version such as `v1` or `v1beta`.
fn is_version(part: &str) -> bool {
    let mut rest = part.bytes();
    rest.next() == Some(b'v') && rest.next().is_some_and(|byte| byte.is_ascii_digit())
}

/// Shows neither the key nor the values of headers, nor the base URL, which may hold a password.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("provider", &self.provider)
            .field("model", &self.model)
            .field("surface", &self.surface())
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
#[non_exhaustive]
pub enum ConfigError {
    /// The name of a model has no provider that is known.
    #[error(
        "`{name}` names no known provider; write for instance `openai/gpt-5`; there are openai, \
         anthropic, google and openrouter"
    )]
    Provider {
        /// The name.
        name: String,
    },
    /// Neither a key nor a base URL is in the environment.
    #[error("there is no key: set {prefix}_API_KEY, or {prefix}_BASE_URL for a server without one")]
    NoKey {
        /// The provider in upper case.
        prefix: String,
    },
    /// The base URL is none.
    #[error(
        "the base URL `{shown}` of {provider} is not an http or https URL; correct {prefix}_BASE_URL (an example is \
         {example})"
    )]
    BaseUrl {
        /// The provider.
        provider: &'static str,
        /// The provider in upper case.
        prefix: String,
        /// The URL, without a password.
        shown: String,
        /// A right one.
        example: &'static str,
    },
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
