//! The models that a run began with.

use agentkit::{event::Failure, run::RunConfig};
use units::{ModelName, model::ModelNameError};

/// The models that a run began with.
pub(super) fn recorded(config: &RunConfig) -> Result<Vec<ModelName>, Failure> {
    let names: Vec<&String> = match &*config.models {
        [] => vec![&config.model],
        models => models.iter().map(|model| &model.name).collect(),
    };
    let names = names.into_iter().map(|name| name.parse());
    names
        .collect::<Result<_, ModelNameError>>()
        .map_err(|error| Failure::passing("invalid_run", error.to_string()))
}
