//! Whether the store can work, published by the writer.

use std::{path::PathBuf, sync::Mutex};

use ops_core::ports::StoreError;

use crate::sqlite::writer::inbox::lock;

/// Other files on the disk come and go.
const MORE: u64 = 64 << 10;

/// Problems of a store.
#[derive(Debug, Default)]
pub(crate) struct Condition {
    /// Why writes fail and how many bytes were free then: since the last one failed, until one succeeds.
    failing: Mutex<Option<(StoreError, Option<u64>)>>,
    /// Events before the store was opened, each with a file that stays until the operator has dealt with
    /// the event.
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
        let failure = lock(&self.failing).clone();
        failure
            .map(|(error, _)| error)
            .filter(|_| !units::mutant!("ops-store.ready_while_full"))
    }

    /// Warnings that the operator has not dealt with yet.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let open = self.warnings.iter().filter(|(file, _)| file.exists());
        open.map(|(_, warning)| warning.clone()).collect()
    }

    /// Notes that a write failed with so many bytes free; says whether that is new.
    pub(crate) fn fail(&self, error: StoreError, free: Option<u64>) -> bool {
        lock(&self.failing).replace((error, free)).is_none()
    }

    /// Whether a write is worth a try. On a full disk a page of the log can be written over again and
    /// again, which proves no space for the next task: there must be more space than when a write failed.
    pub(crate) fn may_recover(&self, free: Option<u64>) -> bool {
        match &*lock(&self.failing) {
            Some((StoreError::Full(_), Some(before))) => {
                free.is_none_or(|free| free > before.saturating_add(MORE))
            }
            Some(_) | None => true,
        }
    }

    /// Notes that a write succeeded; tells whether the previous write had failed.
    pub(crate) fn recover(&self) -> bool {
        lock(&self.failing).take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // engine/E7: a page that fits once more is no sign that tasks do.
    #[test]
    fn a_full_disk_is_tried_again_once_there_is_more_space() {
        let condition = Condition::default();
        assert!(condition.fail(StoreError::Full(String::new()), Some(10_000)));
        assert!(!condition.may_recover(Some(10_000)) && !condition.may_recover(Some(50_000)));
        assert!(condition.may_recover(Some(200_000)) && condition.may_recover(None));
        assert!(!condition.fail(StoreError::Unavailable(String::new()), Some(10_000)));
        assert!(condition.may_recover(Some(10_000)));
        assert!(condition.recover() && !condition.recover());
    }
}
