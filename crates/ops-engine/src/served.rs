//! The queues that workers serve: the worker of this process, and live workers of others.

use std::{
    collections::BTreeSet,
    sync::{MutexGuard, PoisonError},
};

use ops_core::rules::configuration::{Difference, differences};

use crate::{Engine, Error};

impl Engine {
    /// Whether a live worker serves a queue. A queue that was taken out of the configuration may still have
    /// tasks.
    #[must_use]
    pub fn serves(&self, queue: &str) -> bool {
        let own = self.settings.works && self.settings.queues.contains(queue);
        own || self.served_elsewhere().contains(queue)
    }

    /// Whether tasks are accepted for a queue.
    pub(crate) fn knows(&self, queue: &str) -> bool {
        self.settings.queues.contains(queue) || self.served_elsewhere().contains(queue)
    }

    /// The queues that tasks are accepted for: those that are configured, and those that live workers serve.
    pub(crate) fn known_queues(&self) -> BTreeSet<String> {
        let served = self.served_elsewhere();
        self.settings.queues.union(&served).cloned().collect()
    }

    /// Asks the store which queues are served. While the store fails, the last answer holds.
    pub(crate) async fn look_for_workers(&self) {
        match self.upkeep.served_queues().await {
            Ok(queues) => *self.served_elsewhere() = queues.into_iter().collect(),
            Err(error) => tracing::debug!(%error, "the store does not say which queues are served"),
        }
    }

    /// Asks the store, if nobody is known to serve a queue.
    pub(crate) async fn look_for_worker_of(&self, queue: &str) {
        if !self.knows(queue) {
            self.look_for_workers().await;
        }
    }

    /// The queues whose tasks are ready, and that no worker serves.
    ///
    /// # Errors
    /// A code of the storage.
    pub async fn unserved_queues(&self) -> Result<Vec<String>, Error> {
        let mut queues = self.upkeep.ready_queues().await?;
        if queues.iter().any(|queue| !self.serves(queue)) {
            self.look_for_workers().await;
        }
        queues.retain(|queue| !self.serves(queue));
        Ok(queues)
    }

    /// The live workers of other processes whose configurations differ from that of this process.
    ///
    /// # Errors
    /// A code of the storage.
    pub async fn workers_that_differ(&self) -> Result<Vec<Difference>, Error> {
        let own = self.settings.configuration.get();
        let mut workers = self.upkeep.worker_configurations().await?;
        workers.retain(|worker| worker.process != own.process);
        Ok(differences(&own, &workers))
    }

    fn served_elsewhere(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
