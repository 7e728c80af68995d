//! The one declaration of every setting.

use ops_agents::PROVIDERS;

use super::kind::Kind;

/// A setting.
pub(crate) struct Setting {
    /// Its key in the file, with dots between tables.
    pub(crate) key: &'static str,
    /// Its variable.
    pub(crate) env: &'static str,
    /// Its version-1 variables, which are also taken from `.env`.
    pub(crate) legacy: &'static [&'static str],
    /// What it may hold.
    pub(crate) kind: Kind,
    /// Its value if nothing is said.
    pub(crate) default: Option<&'static str>,
    /// What it does.
    pub(crate) doc: &'static str,
}

const fn setting(
    key: &'static str,
    env: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    doc: &'static str,
) -> Setting {
    Setting {
        key,
        env,
        legacy: &[],
        kind,
        default,
        doc,
    }
}

const fn v1(mut setting: Setting, legacy: &'static [&'static str]) -> Setting {
    setting.legacy = legacy;
    setting
}

/// Every setting.
pub(crate) const SETTINGS: &[Setting] = &[
    setting(
        "data",
        "OPSPAWN_DATA",
        Kind::Text,
        Some("./opspawn-data"),
        "the data folder",
    ),
    setting(
        "listen",
        "OPSPAWN_LISTEN",
        Kind::Text,
        Some("127.0.0.1:8000"),
        "address of the REST surface; port 0 picks a free one",
    ),
    setting(
        "url",
        "OPSPAWN_URL",
        Kind::Text,
        None,
        "the server that the command line talks to",
    ),
    setting(
        "log",
        "OPSPAWN_LOG",
        Kind::Text,
        Some("warn"),
        "log filter, as of tracing-subscriber",
    ),
    setting(
        "worker.concurrency",
        "OPSPAWN_CONCURRENCY",
        Kind::Count,
        Some("64"),
        "runs at once",
    ),
    setting(
        "worker.lease",
        "OPSPAWN_LEASE",
        Kind::Duration,
        Some("10s"),
        "how long a lease holds without a heartbeat",
    ),
    setting(
        "worker.grace",
        "OPSPAWN_GRACE",
        Kind::Duration,
        Some("20s"),
        "how long calls in flight may take when the process is asked to stop",
    ),
    v1(
        setting(
            "model.provider",
            "OPSPAWN_PROVIDER",
            Kind::Choice(PROVIDERS),
            None,
            "the model's provider; unless set, the first that has a key or base URL",
        ),
        &["AGENTKIT_LLM_PROVIDER"],
    ),
    v1(
        setting(
            "model.name",
            "OPSPAWN_MODEL",
            Kind::Text,
            None,
            "the model; `gpt-4o-mini` if the provider is `openai`",
        ),
        &["AGENTKIT_LLM_MODEL"],
    ),
    setting(
        "model.fallback",
        "OPSPAWN_MODEL_FALLBACK",
        Kind::List,
        None,
        "models that go on where the first cannot, as `provider/model`",
    ),
    setting(
        "cassette.mode",
        "OPSPAWN_CASSETTE",
        Kind::Choice(&["record", "replay"]),
        None,
        "keep what models answer in a folder, or answer from it and call no model",
    ),
    setting(
        "cassette.path",
        "OPSPAWN_CASSETTE_PATH",
        Kind::Text,
        None,
        "that folder; unless set, `cassettes` in the data folder",
    ),
    setting(
        "cassette.redact",
        "OPSPAWN_CASSETTE_REDACT",
        Kind::List,
        None,
        "regular expressions of what never reaches it, beside keys",
    ),
    setting(
        "model.stream",
        "OPSPAWN_STREAM",
        Kind::Switch,
        Some("true"),
        "stream answers",
    ),
    setting(
        "model.timeout",
        "OPSPAWN_MODEL_TIMEOUT",
        Kind::Duration,
        Some("300s"),
        "the longest that one model call may take",
    ),
    setting(
        "model.tries",
        "OPSPAWN_MODEL_TRIES",
        Kind::Count,
        Some("5"),
        "tries of a model call that fails in a passing way, per attempt of the task",
    ),
    setting(
        "model.temperature",
        "OPSPAWN_TEMPERATURE",
        Kind::Text,
        None,
        "sampling temperature; not sent unless set, as newer models refuse it",
    ),
    v1(
        setting(
            "openai.base_url",
            "OPSPAWN_OPENAI_BASE_URL",
            Kind::Text,
            None,
            "OpenAI's or a compatible endpoint",
        ),
        &["OPENAI_BASE_URL"],
    ),
    v1(
        setting(
            "openai.api_key",
            "OPSPAWN_OPENAI_API_KEY",
            Kind::Secret,
            None,
            "the key for OpenAI",
        ),
        &["OPENAI_API_KEY"],
    ),
    setting(
        "openai.headers",
        "OPSPAWN_OPENAI_HEADERS",
        Kind::Secret,
        None,
        "headers of each request to OpenAI, one a line: `Name: value`",
    ),
    v1(
        setting(
            "anthropic.base_url",
            "OPSPAWN_ANTHROPIC_BASE_URL",
            Kind::Text,
            None,
            "Anthropic's endpoint or one like it",
        ),
        &["ANTHROPIC_BASE_URL"],
    ),
    v1(
        setting(
            "anthropic.api_key",
            "OPSPAWN_ANTHROPIC_API_KEY",
            Kind::Secret,
            None,
            "the key for Anthropic",
        ),
        &["ANTHROPIC_API_KEY"],
    ),
    setting(
        "anthropic.headers",
        "OPSPAWN_ANTHROPIC_HEADERS",
        Kind::Secret,
        None,
        "headers of each request to Anthropic, one a line: `Name: value`",
    ),
    v1(
        setting(
            "google.base_url",
            "OPSPAWN_GOOGLE_BASE_URL",
            Kind::Text,
            None,
            "the Gemini API's endpoint or one like it",
        ),
        &["GOOGLE_BASE_URL", "GEMINI_BASE_URL"],
    ),
    v1(
        setting(
            "google.api_key",
            "OPSPAWN_GOOGLE_API_KEY",
            Kind::Secret,
            None,
            "the key for Google",
        ),
        &["GOOGLE_API_KEY", "GEMINI_API_KEY"],
    ),
    setting(
        "google.headers",
        "OPSPAWN_GOOGLE_HEADERS",
        Kind::Secret,
        None,
        "headers of each request to Google, one a line: `Name: value`",
    ),
    v1(
        setting(
            "openrouter.base_url",
            "OPSPAWN_OPENROUTER_BASE_URL",
            Kind::Text,
            None,
            "OpenRouter's endpoint or one like it",
        ),
        &["OPENROUTER_BASE_URL"],
    ),
    v1(
        setting(
            "openrouter.api_key",
            "OPSPAWN_OPENROUTER_API_KEY",
            Kind::Secret,
            None,
            "the key for OpenRouter",
        ),
        &["OPENROUTER_API_KEY"],
    ),
    setting(
        "openrouter.headers",
        "OPSPAWN_OPENROUTER_HEADERS",
        Kind::Secret,
        None,
        "headers of each request to OpenRouter, one a line: `Name: value`",
    ),
    v1(
        setting(
            "agent.planner",
            "OPSPAWN_PLANNER",
            Kind::Choice(&agentkit::planner::NAMES),
            Some("react"),
            "the planner",
        ),
        &["AGENTKIT_PLANNER_TYPE"],
    ),
    setting(
        "agent.instructions",
        "OPSPAWN_INSTRUCTIONS",
        Kind::Text,
        None,
        "system instructions",
    ),
    setting(
        "agent.script",
        "OPSPAWN_SCRIPT",
        Kind::Text,
        None,
        "script file of the scripted model, for tasks that bring none",
    ),
    setting(
        "policy",
        "OPSPAWN_POLICY",
        Kind::Text,
        None,
        "the policy file; `policy.toml` in the data folder, if it is there",
    ),
    setting(
        "retention.completed",
        "OPSPAWN_RETENTION_COMPLETED",
        Kind::Duration,
        None,
        "how long completed tasks are kept after their end; for ever unless set",
    ),
    setting(
        "retention.failed",
        "OPSPAWN_RETENTION_FAILED",
        Kind::Duration,
        None,
        "how long failed tasks are kept after their end; for ever unless set",
    ),
    setting(
        "retention.cancelled",
        "OPSPAWN_RETENTION_CANCELLED",
        Kind::Duration,
        None,
        "how long cancelled tasks are kept after their end; for ever unless set",
    ),
    setting(
        "limits.max_steps",
        "OPSPAWN_MAX_STEPS",
        Kind::Count,
        Some("100"),
        "steps of a run",
    ),
    setting(
        "limits.max_tokens",
        "OPSPAWN_MAX_TOKENS",
        Kind::Number,
        None,
        "tokens of a run",
    ),
    setting(
        "limits.max_cost_usd",
        "OPSPAWN_MAX_COST_USD",
        Kind::Usd,
        None,
        "money that a run may cost, where prices are known",
    ),
    setting(
        "limits.timeout",
        "OPSPAWN_TIMEOUT",
        Kind::Duration,
        None,
        "time from a task's first start",
    ),
    setting(
        "limits.context_tokens",
        "OPSPAWN_CONTEXT_TOKENS",
        Kind::Number,
        None,
        "tokens of a prompt at the most; unless set, the model's context",
    ),
    setting(
        "memory.compact_at",
        "OPSPAWN_MEMORY_COMPACT_AT",
        Kind::Percent,
        Some("80"),
        "the share of the context, in per cent, at which the conversation is made smaller",
    ),
    setting(
        "memory.keep_exchanges",
        "OPSPAWN_MEMORY_KEEP_EXCHANGES",
        Kind::Count,
        Some("6"),
        "the newest exchanges that stay whole then",
    ),
    setting(
        "memory.summarise",
        "OPSPAWN_MEMORY_SUMMARISE",
        Kind::Switch,
        Some("true"),
        "whether the model sums up the older part; if not, it is left out",
    ),
    setting(
        "limits.max_output_tokens",
        "OPSPAWN_MAX_OUTPUT_TOKENS",
        Kind::Number,
        None,
        "tokens of an answer at the most",
    ),
    setting(
        "limits.on_exhausted",
        "OPSPAWN_ON_EXHAUSTED",
        Kind::Choice(&["fail", "wait"]),
        Some("fail"),
        "what a task does whose limit is used up: fail, or wait until somebody raises it",
    ),
    setting(
        "limits.max_children",
        "OPSPAWN_MAX_CHILDREN",
        Kind::Number,
        Some("100"),
        "child tasks that a run may begin",
    ),
    setting(
        "limits.spawn_depth",
        "OPSPAWN_SPAWN_DEPTH",
        Kind::Number,
        Some("3"),
        "generations of child tasks that may follow a task",
    ),
    setting(
        "retry.max_attempts",
        "OPSPAWN_MAX_ATTEMPTS",
        Kind::Count,
        Some("3"),
        "attempts of a task",
    ),
    setting(
        "retry.backoff",
        "OPSPAWN_BACKOFF",
        Kind::Duration,
        Some("1s"),
        "delay before the second attempt; it doubles",
    ),
    setting(
        "retry.max_lease_losses",
        "OPSPAWN_MAX_LEASE_LOSSES",
        Kind::Count,
        Some("5"),
        "lost workers in a row after which a task is given up",
    ),
    setting(
        "tools.http.allow",
        "OPSPAWN_HTTP_ALLOW",
        Kind::Places,
        None,
        "hosts, addresses and networks that the HTTP tools may reach although they are not public",
    ),
    setting(
        "tools.http.max_bytes",
        "OPSPAWN_HTTP_MAX_BYTES",
        Kind::Count,
        Some("10485760"),
        "the most bytes of a body that the HTTP tools read",
    ),
    setting(
        "tools.http.timeout",
        "OPSPAWN_HTTP_TIMEOUT",
        Kind::Duration,
        Some("30s"),
        "the longest that a call of the HTTP tools may take",
    ),
    setting(
        "tools.start_timeout",
        "OPSPAWN_TOOLS_START_TIMEOUT",
        Kind::Duration,
        Some("30s"),
        "how long a run waits for a source of tools that its agent names",
    ),
    v1(
        setting(
            "telemetry.otlp_endpoint",
            "OPSPAWN_OTLP_ENDPOINT",
            Kind::Text,
            None,
            "where spans are sent as OTLP over HTTP, for instance http://127.0.0.1:4318",
        ),
        &["OTEL_EXPORTER_OTLP_ENDPOINT"],
    ),
    setting(
        "telemetry.content",
        "OPSPAWN_TELEMETRY_CONTENT",
        Kind::Switch,
        Some("false"),
        "whether spans hold prompts, answers, arguments and results",
    ),
    setting(
        "max_body_bytes",
        "OPSPAWN_MAX_BODY_BYTES",
        Kind::Number,
        Some("10485760"),
        "the largest request body",
    ),
    v1(
        setting(
            "mock_agent_delay_ms",
            "OPSPAWN_MOCK_AGENT_DELAY_MS",
            Kind::Number,
            None,
            "answers every agent task with a mock after so many milliseconds, for load tests",
        ),
        &["OPS_CORE_LOAD_TEST_MOCK_AGENT_DELAY_MS"],
    ),
];

/// The declaration of a key.
pub(super) fn find(key: &'static str) -> &'static Setting {
    SETTINGS
        .iter()
        .find(|setting| setting.key == key)
        .expect("settings are only asked for by keys that are declared")
}
