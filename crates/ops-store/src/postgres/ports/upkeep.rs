//! The verbs of the engine's loops.

use ops_core::ports::{Configuration, Due, Fut, StoreError, StoreHealth, UpkeepStore};

use crate::postgres::{PostgresStore, listen::Look, queries::reads, verbs::sessions};

impl UpkeepStore for PostgresStore {
    fn expire_sessions(&self) -> Fut<'_, Result<u32, StoreError>> {
        Box::pin(async move {
            // Each look says once whether there is anything to do.
            let look = |look: &mut Look| std::mem::take(&mut look.has_expired);
            match self.shared.elsewhere.fresh(look) {
                Some(false) => Ok(0),
                Some(true) | None => self.work(Vec::new(), sessions::expire).await,
            }
        })
    }

    fn wake_due(&self, limit: u32) -> Fut<'_, Result<Due, StoreError>> {
        Box::pin(self.write(Vec::new(), move |write| write.wake_due(limit)))
    }

    fn correct_clocks(&self, limit: u32) -> Fut<'_, Result<u32, StoreError>> {
        Box::pin(self.write(Vec::new(), move |write| write.correct_clocks(limit)))
    }

    fn ready_queues(&self) -> Fut<'_, Result<Vec<String>, StoreError>> {
        Box::pin(async move {
            let look = |look: &mut Look| look.queues.clone();
            match self.shared.elsewhere.fresh(look) {
                Some(queues) => Ok(queues),
                None => self.read(reads::ready_queues).await,
            }
        })
    }

    fn served_queues(&self) -> Fut<'_, Result<Vec<String>, StoreError>> {
        Box::pin(async move {
            let look = |look: &mut Look| look.served.clone();
            match self.shared.elsewhere.fresh(look) {
                Some(queues) => Ok(queues),
                None => self.read(reads::served_queues).await,
            }
        })
    }

    fn worker_configurations(&self) -> Fut<'_, Result<Vec<Configuration>, StoreError>> {
        Box::pin(self.read(reads::worker_configurations))
    }

    fn health(&self) -> StoreHealth {
        self.condition()
    }
}
