//! Whether the store can do its work, told by the writer to whoever asks.

use std::{path::PathBuf, sync::Mutex};

use ops_core::ports::StoreError;

use crate::sqlite::writer::inbox::lock;

/// What is wrong with a store.
#[derive(Debug, Default)]
pub(crate) struct Condition {
    /// Why writes fail: since the last one failed, until one succeeds.
    failing: Mutex<Option<StoreError>>,
    /// What happened before the store was opened, each with a file that is there until somebody has seen
    /// to it.
    warnings: Vec<(PathBuf, String)>,
}

impl Condition {
    pub(crate) fn new(warnings: Vec<(PathBuf, String)>) -> Self {
        Self {
            failing: Mutex::default(),
            warnings,
        }
    }

    pub(crate) fn is_failing(&self) -> bool {
        lock(&self.failing).is_some()
    }

    /// Why writes fail, if they do.
    pub(crate) fn failure(&self) -> Option<StoreError> {
        lock(&self.failing).clone()
    }

    /// What somebody has to see to, as far as nobody has by now.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let open = self.warnings.iter().filter(|(file, _)| file.exists());
        open.map(|(_, warning)| warning.clone()).collect()
    }

    /// Notes that a write failed; says whether that is new.
    pub(crate) fn fail(&self, error: StoreError) -> bool {
        lock(&self.failing).replace(error).is_none()
    }

    /// Notes that a write succeeded; says whether the last one had not.
    pub(crate) fn recover(&self) -> bool {
        lock(&self.failing).take().is_some()
    }
}
