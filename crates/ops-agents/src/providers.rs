//! Which providers there are, and their clients.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use agentkit::{
    Model,
    event::Failure,
    model::{
        Catalog, ModelInfo,
        client::{ApiSurface, Client, Config as ClientConfig, ConfigError},
    },
};
use units::{
    ModelName,
    model::{ModelNameError, SCRIPTED},
    nearest,
};

use crate::{
    definitions::{NOT_CONFIGURED, not_configured},
    factory::FactoryError,
    settings::{Endpoint, Settings},
};

/// The providers that this release has.
pub const PROVIDERS: &[&str] = &["openai", "anthropic", "google", "openrouter", "scripted"];

/// The model of `openai` where no model is named.
const OPENAI_MODEL: &str = "gpt-4o-mini";
/// Stands for every model of a provider where settings are checked.
const ANY_MODEL: &str = "any";

/// Every provider, and the models of tasks that name no model.
pub struct Providers {
    /// The first choice first; empty where no provider is configured.
    chain: Vec<ModelName>,
    /// The provider of models that are named without a provider, a name of [`PROVIDERS`]; `None` where no
    /// provider is configured.
    first: Option<String>,
    endpoints: Vec<Endpoint>,
    catalog: Catalog,
    stream: bool,
    timeout: Duration,
}

impl Endpoint {
    fn is_configured(&self) -> bool {
        self.base_url.is_some() || self.api_key.is_some()
    }
}

/// Facts about a model before its first call, for people.
pub struct Outline {
    /// Provider and model.
    pub name: ModelName,
    /// The surface of the model's API; `None` for the scripted model.
    pub surface: Option<ApiSurface>,
    /// Whether a key is sent.
    pub has_key: bool,
    /// Whether its price is known.
    pub has_price: bool,
}

impl Providers {
    /// The providers of these settings.
    ///
    /// # Errors
    /// An unknown model or provider, or no provider where a model needs a provider.
    pub fn new(settings: &Settings) -> Result<Self, FactoryError> {
        let endpoints = settings.endpoints.clone();
        let configured = endpoints.iter().find(|endpoint| endpoint.is_configured());
        let named = settings.provider.as_deref();
        let first = named.or(configured.map(|endpoint| endpoint.provider.name()));
        let mut providers = Self {
            chain: Vec::new(),
            first: first.map(str::to_owned),
            endpoints,
            catalog: settings.catalog.clone(),
            stream: settings.stream,
            timeout: settings.model_timeout,
        };
        let wrong = |setting: &str| {
            let setting = setting.to_owned();
            move |failure: Failure| {
                FactoryError::Provider(format!("setting `{setting}`: {}", failure.message))
            }
        };
        let model = match (settings.model.as_deref(), providers.first.as_deref()) {
            (Some(model), _) => match providers.meant(named, model) {
                // A model without a provider chooses none.
                Err(failure) if failure.code == NOT_CONFIGURED => None,
                found => Some(found.map_err(wrong("model.name"))?),
            },
            (None, Some(SCRIPTED)) => Some(ModelName::scripted()),
            (None, Some("openai")) => {
                Some(of("openai", OPENAI_MODEL).map_err(wrong("model.name"))?)
            }
            (None, Some(first)) => {
                return Err(FactoryError::Provider(format!(
                    "the provider is `{first}`, and no model is named; set OPSPAWN_MODEL (setting \
                     `model.name`)"
                )));
            }
            (None, None) => None,
        };
        let Some(model) = model else {
            return match settings.fallback.as_slice() {
                [] => Ok(providers),
                [..] => Err(FactoryError::Provider(format!(
                    "setting `model.fallback`: there is no model to go on from, as {}",
                    not_configured().message
                ))),
            };
        };
        providers.first = Some(model.provider().to_owned());
        let mut chain = vec![model];
        for name in &settings.fallback {
            chain.push(providers.listed(name).map_err(wrong("model.fallback"))?);
        }
        let names = chain.iter().map(ModelName::as_str);
        if let Some(message) = named_twice(names) {
            let message = format!("setting `model.fallback`: with `model.name`, it {message}");
            return Err(FactoryError::Provider(message));
        }
        providers.chain = chain;
        Ok(providers)
    }

