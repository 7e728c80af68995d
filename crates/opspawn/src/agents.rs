//! The agent factory of this configuration.

use std::sync::Arc;

use agentkit::{
    model::{client::Provider, scripted::Script},
    run::{Exhaustion, Limits, MemoryConfig},
};
use agentkit_tools::http::Listeners;
use anyhow::{Context as _, Result, bail};
use ops_agents::{
    CassetteMode, CassetteSettings, Endpoint, Factory, FixedTools, MEMORY_SOURCE, McpSources,
    Settings, ToolSource,
};
use ops_core::{
    provider::{ProviderKey, ProviderLimit},
    stats::{Metric, Value},
};
use sha2::{Digest as _, Sha256};

use crate::{
    commands_source::Commands,
    config::{Config, Kind, SETTINGS},
    exit::{self, Exit},
    sql_query, tools,
};

/// The factory, with the tools of these MCP servers beside the built-in ones. No tool of its agents reaches the
/// addresses that this process listens on.
pub(crate) fn factory(
    config: &Config,
    own: &Listeners,
    mcp: Option<&McpSources>,
) -> Result<Factory> {
    let settings = settings(config)?;
    let mut sources = sources(config, own)?;
    sources.extend(mcp.into_iter().flat_map(McpSources::sources));
    let factory = Factory::new(settings, sources);
    factory.map_err(|error| exit::error(Exit::Usage, format!("{:#}", anyhow::Error::from(error))))
}

/// Where tools come from.
fn sources(config: &Config, own: &Listeners) -> Result<Vec<Arc<dyn ToolSource>>> {
    let mut sources = vec![
        FixedTools::built_in(tools::configured(config, own)),
        FixedTools::of_the_program(MEMORY_SOURCE, agentkit::tool::memory::all()),
    ];
    let commands = Commands::source(config, own)
        .map_err(|error| exit::error(Exit::Usage, format!("{error:#}")))?;
    sources.extend(commands);
    let database =
        sql_query::tool(config).map_err(|error| exit::error(Exit::Usage, format!("{error:#}")))?;
    sources.extend(database.map(|tool| FixedTools::named("sql", vec![tool])));
    Ok(sources)
}

/// What the configuration says of agents.
pub(crate) fn settings(config: &Config) -> Result<Settings> {
    let mut settings = models(config)?;
    settings.policy = crate::policy::load(config)?.file;
    settings.long_term = crate::memory::settings(config)?;
    Ok(settings)
}

/// What the configuration says of agents, but for the policy.
pub(crate) fn models(config: &Config) -> Result<Settings> {
    let usual = Settings::default();
    let text = |key| config.optional(key).map(str::to_owned);
    let count = |key| {
        config
            .number(key)
            .and_then(|count| u32::try_from(count).ok())
    };
    let temperature =
        match config.optional("model.temperature") {
            Some(text) => Some(text.parse().with_context(|| {
                format!("setting `model.temperature`: `{text}` is not a number")
            })?),
            None => None,
        };
    let compact_at = config.number("memory.compact_at");
    let endpoints = Provider::ALL.into_iter().map(|one| endpoint(config, one));
    Ok(Settings {
        endpoints: endpoints.collect::<Result<_>>()?,
        provider: text("model.provider"),
        model: text("model.name"),
        fallback: config
            .list("model.fallback")
            .into_iter()
            .map(str::to_owned)
            .collect(),
        catalog: config.catalog().clone(),
        stream: config.is_on("model.stream"),
        model_timeout: config
            .duration("model.timeout")
            .unwrap_or(usual.model_timeout),
        model_tries: count("model.tries").unwrap_or(usual.model_tries),
        temperature,
        cassette: cassette(config),
        script: script(config)?,
        mock_delay_ms: config.number("mock_agent_delay_ms"),
        instructions: text("agent.instructions").unwrap_or_default(),
        planner: text("agent.planner").unwrap_or(usual.planner),
        limits: Limits {
            max_steps: count("limits.max_steps").unwrap_or(usual.limits.max_steps),
            max_tokens: config.number("limits.max_tokens"),
            max_cost_micros: config.usd("limits.max_cost_usd"),
            context_tokens: config.number("limits.context_tokens"),
            max_output_tokens: config.number("limits.max_output_tokens"),
            on_exhausted: match config.optional("limits.on_exhausted") {
                Some("wait") => Exhaustion::Wait,
                Some(_) | None => Exhaustion::Fail,
            },
            max_children: count("limits.max_children").unwrap_or(usual.limits.max_children),
            spawn_depth_left: count("limits.spawn_depth").unwrap_or(usual.limits.spawn_depth_left),
            ..usual.limits
        },
        timeout: config.duration("limits.timeout"),
        memory: MemoryConfig {
            compact_at: compact_at
                .and_then(|share| u8::try_from(share).ok())
                .unwrap_or(usual.memory.compact_at),
            keep_exchanges: count("memory.keep_exchanges").unwrap_or(usual.memory.keep_exchanges),
            summarise: config.is_on("memory.summarise"),
        },
        long_term: usual.long_term,
        policy: usual.policy,
        start_timeout: config
            .duration("tools.start_timeout")
            .unwrap_or(usual.start_timeout),
        content_in_spans: config.is_on("telemetry.content"),
    })
}

