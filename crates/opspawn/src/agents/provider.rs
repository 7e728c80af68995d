//! Which provider answers, and its client.

use std::{sync::Arc, time::Duration};

use agentkit::{
    Model,
    event::Failure,
    model::openai::{ApiKey, BASE_URL, Config as OpenAiConfig, OpenAi},
};
use anyhow::Result;

use crate::config::{Config, PROVIDERS, nearest};

/// The configured provider.
pub(crate) struct Provider {
    /// `openai` or `scripted`.
    name: String,
    model: String,
    base_url: Option<String>,
    api_key: Option<String>,
    stream: bool,
    timeout: Duration,
}

impl Provider {
    pub(super) fn from_config(config: &Config) -> Result<Self> {
        let base_url = config.optional("openai.base_url");
        let api_key = config.optional("openai.api_key");
        let named = config.optional("model.provider");
        let name = match named {
            Some(name) => name,
            None if base_url.is_some() || api_key.is_some() => "openai",
            None => "scripted",
        };
        let provider = Self {
            name: name.to_owned(),
            model: config.optional("model.name").unwrap_or_default().to_owned(),
            base_url: base_url.map(str::to_owned),
            api_key: api_key.map(str::to_owned),
            stream: config.is_on("model.stream"),
            timeout: config
                .duration("model.timeout")
                .unwrap_or(Duration::from_secs(300)),
        };
        if name == "openai" {
            // A missing key or a wrong base URL is told at the start rather than by the first task.
            provider
                .client("openai", &provider.model)
                .map_err(anyhow::Error::from)?;
        }
        Ok(provider)
    }

    /// Provider and model of tasks that ask for none.
    pub(super) fn default_model(&self) -> String {
        if self.name == "scripted" {
            self.name.clone()
        } else {
            format!("{}/{}", self.name, self.model)
        }
    }

    /// Provider and model that a task asks for.
    pub(super) fn named(
        &self,
        provider: Option<&str>,
        model: Option<&str>,
    ) -> Result<String, Failure> {
        let provider = provider.unwrap_or(&self.name);
        if !PROVIDERS.contains(&provider) {
            return Err(unknown(provider));
        }
        if provider == "scripted" {
            return Ok("scripted".to_owned());
        }
        Ok(format!("{provider}/{}", model.unwrap_or(&self.model)))
    }

    /// The client of a provider for a model.
    pub(super) fn client(&self, provider: &str, model: &str) -> Result<Arc<dyn Model>, Failure> {
        if provider != "openai" {
            return Err(unknown(provider));
        }
        if self.api_key.is_none() && self.base_url.is_none() {
            // Also for a run that began when there was a provider: its conversation must not go to
            // an endpoint that nobody named.
            return Err(Failure::passing(
                "provider_not_configured",
                "the provider `openai` needs a key: set OPENAI_API_KEY, or OPENAI_BASE_URL for a \
                 compatible endpoint without one, and start again",
            ));
        }
        let config = OpenAiConfig {
            base_url: self.base_url.clone().unwrap_or_else(|| BASE_URL.to_owned()),
            api_key: self.api_key.clone().map(ApiKey::from),
            stream: self.stream,
            timeout: self.timeout,
            ..OpenAiConfig::new(model)
        };
        match OpenAi::new(config) {
            Ok(client) => Ok(Arc::new(client)),
            Err(error) => Err(Failure::last("invalid_provider", error.to_string())),
        }
    }
}

fn unknown(provider: &str) -> Failure {
    let hint = nearest(provider, PROVIDERS.iter().copied()).map_or_else(
        || ".".to_owned(),
        |near| format!("; did you mean `{near}`?"),
    );
    Failure::last(
        "unknown_provider",
        format!(
            "there is no provider `{provider}`{hint} Known are {}.",
            PROVIDERS.join(", ")
        ),
    )
}