    /// Whether each provider that has settings can be called, also one that tasks alone name: a wrong base URL, key or
    /// header is reported at the start rather than by the first call.
    ///
    /// # Errors
    /// The wrong setting.
    pub fn check_endpoints(&self) -> Result<(), FactoryError> {
        for endpoint in &self.endpoints {
            let config = self.config(endpoint, ANY_MODEL);
            let Err(error) = config.check() else { continue };
            let provider = endpoint.provider.name();
            let setting = match &error {
                ConfigError::BaseUrl { .. } => "base_url",
                ConfigError::ApiKey => "api_key",
                ConfigError::Header { .. } => "headers",
                _ => return Err(FactoryError::Provider(error.to_string())),
            };
            return Err(FactoryError::Provider(format!(
                "setting `{provider}.{setting}`: {error}"
            )));
        }
        Ok(())
    }

    /// Whether the models of tasks that name no model can be called: a missing key or a wrong base URL is
    /// reported at the start rather than by the first task.
    ///
    /// # Errors
    /// The missing setting.
    pub fn check_default(&self) -> Result<(), FactoryError> {
        let called = self.chain.iter().filter(|name| !name.is_scripted());
        for name in called {
            self.client(name)
                .map_err(|failure| FactoryError::Provider(failure.message))?;
        }
        Ok(())
    }

    /// The models of tasks that name no model, the first choice first.
    pub(crate) fn default_chain(&self) -> &[ModelName] {
        &self.chain
    }

    /// The model that a task asks for.
    pub(crate) fn named(
        &self,
        provider: Option<&str>,
        model: Option<&str>,
    ) -> Result<ModelName, Failure> {
        if let Some(model) = model {
            return self.meant(provider, model);
        }
        let Some(provider) = provider.or(self.first.as_deref()) else {
            return Err(not_configured());
        };
        check(provider)?;
        let own = self.chain.first().filter(|own| own.provider() == provider);
        match own {
            Some(own) => Ok(own.clone()),
            None if provider == SCRIPTED => Ok(ModelName::scripted()),
            None if provider == "openai" => of(provider, OPENAI_MODEL),
            None => Err(Failure::last(
                "invalid_input",
                format!(
                    "`input_data.agent_config` names the provider `{provider}` and no model; add \
                     `model`"
                ),
            )),
        }
    }

    /// The model that is meant by a name: with its provider (`openai/gpt-5`), or a model of the provider
    /// that is named beside the name, or of the usual provider. OpenRouter's own names begin with those of
    /// other providers: where OpenRouter is the usual provider, they are its models unless that provider is
    /// configured.
    fn meant(&self, provider: Option<&str>, name: &str) -> Result<ModelName, Failure> {
        let prefix = name.split_once('/').map(|(prefix, _)| prefix);
        let prefix = prefix.filter(|prefix| PROVIDERS.contains(prefix));
        let has_key = |provider| self.endpoint(provider).is_ok_and(Endpoint::is_configured);
        let usual = self.first.as_deref();
        let provider = match (provider, prefix, usual) {
            (Some(provider), _, _) => provider,
            (None, None, _) if name == SCRIPTED => SCRIPTED,
            (None, Some(prefix), Some("openrouter"))
                if prefix != SCRIPTED && prefix != "openrouter" && !has_key(prefix) =>
            {
                "openrouter"
            }
            (None, Some(prefix), _) => prefix,
            (None, None, Some(usual)) => usual,
            (None, None, None) => return Err(not_configured()),
        };
        check(provider)?;
        match provider {
            SCRIPTED => Ok(ModelName::scripted()),
            provider => of(provider, name),
        }
    }

