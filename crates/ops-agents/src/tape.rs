//! The cassette, if configured.

use std::sync::Arc;

use agentkit::{
    Model,
    event::Failure,
    model::cassette::{Cassette, Redactor},
};
use units::ModelName;

use crate::{
    factory::FactoryError,
    providers::Providers,
    settings::{CassetteMode, Settings},
};

/// Use of the answers of models.
pub(crate) enum Tape {
    /// No cassette.
    Off,
    /// They are kept.
    Record(Cassette),
    /// They come from the cassette, and no model is called.
    Replay(Cassette),
}

impl Tape {
    pub(crate) fn new(settings: &Settings) -> Result<Self, FactoryError> {
        let Some(cassette) = &settings.cassette else {
            return Ok(Self::Off);
        };
        let redactor = Redactor::new(cassette.redact.iter().map(String::as_str))
            .map_err(FactoryError::Redact)?
            .secrets(cassette.secrets.iter().cloned());
        let folder = cassette.folder.clone();
        Ok(match cassette.mode {
            CassetteMode::Record => {
                Self::Record(Cassette::record(folder, redactor).map_err(FactoryError::Cassette)?)
            }
            CassetteMode::Replay => {
                Self::Replay(Cassette::replay(folder, redactor).map_err(FactoryError::Cassette)?)
            }
        })
    }

    /// Whether models are called.
    pub(crate) fn calls(&self) -> bool {
        !matches!(self, Self::Replay(_))
    }

    /// The client of a model, recorded or replayed.
    pub(crate) fn model(
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
