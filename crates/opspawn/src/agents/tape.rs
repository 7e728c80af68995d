//! The cassette of this configuration, if it has one.

use std::{path::PathBuf, sync::Arc};

use agentkit::{
    Model,
    event::Failure,
    model::cassette::{Cassette, Redactor},
};
use anyhow::{Context as _, Result};
use units::ModelName;

use super::Providers;
use crate::config::{Config, Kind, SETTINGS};

/// What is done with the answers of models.
pub(super) enum Tape {
    /// Nothing.
    Off,
    /// They are kept.
    Record(Cassette),
    /// They come from the cassette, and nobody is called.
    Replay(Cassette),
}

/// Where the cassette is.
fn folder(config: &Config) -> PathBuf {
    let named = config.optional("cassette.path").map(PathBuf::from);
    named.unwrap_or_else(|| config.data_dir().join("cassettes"))
}

/// What is said wherever an answer of a cassette is shown; none if none is played.
pub(crate) fn notice(config: &Config) -> Option<String> {
    is_replayed(config).then(|| {
        format!(
            "no model is called: answers are replayed from the cassette {}",
            folder(config).display()
        )
    })
}

/// Whether answers come from the cassette.
pub(super) fn is_replayed(config: &Config) -> bool {
    config.optional("cassette.mode") == Some("replay")
}

impl Tape {
    pub(super) fn from_config(config: &Config) -> Result<Self> {
        let Some(mode) = config.optional("cassette.mode") else {
            return Ok(Self::Off);
        };
        // A secret may be lines like `Name: value`.
        let secrets = SETTINGS
            .iter()
            .filter(|setting| matches!(setting.kind, Kind::Secret))
            .filter_map(|setting| config.optional(setting.key))
            .flat_map(str::lines)
            .map(|line| line.split_once(": ").map_or(line, |(_, value)| value))
            .map(|secret| secret.trim().to_owned());
        let redactor = Redactor::new(config.list("cassette.redact"))
            .context("setting `cassette.redact`")?
            .secrets(secrets);
        let folder = folder(config);
        let why = "the setting `cassette.mode`";
        Ok(match mode {
            "replay" => Self::Replay(Cassette::replay(folder, redactor).context(why)?),
            _ => Self::Record(Cassette::record(folder, redactor).context(why)?),
        })
    }

    /// The client of a model, recorded or replayed.
    pub(super) fn model(
        &self,
        providers: &Providers,
        name: &ModelName,
    ) -> Result<Arc<dyn Model>, Failure> {
        match self {
            Self::Off => providers.client(name),
            Self::Record(cassette) => Ok(cassette.model(providers.client(name)?)),
            Self::Replay(cassette) => {
                Ok(cassette.player(name.as_str(), Some(providers.info(name))))
            }
        }
    }
}
