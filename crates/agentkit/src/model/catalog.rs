//! The model table: what is known of models, as data.
//!
//! The crate brings a table of its own; a host lays its user's rows over it. A model without a row
//! works as well: then nothing is known of its size and its price.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{event::Usage, model::client::Surface};

/// The table that the crate brings.
const BUILT_IN: &str = include_str!("catalog/models.toml");

/// Rows by provider and model, for instance `openai/gpt-5`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalog {
    models: BTreeMap<String, ModelInfo>,
}

/// What is known of a model. What is not said is not known, or as usual.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelInfo {
    /// The surface to call it on; unless said, the provider's usual one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surface: Option<Surface>,
    /// Tokens of prompt and answer together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
    /// Tokens of an answer at the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    /// The field of a request that bounds an answer. Only the surface `chat` has to know, and learns
    /// it from a server that refuses the one it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_limit: Option<OutputLimit>,
    /// Whether it accepts a temperature; unless said, it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<bool>,
    /// Whether it can be given tools; unless said, it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<bool>,
    /// Whether it can be held to a schema; unless said, it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_schema: Option<bool>,
    /// Whether it can be held to a schema while it has tools as well; unless said, it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_with_tools: Option<bool>,
    /// Whether it sends reasoning that wants to be sent back; unless said, it does not. Only the
    /// surface `responses` has to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<bool>,
    /// What it costs, by the length of the prompt, shortest first; empty where that is not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prices: Vec<Prices>,
}

/// The field of a request on `chat` that bounds an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputLimit {
    /// The newer one, which counts reasoning as well.
    #[default]
    MaxCompletionTokens,
    /// The older one.
    MaxTokens,
}

impl ModelInfo {
    /// Whether the model can be held to a schema, with tools or without.
    pub(crate) fn holds_schema(&self, has_tools: bool) -> bool {
        self.response_schema != Some(false) && (!has_tools || self.schema_with_tools != Some(false))
    }
}

/// Prices in micro-USD for a million tokens, so 1 USD is 1000000.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// They hold for prompts of so many tokens at the most; none for prompts of any length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to: Option<u64>,
    /// Of the prompt.
    pub input: u64,
    /// Of what the provider had in its cache; `input` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<u64>,
    /// Of what the provider puts into its cache; `input` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<u64>,
    /// Of the answer, reasoning included.
    pub output: u64,
}

impl Catalog {
    /// The table that the crate brings.
    ///
    /// # Panics
    /// Never: a test reads it.
    #[must_use]
    pub fn built_in() -> Self {
        let table: toml::Table =
            toml::from_str(BUILT_IN).expect("the built-in table is TOML, as a test sees to");
        let mut catalog = Self::default();
        catalog
            .lay_over(table)
            .expect("the built-in table is valid, as a test sees to");
        catalog
    }

    /// Lays rows over the table; a field that a row does not name stays as it was.
    ///
    /// # Errors
    /// Names the row and the field that is wrong.
    pub fn lay_over(&mut self, rows: toml::Table) -> Result<(), CatalogError> {
        for (name, row) in rows {
            let wrong = |message: String| CatalogError {
                name: name.clone(),
                message,
            };
            let info: ModelInfo = row
                .try_into()
                .map_err(|error: toml::de::Error| wrong(error.message().to_owned()))?;
            if !name.contains('/') {
                return Err(wrong("the name must be `provider/model`".to_owned()));
            }
            if info.prices.iter().rev().skip(1).any(|p| p.up_to.is_none()) {
                return Err(wrong(
                    "all but the last of `prices` need `up_to`".to_owned(),
                ));
            }
            self.models.entry(name).or_default().lay_over(info);
        }
        Ok(())
    }

    /// What is known of a model. A dated name (`gpt-4o-2024-08-06`, `claude-haiku-4-5-20251001`)
    /// or one that ends in `-latest` has its row under the plain name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&ModelInfo> {
        let mut name = name;
        loop {
            if let Some(info) = self.models.get(name) {
                return Some(info);
            }
            let (plain, end) = name.rsplit_once('-')?;
            let dated = end.len() >= 2 && end.bytes().all(|byte| byte.is_ascii_digit());
            if !dated && end != "latest" {
                return None;
            }
            name = plain;
        }
    }

    /// What is known of a model; nothing for one without a row.
    #[must_use]
    pub fn info(&self, name: &str) -> ModelInfo {
        self.find(name).cloned().unwrap_or_default()
    }
}

/// A row that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the model table's row `{name}` is not valid: {message}")]
pub struct CatalogError {
    name: String,
    message: String,
}

impl ModelInfo {
    fn lay_over(&mut self, other: Self) {
        let Self {
            surface,
            context_tokens,
            max_output_tokens,
            output_limit,
            temperature,
            tools,
            response_schema,
            schema_with_tools,
            reasoning,
            prices,
        } = other;
        self.surface = surface.or(self.surface);
        self.context_tokens = context_tokens.or(self.context_tokens);
        self.max_output_tokens = max_output_tokens.or(self.max_output_tokens);
        self.output_limit = output_limit.or(self.output_limit);
        self.temperature = temperature.or(self.temperature);
        self.tools = tools.or(self.tools);
        self.response_schema = response_schema.or(self.response_schema);
        self.schema_with_tools = schema_with_tools.or(self.schema_with_tools);
        self.reasoning = reasoning.or(self.reasoning);
        if !prices.is_empty() {
            self.prices = prices;
        }
    }
}

/// What a call cost in micro-USD, rounded up; none where no price is known. `written` are those of
/// the input tokens that the provider put into its cache.
#[must_use]
pub fn cost_micros(prices: &[Prices], usage: &Usage, written: u64) -> Option<u64> {
    let prices = of_length(prices, usage.input_tokens)?;
    let cached = usage.cached_tokens.min(usage.input_tokens);
    let written = written.min(usage.input_tokens - cached);
    let plain = usage.input_tokens - cached - written;
    let parts = [
        (plain, prices.input),
        (cached, prices.cached_input.unwrap_or(prices.input)),
        (written, prices.cache_write.unwrap_or(prices.input)),
        (usage.output_tokens, prices.output),
    ];
    Some(total(&parts))
}

/// The most that a call with this prompt and answer may cost, in micro-USD; none where no price is
/// known.
#[must_use]
pub fn worst_cost_micros(prices: &[Prices], prompt: u64, answer: u64) -> Option<u64> {
    let prices = of_length(prices, prompt)?;
    let input = prices.input.max(prices.cache_write.unwrap_or(0));
    Some(total(&[(prompt, input), (answer, prices.output)]))
}

/// How many tokens an answer may have for so many micro-USD; none where no price is known, or an
/// answer is free.
#[must_use]
pub fn affordable_answer(prices: &[Prices], prompt: u64, micros: u64) -> Option<u64> {
    let output = of_length(prices, prompt)?.output;
    (output > 0).then(|| {
        let tokens = u128::from(micros) * MILLION / u128::from(output);
        u64::try_from(tokens).unwrap_or(u64::MAX)
    })
}

const MILLION: u128 = 1_000_000;

fn of_length(prices: &[Prices], prompt: u64) -> Option<&Prices> {
    let fits = |prices: &&Prices| prices.up_to.is_none_or(|most| prompt <= most);
    prices.iter().find(fits).or_else(|| prices.last())
}

fn total(parts: &[(u64, u64)]) -> u64 {
    let prices = parts
        .iter()
        .map(|(tokens, price)| u128::from(*tokens) * u128::from(*price));
    let sum = prices.fold(0_u128, u128::saturating_add);
    u64::try_from(sum.div_ceil(MILLION)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
