//! The model table: facts about models, as data.
//!
//! The crate has a built-in table; a host lays the rows of its user over the table. A model without a row
//! works as well, with unknown size and unknown price.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    event::Usage,
    model::client::{ApiSurface, extra},
};

/// The built-in table.
const BUILT_IN: &str = include_str!("catalog/models.toml");

/// Rows by provider and model, for instance `openai/gpt-5`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalog {
    models: BTreeMap<String, ModelInfo>,
}

/// Facts about a model. An absent fact is unknown, or as usual.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelInfo {
    /// Surface of the calls. Default: the usual surface of the provider
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surface: Option<ApiSurface>,
    /// Tokens of prompt and answer together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
    /// Tokens of an answer at the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    /// Request field that bounds an answer. Only the surface `chat` needs the field, and learns
    /// the right name from a server that refuses the wrong name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_limit: Option<OutputLimit>,
    /// Whether the model accepts a temperature. Default: true
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<bool>,
    /// Whether the model takes tools. Default: true
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<bool>,
    /// Whether the model can be held to a schema. Default: true
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_schema: Option<bool>,
    /// Whether the model can be held to a schema beside tools. Default: true
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_with_tools: Option<bool>,
    /// Whether the model sends reasoning for later requests. Default: false. Only the surface `responses` needs
    /// the fact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<bool>,
    /// Further fields of each request, as the provider names them: `reasoning_effort`, `top_p`, `seed`. They stand
    /// beside the fields that the client writes, which a row may not have.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub request: Map<String, Value>,
    /// Prices by the length of the prompt, shortest first; empty for unknown prices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prices: Vec<Prices>,
}

/// Request field of `chat` that bounds an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputLimit {
    /// The newer field: counts reasoning as well.
    #[default]
    MaxCompletionTokens,
    /// The older field.
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
    /// Longest prompt of these prices, in tokens; `None` for prompts of any length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to: Option<u64>,
    /// Of the prompt.
    pub input: u64,
    /// Price of cached input tokens. Default: `input`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<u64>,
    /// Price of input tokens that the provider puts into its cache. Default: `input`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<u64>,
    /// Of the answer, reasoning included.
    pub output: u64,
}

/// The unit of prices, for messages.
const UNIT: &str = "prices are whole numbers of micro-USD for a million tokens: 2.50 USD is 2500000, and 0 is free";
/// The least price of a call that is not free.
const LEAST: u64 = 1_000;

impl Prices {
    fn all(&self) -> impl Iterator<Item = u64> {
        let cache = self.cached_input.into_iter().chain(self.cache_write);
        [self.input, self.output].into_iter().chain(cache)
    }

    fn is_no_price(price: &u64) -> bool {
        (1..LEAST).contains(price)
    }
}

impl Catalog {
    /// The table that the crate brings.
    ///
    /// # Panics
    /// Never: a test reads the table.
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

    /// Lays rows over the table; fields without a value in a row stay unchanged.
    ///
    /// # Errors
    /// Names the wrong row and field.
    pub fn lay_over(&mut self, rows: toml::Table) -> Result<(), CatalogError> {
        for (name, row) in rows {
            let wrong = |message: String| CatalogError {
                name: name.clone(),
                message,
            };
            let info: ModelInfo =
                row.try_into()
                    .map_err(|error: toml::de::Error| match error.message() {
                        said if said.contains("floating point") => wrong(format!("{said}; {UNIT}")),
                        said => wrong(said.to_owned()),
                    })?;
            if !name.contains('/') {
                return Err(wrong("the name must be `provider/model`".to_owned()));
            }
            if let Some(own) = extra::own(&info.request) {
                return Err(wrong(format!(
                    "`request.{own}` is a field that the client writes itself"
                )));
            }
            if info.prices.iter().rev().skip(1).any(|p| p.up_to.is_none()) {
                return Err(wrong(
                    "all but the last of `prices` need `up_to`".to_owned(),
                ));
            }
            // Dollars taken for micro-dollars would make every limit of money a million times too wide.
            let too_low = info
                .prices
                .iter()
                .flat_map(Prices::all)
                .find(Prices::is_no_price);
            if let Some(price) = too_low {
                return Err(wrong(format!(
                    "a price of {price} is less than a thousandth of a USD for a million tokens; {UNIT}"
                )));
            }
            self.models.entry(name).or_default().lay_over(info);
        }
        Ok(())
    }

    /// Facts about a model. A dated name (`gpt-4o-2024-08-06`, `claude-haiku-4-5-20251001`)
    /// or a name with the ending `-latest` has its row under the plain name.
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

    /// Facts about a model; empty for a model without a row.
    #[must_use]
    pub fn info(&self, name: &str) -> ModelInfo {
        self.find(name).cloned().unwrap_or_default()
    }
}

/// An unusable row.
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
            request,
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
        self.request.extend(request);
        if !prices.is_empty() {
            self.prices = prices;
        }
    }
}

/// Cost of a call in micro-USD, rounded up; `None` without a known price. `written` counts the input tokens that
/// the provider put into its cache.
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

/// Highest cost of a call with this prompt and answer, in micro-USD; `None` without a known price.
#[must_use]
pub fn worst_cost_micros(prices: &[Prices], prompt: u64, answer: u64) -> Option<u64> {
    let prices = of_length(prices, prompt)?;
    let input = prices.input.max(prices.cache_write.unwrap_or(0));
    Some(total(&[(prompt, input), (answer, prices.output)]))
}

/// Largest answer in tokens for so many micro-USD; `None` without a known price, or if an answer is free.
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
