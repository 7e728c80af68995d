//! The configurations of the processes on one store.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use serde::{Deserialize, Serialize};

/// The configuration of a process: a digest of each part, never a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// The process, for people: machine and process id.
    pub process: String,
    /// The release. Digests of different releases cannot be compared.
    pub release: String,
    /// Digests in hex by the name of the part: `policy`, `budgets`.
    pub parts: BTreeMap<String, String>,
}

/// The configuration of this process, which a reload replaces.
#[derive(Debug, Clone, Default)]
pub struct CurrentConfiguration(Arc<RwLock<Arc<Configuration>>>);

impl CurrentConfiguration {
    /// The configuration at the start.
    #[must_use]
    pub fn new(configuration: Configuration) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(configuration))))
    }

    /// The configuration of now.
    #[must_use]
    pub fn get(&self) -> Arc<Configuration> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes another configuration.
    pub fn replace(&self, configuration: Configuration) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(configuration);
    }
}
