//! Names of models: `provider/model`.

use std::{fmt, str::FromStr};

/// The provider whose model is a script. It alone may stand without a model: each script is one.
pub const SCRIPTED: &str = "scripted";

/// The longest name, in bytes.
const MAX_LENGTH: usize = 256;

/// A model with its provider, such as `openai/gpt-5` or `openrouter/openai/gpt-5`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelName {
    name: String,
    /// Bytes of the provider.
    provider: usize,
}

/// Text that is no model's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a model's name like `openai/gpt-5`")]
pub struct ModelNameError(String);

impl ModelName {
    /// The model of a provider, whether or not the text names the provider as well: both `gpt-5` and
    /// `openai/gpt-5` are `openai/gpt-5` of `openai`. A model whose own name begins with its provider's
    /// is written with both: `openai/openai/gpt-oss`.
    ///
    /// # Errors
    /// A part that is empty, or a name that is too long.
    pub fn of(provider: &str, model: &str) -> Result<Self, ModelNameError> {
        let rest = model.strip_prefix(provider);
        match rest.and_then(|rest| rest.strip_prefix('/')) {
            Some(model) => format!("{provider}/{model}").parse(),
            None => format!("{provider}/{model}").parse(),
        }
    }

    /// The scripted model with any script.
    #[must_use]
    pub fn scripted() -> Self {
        Self {
            name: SCRIPTED.to_owned(),
            provider: SCRIPTED.len(),
        }
    }

    /// The provider.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.name[..self.provider]
    }

    /// The model, as the provider names it; empty for a script without a name.
    #[must_use]
    pub fn model(&self) -> &str {
        self.name.get(self.provider + 1..).unwrap_or_default()
    }

    /// Provider and model.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Whether the model is a script.
    #[must_use]
    pub fn is_scripted(&self) -> bool {
        self.provider() == SCRIPTED
    }
}

impl FromStr for ModelName {
    type Err = ModelNameError;

    fn from_str(text: &str) -> Result<Self, ModelNameError> {
        let provider = match text.split_once('/') {
            Some((provider, model)) if !provider.is_empty() && !model.is_empty() => provider.len(),
            None if text == SCRIPTED => text.len(),
            Some(_) | None => return Err(ModelNameError(crate::shown(text))),
        };
        let clean = text.trim() == text && !text.contains(char::is_control);
        if text.len() > MAX_LENGTH || !clean {
            return Err(ModelNameError(crate::shown(text)));
        }
        Ok(Self {
            name: text.to_owned(),
            provider,
        })
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl From<ModelName> for String {
    fn from(name: ModelName) -> Self {
        name.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_provider_and_a_model() {
        for (text, provider, model) in [
            ("openai/gpt-5", "openai", "gpt-5"),
            ("openrouter/openai/gpt-5", "openrouter", "openai/gpt-5"),
            ("scripted", "scripted", ""),
            ("scripted/report", "scripted", "report"),
        ] {
            let name: ModelName = text.parse().unwrap();
            assert_eq!((name.provider(), name.model()), (provider, model));
            assert_eq!(name.to_string(), text);
        }
        let long = format!("openai/{}", "x".repeat(250));
        for text in [
            "",
            "gpt-5",
            "/gpt-5",
            "openai/",
            " openai/a",
            "openai/a ",
            "a/b\u{1b}",
            &long,
        ] {
            assert!(text.parse::<ModelName>().is_err(), "{text:?}");
        }
    }

    /// cli/C6: `openai/x` was sent as `openai/openai/x`.
    #[test]
    fn a_provider_that_is_named_twice_counts_once() {
        let of = |provider, model| ModelName::of(provider, model).map(String::from);
        assert_eq!(of("openai", "x").unwrap(), "openai/x");
        assert_eq!(of("openai", "openai/x").unwrap(), "openai/x");
        assert_eq!(of("openai", "openai/openai/x").unwrap(), "openai/openai/x");
        assert_eq!(of("openrouter", "openai/x").unwrap(), "openrouter/openai/x");
        assert_eq!(of("openai", "openai-x").unwrap(), "openai/openai-x");
        assert!(of("openai", "").is_err());
        assert!(of("openai", "openai/").is_err());
    }
}
