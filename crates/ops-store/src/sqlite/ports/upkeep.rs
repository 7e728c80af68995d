//! The verbs of the engine's loops.

use ops_core::ports::{Due, Fut, StoreError, StoreHealth, UpkeepStore};

use crate::sqlite::{
    error::{NO_SPACE, free_bytes},
    queries::reads,
    store::SqliteStore,
    verbs::leases,
};

impl UpkeepStore for SqliteStore {
    fn expire_sessions(&self) -> Fut<'_, Result<u32, StoreError>> {
        Box::pin(async move {
            let mut ended = 0;
            for session in self.sessions.expire(self.clock.boot_micros()) {
                self.end_session(session).await?;
                ended += 1;
            }
            Ok(ended)
        })
    }

    fn wake_due(&self, limit: u32) -> Fut<'_, Result<Due, StoreError>> {
        Box::pin(self.write(move |batch| leases::wake_due(batch, limit)))
    }

    fn correct_clocks(&self, limit: u32) -> Fut<'_, Result<u32, StoreError>> {
        Box::pin(self.write(move |batch| leases::correct_clocks(batch, limit)))
    }

    fn ready_queues(&self) -> Fut<'_, Result<Vec<String>, StoreError>> {
        Box::pin(self.readers.read(reads::ready_queues))
    }

    fn health(&self) -> StoreHealth {
        let mut warnings = self.condition.warnings();
        if let Some(free) = free_bytes(self.dir()).filter(|free| *free < NO_SPACE) {
            warnings.push(format!(
                "{free} bytes are free in {}; writes will fail soon",
                self.dir().display()
            ));
        }
        StoreHealth {
            failure: self.condition.failure(),
            warnings,
        }
    }
}
