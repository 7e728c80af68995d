//! Which providers there are, and their clients.

use std::{sync::Arc, time::Duration};

use agentkit::{
    Model,
    event::Failure,
    model::{
        Catalog, ModelInfo,
        client::{ApiKey, Client, Config as ClientConfig, Provider, Surface},
    },
};
use anyhow::{Context as _, Result, bail};

use crate::config::{Config, PROVIDERS, nearest};

/// The model of `openai` where none is named.
const OPENAI_MODEL: &str = "gpt-4o-mini";

/// The settings of a provider: base URL, key and headers.
const fn keys(provider: Provider) -> [&'static str; 3] {
    match provider {
        Provider::OpenAi => ["openai.base_url", "openai.api_key", "openai.headers"],
        Provider::Anthropic => [
            "anthropic.base_url",
            "anthropic.api_key",
            "anthropic.headers",
        ],
        Provider::Google => ["google.base_url", "google.api_key", "google.headers"],
        Provider::OpenRouter => [
            "openrouter.base_url",
            "openrouter.api_key",
            "openrouter.headers",
        ],
    }
}

/// Every provider, and the models of tasks that ask for none.
pub(crate) struct Providers {
    /// Provider and model, the first choice first; never empty.
    chain: Vec<String>,
    /// The provider of the first choice, a name of [`PROVIDERS`].
    first: String,
    places: Vec<Place>,
    catalog: Catalog,
    stream: bool,
    timeout: Duration,
}

/// How to reach a provider.
struct Place {
    provider: Provider,
    base_url: Option<String>,
    api_key: Option<String>,
    headers: Vec<(String, String)>,
}

impl Place {
    fn is_configured(&self) -> bool {
        self.base_url.is_some() || self.api_key.is_some()
    }
}

/// What is known of a model before it is called, for people.
pub(crate) struct Outline {
    /// Provider and model.
    pub(crate) name: String,
    /// The surface that it is called on; none for the scripted model.
    pub(crate) surface: Option<Surface>,
    /// Whether a key is sent.
    pub(crate) has_key: bool,
    /// Whether its price is known.
    pub(crate) has_price: bool,
}

impl Providers {
    pub(super) fn from_config(config: &Config) -> Result<Self> {
        let places: Vec<Place> = Provider::ALL
            .into_iter()
            .map(|provider| place(config, provider))
            .collect::<Result<_>>()?;
        let configured = places.iter().find(|place| place.is_configured());
        let first = match (config.optional("model.provider"), configured) {
            (Some(named), _) => named,
            (None, Some(place)) => place.provider.name(),
            (None, None) => "scripted",
        };
        let mut providers = Self {
            chain: Vec::new(),
            first: first.to_owned(),
            places,
            catalog: config.catalog().clone(),
            stream: config.is_on("model.stream"),
            timeout: config
                .duration("model.timeout")
                .unwrap_or(Duration::from_secs(300)),
        };
        let model = match (first, config.optional("model.name")) {
            ("scripted", _) => "scripted".to_owned(),
            (_, Some(model)) => format!("{first}/{model}"),
            ("openai", None) => format!("openai/{OPENAI_MODEL}"),
            (_, None) => bail!(
                "the provider is `{first}`, and no model is named; set OPSPAWN_MODEL (setting \
                 `model.name`)"
            ),
        };
        let mut chain = vec![model];
        for name in config.list("model.fallback") {
            chain.push(providers.listed(name).context("setting `model.fallback`")?);
        }
        let called = !super::tape::is_replayed(config);
        for name in chain.iter().filter(|_| called) {
            // A missing key or a wrong base URL is told at the start rather than by the first task.
            if let Some((provider, model)) = name.split_once('/') {
                providers.client(provider, model)?;
            }
        }
        providers.chain = chain;
        Ok(providers)
    }

    /// The models of tasks that ask for none, the first choice first.
    pub(super) fn default_chain(&self) -> &[String] {
        &self.chain
    }

