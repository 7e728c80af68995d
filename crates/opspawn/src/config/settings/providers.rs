//! Settings of providers: where they are, their keys, and how much they take.

use super::super::{
    kind::Kind,
    setting::{Setting, setting, v1},
};

pub(super) const OPENAI_BASE_URL: Setting = v1(
    setting(
        "openai.base_url",
        "OPSPAWN_OPENAI_BASE_URL",
        Kind::Text,
        None,
        "OpenAI's or a compatible endpoint",
    ),
    &["OPENAI_BASE_URL"],
);
pub(super) const OPENAI_API_KEY: Setting = v1(
    setting(
        "openai.api_key",
        "OPSPAWN_OPENAI_API_KEY",
        Kind::Secret,
        None,
        "the key for OpenAI",
    ),
    &["OPENAI_API_KEY"],
);
pub(super) const OPENAI_HEADERS: Setting = setting(
    "openai.headers",
    "OPSPAWN_OPENAI_HEADERS",
    Kind::Secret,
    None,
    "headers of each request to OpenAI, one a line: `Name: value`",
);
pub(super) const OPENAI_REQUESTS_PER_MINUTE: Setting = setting(
    "openai.requests_per_minute",
    "OPSPAWN_OPENAI_REQUESTS_PER_MINUTE",
    Kind::Count,
    None,
    "requests that OpenAI takes in a minute under this key, of all workers together",
);
pub(super) const OPENAI_TOKENS_PER_MINUTE: Setting = setting(
    "openai.tokens_per_minute",
    "OPSPAWN_OPENAI_TOKENS_PER_MINUTE",
    Kind::Count,
    None,
    "tokens that OpenAI takes in a minute under this key, of all workers together",
);
pub(super) const ANTHROPIC_BASE_URL: Setting = v1(
    setting(
        "anthropic.base_url",
        "OPSPAWN_ANTHROPIC_BASE_URL",
        Kind::Text,
        None,
        "Anthropic's endpoint or one like it",
    ),
    &["ANTHROPIC_BASE_URL"],
);
pub(super) const ANTHROPIC_API_KEY: Setting = v1(
    setting(
        "anthropic.api_key",
        "OPSPAWN_ANTHROPIC_API_KEY",
        Kind::Secret,
        None,
        "the key for Anthropic",
    ),
    &["ANTHROPIC_API_KEY"],
);
pub(super) const ANTHROPIC_HEADERS: Setting = setting(
    "anthropic.headers",
    "OPSPAWN_ANTHROPIC_HEADERS",
    Kind::Secret,
    None,
    "headers of each request to Anthropic, one a line: `Name: value`",
);
pub(super) const ANTHROPIC_REQUESTS_PER_MINUTE: Setting = setting(
    "anthropic.requests_per_minute",
    "OPSPAWN_ANTHROPIC_REQUESTS_PER_MINUTE",
    Kind::Count,
    None,
    "requests that Anthropic takes in a minute under this key, of all workers together",
);
pub(super) const ANTHROPIC_TOKENS_PER_MINUTE: Setting = setting(
    "anthropic.tokens_per_minute",
    "OPSPAWN_ANTHROPIC_TOKENS_PER_MINUTE",
    Kind::Count,
    None,
    "tokens that Anthropic takes in a minute under this key, of all workers together",
);
pub(super) const GOOGLE_BASE_URL: Setting = v1(
    setting(
        "google.base_url",
        "OPSPAWN_GOOGLE_BASE_URL",
        Kind::Text,
        None,
        "the Gemini API's endpoint or one like it",
    ),
    &["GOOGLE_BASE_URL", "GEMINI_BASE_URL"],
);
pub(super) const GOOGLE_API_KEY: Setting = v1(
    setting(
        "google.api_key",
        "OPSPAWN_GOOGLE_API_KEY",
        Kind::Secret,
        None,
        "the key for Google",
    ),
    &["GOOGLE_API_KEY", "GEMINI_API_KEY"],
);
pub(super) const GOOGLE_HEADERS: Setting = setting(
    "google.headers",
    "OPSPAWN_GOOGLE_HEADERS",
    Kind::Secret,
    None,
    "headers of each request to Google, one a line: `Name: value`",
);
pub(super) const GOOGLE_REQUESTS_PER_MINUTE: Setting = setting(
    "google.requests_per_minute",
    "OPSPAWN_GOOGLE_REQUESTS_PER_MINUTE",
    Kind::Count,
    None,
    "requests that Google takes in a minute under this key, of all workers together",
);
pub(super) const GOOGLE_TOKENS_PER_MINUTE: Setting = setting(
    "google.tokens_per_minute",
    "OPSPAWN_GOOGLE_TOKENS_PER_MINUTE",
    Kind::Count,
    None,
    "tokens that Google takes in a minute under this key, of all workers together",
);
pub(super) const OPENROUTER_BASE_URL: Setting = v1(
    setting(
        "openrouter.base_url",
        "OPSPAWN_OPENROUTER_BASE_URL",
        Kind::Text,
        None,
        "OpenRouter's endpoint or one like it",
    ),
    &["OPENROUTER_BASE_URL"],
);
pub(super) const OPENROUTER_API_KEY: Setting = v1(
    setting(
        "openrouter.api_key",
        "OPSPAWN_OPENROUTER_API_KEY",
        Kind::Secret,
        None,
        "the key for OpenRouter",
    ),
    &["OPENROUTER_API_KEY"],
);
pub(super) const OPENROUTER_HEADERS: Setting = setting(
    "openrouter.headers",
    "OPSPAWN_OPENROUTER_HEADERS",
    Kind::Secret,
    None,
    "headers of each request to OpenRouter, one a line: `Name: value`",
);
pub(super) const OPENROUTER_REQUESTS_PER_MINUTE: Setting = setting(
    "openrouter.requests_per_minute",
    "OPSPAWN_OPENROUTER_REQUESTS_PER_MINUTE",
    Kind::Count,
    None,
    "requests that OpenRouter takes in a minute under this key, of all workers together",
);
pub(super) const OPENROUTER_TOKENS_PER_MINUTE: Setting = setting(
    "openrouter.tokens_per_minute",
    "OPSPAWN_OPENROUTER_TOKENS_PER_MINUTE",
    Kind::Count,
    None,
    "tokens that OpenRouter takes in a minute under this key, of all workers together",
);
