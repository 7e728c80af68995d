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
use units::{
    ModelName,
    model::{ModelNameError, SCRIPTED},
    nearest,
};

use crate::config::{Config, PROVIDERS};

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
    /// The first choice first; never empty.
    chain: Vec<ModelName>,
    /// The provider of models that are named without one, a name of [`PROVIDERS`].
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
    pub(crate) name: ModelName,
    /// The surface that it is called on; none for the scripted model.
    pub(crate) surface: Option<Surface>,
    /// Whether a key is sent.
    pub(crate) has_key: bool,
    /// Whether its price is known.
    pub(crate) has_price: bool,
}

impl Providers {
    pub(crate) fn from_config(config: &Config) -> Result<Self> {
        let places: Vec<Place> = Provider::ALL
            .into_iter()
            .map(|provider| place(config, provider))
            .collect::<Result<_>>()?;
        let configured = places.iter().find(|place| place.is_configured());
        let named = config.optional("model.provider");
        let first = match (named, configured) {
            (Some(named), _) => named,
            (None, Some(place)) => place.provider.name(),
            (None, None) => SCRIPTED,
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
        let model = match config.optional("model.name") {
            Some(model) => providers
                .meant(named, model)
                .context("setting `model.name`")?,
            None if first == SCRIPTED => ModelName::scripted(),
            None if first == "openai" => ModelName::of(first, OPENAI_MODEL)?,
            None => bail!(
                "the provider is `{first}`, and no model is named; set OPSPAWN_MODEL (setting \
                 `model.name`)"
            ),
        };
        model.provider().clone_into(&mut providers.first);
        let mut chain = vec![model];
        for name in config.list("model.fallback") {
            chain.push(providers.listed(name).context("setting `model.fallback`")?);
        }
        let called = !super::tape::is_replayed(config);
        for name in chain.iter().filter(|name| called && !name.is_scripted()) {
            // A missing key or a wrong base URL is told at the start rather than by the first task.
            providers.client(name)?;
        }
        providers.chain = chain;
        Ok(providers)
    }

    /// The models of tasks that ask for none, the first choice first.
    pub(super) fn default_chain(&self) -> &[ModelName] {
        &self.chain
    }

    /// The model that a task asks for.
    pub(super) fn named(
        &self,
        provider: Option<&str>,
        model: Option<&str>,
    ) -> Result<ModelName, Failure> {
        if let Some(model) = model {
            return self.meant(provider, model);
        }
        let provider = provider.unwrap_or(&self.first);
        check(provider)?;
        let own = self.chain.first().filter(|own| own.provider() == provider);
        match own {
            Some(own) => Ok(own.clone()),
            None if provider == SCRIPTED => Ok(ModelName::scripted()),
            None if provider == "openai" => named(provider, OPENAI_MODEL),
            None => Err(Failure::last(
                "invalid_input",
                format!(
                    "`input_data.agent_config` names the provider `{provider}` and no model; add \
                     `model`"
                ),
            )),
        }
    }

    /// The model that is meant by a name: with its provider (`openai/gpt-5`), or one of the provider
    /// that is named beside it, or of the usual one. OpenRouter's own names begin with those of other
    /// providers: where it is the usual one, they are its models unless that provider is configured.
    fn meant(&self, provider: Option<&str>, name: &str) -> Result<ModelName, Failure> {
        let first = name.split_once('/').map_or(name, |(first, _)| first);
        let has_key = |provider| self.place(provider).is_ok_and(Place::is_configured);
        let provider = match provider {
            Some(provider) => provider,
            None if name == SCRIPTED => SCRIPTED,
            None if first == name || !PROVIDERS.contains(&first) => &self.first,
            None if self.first == "openrouter" && first != SCRIPTED && !has_key(first) => {
                &self.first
            }
            None => first,
        };
        check(provider)?;
        match provider {
            SCRIPTED => Ok(ModelName::scripted()),
            provider => named(provider, name),
        }
    }

    /// A model of a chain, which is named with its provider.
    pub(super) fn listed(&self, name: &str) -> Result<ModelName, Failure> {
        let name: ModelName = name.parse().map_err(not_a_name)?;
        check(name.provider())?;
        Ok(name)
    }

    /// What is known of a model.
    pub(super) fn info(&self, name: &ModelName) -> ModelInfo {
        self.catalog.info(name.as_str())
    }

    /// The client of a model.
    pub(super) fn client(&self, name: &ModelName) -> Result<Arc<dyn Model>, Failure> {
        let provider = name.provider();
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
        match Client::new(self.config(place, name.model())) {
            Ok(client) => Ok(Arc::new(client)),
            Err(error) => Err(Failure::last("invalid_provider", error.to_string())),
        }
    }

    /// What is known of the models of tasks that ask for none.
    pub(crate) fn outline(&self) -> Vec<Outline> {
        let outline = |name: &ModelName| {
            let place = self.place(name.provider()).ok();
            let config = place.map(|place| self.config(place, name.model()));
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

/// The model of a provider.
fn named(provider: &str, model: &str) -> Result<ModelName, Failure> {
    ModelName::of(provider, model).map_err(not_a_name)
}

fn not_a_name(error: ModelNameError) -> Failure {
    Failure::last("invalid_input", error.to_string())
}

/// Whether there is such a provider.
pub(super) fn check(provider: &str) -> Result<(), Failure> {
    if PROVIDERS.contains(&provider) {
        Ok(())
    } else {
        Err(unknown(provider))
    }
}

fn unknown(provider: &str) -> Failure {
    let hint = nearest::hint(provider, PROVIDERS.iter().copied());
    let provider: String = provider.chars().take(80).collect();
    Failure::last(
        "unknown_provider",
        format!("there is no provider `{provider}`; {hint}"),
    )
}