    /// A model of a chain, which is named with its provider.
    pub(crate) fn listed(&self, name: &str) -> Result<ModelName, Failure> {
        let name: ModelName = name.parse().map_err(not_a_name)?;
        check(name.provider())?;
        Ok(name)
    }

    /// Facts about a model.
    pub(crate) fn info(&self, name: &ModelName) -> ModelInfo {
        self.catalog.info(name.as_str())
    }

    /// Why a model of a known provider cannot be called; `None` if the model can.
    pub(crate) fn unconfigured(&self, name: &ModelName) -> Option<Failure> {
        let provider = name.provider();
        match self.endpoint(provider) {
            Ok(endpoint) if endpoint.is_configured() => return None,
            Err(failure) if failure.code != NOT_CONFIGURED => return None,
            Ok(_) | Err(_) => {}
        }
        let variable = provider.to_ascii_uppercase();
        Some(Failure::passing(
            NOT_CONFIGURED,
            format!(
                "the provider `{provider}` needs a key: set {variable}_API_KEY, or \
                 {variable}_BASE_URL for a compatible endpoint without one, and start again"
            ),
        ))
    }

    /// The client of a model.
    pub(crate) fn client(&self, name: &ModelName) -> Result<Arc<dyn Model>, Failure> {
        let endpoint = self.endpoint(name.provider())?;
        // Also for a run that began when there was a provider: its conversation must not go to an
        // endpoint that nobody named.
        if let Some(failure) = self.unconfigured(name) {
            return Err(failure);
        }
        match Client::new(self.config(endpoint, name.model())) {
            Ok(client) => Ok(Arc::new(client)),
            Err(error) => Err(Failure::last("invalid_provider", error.to_string())),
        }
    }

    /// Facts about the models of tasks that name no model.
    #[must_use]
    pub fn outline(&self) -> Vec<Outline> {
        let outline = |name: &ModelName| {
            let endpoint = self.endpoint(name.provider()).ok();
            let config = endpoint.map(|endpoint| self.config(endpoint, name.model()));
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

    fn endpoint(&self, provider: &str) -> Result<&Endpoint, Failure> {
        check(provider)?;
        let endpoint = self
            .endpoints
            .iter()
            .find(|endpoint| endpoint.provider.name() == provider);
        endpoint.ok_or_else(|| {
            let message = format!("the provider `{provider}` has no endpoint");
            Failure::passing(NOT_CONFIGURED, message)
        })
    }

    fn config(&self, endpoint: &Endpoint, model: &str) -> ClientConfig {
        let mut config = ClientConfig {
            api_key: endpoint.api_key.clone(),
            headers: endpoint.headers.clone(),
            stream: self.stream,
            timeout: self.timeout,
            ..ClientConfig::new(endpoint.provider, model)
        };
        if let Some(base_url) = &endpoint.base_url {
            config.base_url.clone_from(base_url);
        }
        config.info = self.catalog.info(&config.name());
        config
    }
}

/// The model of a provider.
fn of(provider: &str, model: &str) -> Result<ModelName, Failure> {
    ModelName::of(provider, model).map_err(not_a_name)
}

/// The mistake in a chain that has one model twice: its second place could not be told from the first, and
/// the model would only get the same request again.
pub(crate) fn named_twice<'a>(chain: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut seen = BTreeSet::new();
    let twice = chain.into_iter().find(|name| !seen.insert(*name))?;
    let twice: String = twice.chars().take(80).collect();
    Some(format!(
        "names `{twice}` twice; name each model of a chain once (`model.tries` says how often one is tried)"
    ))
}

fn not_a_name(error: ModelNameError) -> Failure {
    Failure::last("invalid_input", error.to_string())
}

/// Whether there is such a provider.
pub(crate) fn check(provider: &str) -> Result<(), Failure> {
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
