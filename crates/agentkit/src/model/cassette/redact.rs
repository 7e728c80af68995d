//! What never reaches a cassette.

use std::sync::Arc;

use regex::Regex;
use serde_json::Value;

use super::CassetteError;

/// What stands in its place.
const REDACTED: &str = "[redacted]";
/// What keys and tokens look like.
pub(crate) const KEYS: &[&str] = &[
    r"\bsk-[A-Za-z0-9_-]{16,}",
    r"\bAIza[A-Za-z0-9_-]{30,}",
    r"\bAKIA[A-Z0-9]{16}\b",
    r"\bgh[pousr]_[A-Za-z0-9]{20,}",
    r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    r"(?i)\bbearer\s+[A-Za-z0-9._~+/=-]{16,}",
];
/// A secret that is shorter would take harmless words along.
const SHORTEST: usize = 8;

/// Takes keys, and what somebody's patterns match, out of texts.
#[derive(Debug, Clone)]
pub struct Redactor {
    patterns: Arc<[Regex]>,
    secrets: Arc<[String]>,
}

impl Redactor {
    /// What keys look like, and these patterns: regular expressions of the crate
    /// [regex](https://docs.rs/regex).
    ///
    /// # Errors
    /// The first pattern that is not valid.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, CassetteError> {
        let patterns = KEYS.iter().copied().chain(patterns);
        let compiled = patterns.map(|pattern| {
            Regex::new(pattern).map_err(|error| CassetteError::Pattern {
                pattern: pattern.to_owned(),
                source: Box::new(error),
            })
        });
        Ok(Self {
            patterns: compiled.collect::<Result<_, _>>()?,
            secrets: Arc::new([]),
        })
    }

    /// These texts as well, wherever they stand: the keys that are in use.
    #[must_use]
    pub fn secrets(mut self, secrets: impl IntoIterator<Item = String>) -> Self {
        let long = secrets
            .into_iter()
            .filter(|secret| secret.len() >= SHORTEST);
        self.secrets = long.collect();
        self
    }

    /// The text without them.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.secrets.iter() {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), REDACTED);
            }
        }
        for pattern in self.patterns.iter() {
            if pattern.is_match(&text) {
                text = pattern.replace_all(&text, REDACTED).into_owned();
            }
        }
        text
    }

    /// Takes them out of every text of a value.
    pub(super) fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(map) => map.values_mut().for_each(|item| self.value(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}