    /// Provider and model that a task asks for.
    pub(super) fn named(
        &self,
        provider: Option<&str>,
        model: Option<&str>,
    ) -> Result<String, Failure> {
        let provider = provider.unwrap_or(&self.first);
        check(provider)?;
        if provider == "scripted" {
            return Ok("scripted".to_owned());
        }
        let same = || {
            self.chain
                .first()?
                .strip_prefix(provider)?
                .strip_prefix('/')
        };
        match model.or_else(same) {
            Some(model) => Ok(format!("{provider}/{model}")),
            None if provider == "openai" => Ok(format!("openai/{OPENAI_MODEL}")),
            None => Err(Failure::last(
                "invalid_input",
                format!(
                    "`input_data.agent_config` names the provider `{provider}` and no model; add \
                     `model`"
                ),
            )),
        }
    }

    /// A model of a chain, which is named with its provider.
    pub(super) fn listed(&self, name: &str) -> Result<String, Failure> {
        match name.split_once('/') {
            Some((provider, model)) if !model.is_empty() => {
                check(provider)?;
                Ok(name.to_owned())
            }
            None if name == "scripted" => Ok(name.to_owned()),
            Some(_) | None => Err(Failure::last(
                "invalid_input",
                format!("`{name}` is not a model's name like `openai/gpt-5`"),
            )),
        }
    }

    /// What is known of a model.
    pub(super) fn info(&self, name: &str) -> ModelInfo {
        self.catalog.info(name)
    }

    /// The client of a provider for a model.
    pub(super) fn client(&self, provider: &str, model: &str) -> Result<Arc<dyn Model>, Failure> {
        let place = self.place(provider)?;
        if !place.is_configured() {
            // Also for a run that began when there was a provider: its conversation must not go to
            // an endpoint that nobody named.
            let variable = provider.to_ascii_uppercase();
            return Err(Failure::passing(
                "provider_not_configured",
                format!(
                    "the provider `{provider}` needs a key: set {variable}_API_KEY, or \
                     {variable}_BASE_URL for a compatible endpoint without one, and start again"
                ),
            ));
        }
        match Client::new(self.config(place, model)) {
            Ok(client) => Ok(Arc::new(client)),
            Err(error) => Err(Failure::last("invalid_provider", error.to_string())),
        }
    }

    /// What is known of the models of tasks that ask for none.
    pub(crate) fn outline(&self) -> Vec<Outline> {
        let outline = |name: &String| {
            let parts = name.split_once('/');
            let config = parts.and_then(|(provider, model)| {
                let place = self.place(provider).ok()?;
                Some(self.config(place, model))
            });
            Outline {
                name: name.clone(),
                surface: config.as_ref().map(ClientConfig::surface),
                has_key: config
                    .as_ref()
                    .is_some_and(|config| config.api_key.is_some()),
                has_price: config.is_some_and(|config| !config.info.prices.is_empty()),
            }
        };
        self.chain.iter().map(outline).collect()
    }

    fn place(&self, provider: &str) -> Result<&Place, Failure> {
        let place = self
            .places
            .iter()
            .find(|place| place.provider.name() == provider);
        place.ok_or_else(|| unknown(provider))
    }

    fn config(&self, place: &Place, model: &str) -> ClientConfig {
        let mut config = ClientConfig {
            api_key: place.api_key.clone().map(ApiKey::from),
            headers: place.headers.clone(),
            stream: self.stream,
            timeout: self.timeout,
            ..ClientConfig::new(place.provider, model)
        };
        if let Some(base_url) = &place.base_url {
            config.base_url.clone_from(base_url);
        }
        config.info = self.catalog.info(&config.name());
        config
    }
}

fn place(config: &Config, provider: Provider) -> Result<Place> {
    let [base_url, api_key, headers] = keys(provider);
    let text = |key| config.optional(key).map(str::to_owned);
    let mut named = Vec::new();
    for line in config.optional(headers).unwrap_or_default().lines() {
        match line.split_once(':') {
            Some((name, value)) => named.push((name.trim().to_owned(), value.trim().to_owned())),
            None if line.trim().is_empty() => {}
            // What stands there may be a secret.
            None => bail!("setting `{headers}`: a line is not like `Name: value`"),
        }
    }
    Ok(Place {
        provider,
        base_url: text(base_url),
        api_key: text(api_key),
        headers: named,
    })
}

fn check(provider: &str) -> Result<(), Failure> {
    if PROVIDERS.contains(&provider) {
        Ok(())
    } else {
        Err(unknown(provider))
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