/// The script of the setting `agent.script`, if it is set.
pub(crate) fn script(config: &Config) -> Result<Option<String>> {
    let Some(path) = config.optional("agent.script") else {
        return Ok(None);
    };
    let script = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the script `{path}` (setting agent.script)"))?;
    Script::parse(&script).context("the script of setting agent.script is not valid")?;
    Ok(Some(script))
}

/// The limits of the configured providers. Processes that reach the same endpoint with the same key share them.
pub(crate) fn provider_limits(config: &Config) -> Vec<Arc<ProviderLimit>> {
    let mut limits = Vec::new();
    for provider in Provider::ALL {
        let [requests, tokens] = match provider {
            Provider::OpenAi => ["openai.requests_per_minute", "openai.tokens_per_minute"],
            Provider::Anthropic => [
                "anthropic.requests_per_minute",
                "anthropic.tokens_per_minute",
            ],
            Provider::Google => ["google.requests_per_minute", "google.tokens_per_minute"],
            Provider::OpenRouter => [
                "openrouter.requests_per_minute",
                "openrouter.tokens_per_minute",
            ],
        };
        let most = |key| config.number(key).and_then(|most| u32::try_from(most).ok());
        let (requests, tokens) = (most(requests), most(tokens));
        if requests.is_none() && tokens.is_none() {
            continue;
        }
        let [base_url, api_key, headers] = keys(provider).map(|key| config.optional(key));
        let mut hash = Sha256::new();
        for part in [Some(provider.name()), base_url, api_key, headers] {
            let part = part.unwrap_or_default();
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        limits.push(Arc::new(ProviderLimit {
            provider: provider.name().to_owned(),
            key: ProviderKey(hash.finalize().into()),
            requests,
            tokens,
        }));
    }
    limits
}

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

fn endpoint(config: &Config, provider: Provider) -> Result<Endpoint> {
    let [base_url, api_key, headers] = keys(provider);
    let mut named = Vec::new();
    for line in config.optional(headers).unwrap_or_default().lines() {
        match line.split_once(':') {
            Some((name, value)) => named.push((name.trim().to_owned(), value.trim().to_owned())),
            None if line.trim().is_empty() => {}
            // What stands there may be a secret.
            None => bail!("setting `{headers}`: a line is not like `Name: value`"),
        }
    }
    Ok(Endpoint {
        provider,
        base_url: config.optional(base_url).map(str::to_owned),
        api_key: config.optional(api_key).map(Into::into),
        headers: named,
    })
}

fn cassette(config: &Config) -> Option<CassetteSettings> {
    let mode = match config.optional("cassette.mode")? {
        "replay" => CassetteMode::Replay,
        _ => CassetteMode::Record,
    };
    // A secret may be lines like `Name: value`.
    let secrets = SETTINGS
        .iter()
        .filter(|setting| matches!(setting.kind, Kind::Secret))
        .filter_map(|setting| config.optional(setting.key))
        .flat_map(str::lines)
        .map(|line| line.split_once(": ").map_or(line, |(_, value)| value))
        .map(|secret| secret.trim().to_owned());
    let named = config.optional("cassette.path").map(Into::into);
    let redact = config.list("cassette.redact").into_iter();
    Some(CassetteSettings {
        mode,
        folder: named.unwrap_or_else(|| config.data_dir().join("cassettes")),
        redact: redact.map(str::to_owned).collect(),
        secrets: secrets.collect(),
    })
}

/// What is said wherever a result is shown that no LLM has to do with; none if an LLM answers.
pub(crate) fn notice(config: &Config, factory: &Factory) -> Result<Option<String>> {
    if let Some(cassette) = cassette(config).filter(|one| one.mode == CassetteMode::Replay) {
        return Ok(Some(format!(
            "no model is called: answers are replayed from the cassette {}",
            cassette.folder.display()
        )));
    }
    let how = "Set OPENAI_API_KEY, or OPENAI_BASE_URL for a compatible endpoint, to use one.";
    Ok(match factory.default_model()? {
        Some(model) if model.is_llm() => None,
        Some(model) => Some(format!(
            "no LLM is in use: the scripted model `{}` answers. {how}",
            model.name()
        )),
        None => Some(format!(
            "no LLM is in use: a scripted model answers tasks that bring a script, as the examples do, \
             and others are refused. {how}"
        )),
    })
}

/// The models as a part of the server.
pub(crate) struct ModelsPart;

impl ops_server::Part for ModelsPart {
    fn name(&self) -> &'static str {
        "models"
    }

    fn state(&self) -> String {
        match ops_worker::refused_usages() {
            0 => "every count of usage is possible".to_owned(),
            refused => format!("counts of usage that no call can have had: {refused}"),
        }
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![Metric {
            name: "opspawn_refused_usages",
            help: "Model calls charged their worst case, because the provider claims more than they can have used",
            value: Value::Counter(ops_worker::refused_usages()),
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_told_at_the_start() {
        let error = |settings: &[(&'static str, &str)]| {
            let mut flags: Vec<_> = settings
                .iter()
                .map(|(k, v)| (*k, (*v).to_owned()))
                .collect();
            flags.push(("data", "/nonexistent".to_owned()));
            let config = Config::load(&flags, None).unwrap();
            format!(
                "{:#}",
                factory(&config, &Listeners::default(), None).err().unwrap()
            )
        };
        for (settings, says) in [
            (
                &[("anthropic.api_key", "k")][..],
                "no model is named; set OPSPAWN_MODEL",
            ),
            (
                &[("model.provider", "google"), ("model.name", "x")],
                "set GOOGLE_API_KEY",
            ),
            (
                &[("openai.api_key", "k"), ("model.fallback", "anthropic/x")],
                "set ANTHROPIC_API_KEY",
            ),
            (
                &[("openai.api_key", "k"), ("model.fallback", "gpt-5")],
                "model.fallback",
            ),
            (&[("model.fallback", "openai/gpt-5")], "model.fallback"),
            (&[("model.name", "openai/gpt-5")], "set OPENAI_API_KEY"),
            (
                &[("openai.api_key", "k"), ("openai.headers", "secret-value")],
                "`openai.headers`",
            ),
            (
                &[("anthropic.base_url", "nowhere"), ("model.name", "x")],
                "`nowhere` of anthropic is not an http or https URL; correct ANTHROPIC_BASE_URL",
            ),
            // Providers that only tasks name.
            (
                &[("openai.api_key", "k"), ("google.base_url", "nowhere")],
                "setting `google.base_url`: the base URL `nowhere`",
            ),
            (
                &[
                    ("openai.api_key", "k"),
                    ("openrouter.headers", "two words: secret-value"),
                ],
                "setting `openrouter.headers`: the extra header `two words`",
            ),
            (
                &[
                    ("openai.api_key", "k"),
                    ("anthropic.headers", "x-a: secret-value\u{7}"),
                ],
                "setting `anthropic.headers`: the extra header `x-a`",
            ),
            (
                &[
                    ("openai.api_key", "k"),
                    ("anthropic.api_key", "secret-value\u{7}"),
                ],
                "setting `anthropic.api_key`: the API key holds characters",
            ),
            (
                &[
                    ("openai.api_key", "k"),
                    ("agent.script", "/nonexistent/script.toml"),
                ],
                "setting agent.script",
            ),
        ] {
            let error = error(settings);
            assert!(error.contains(says), "{settings:?}: {error}");
            assert!(!error.contains("secret-value"), "{error}");
        }
    }
}
