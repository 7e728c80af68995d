//! The verbs of the engine's loops.

use std::collections::BTreeSet;

use ops_core::{
    State,
    ports::{Due, Fut, StoreError, UpkeepStore},
};

use crate::{
    ports::runs::end_session,
    store::{MemoryStore, ready},
};

impl UpkeepStore for MemoryStore {
    fn expire_sessions(&self) -> Fut<'_, Result<u32, StoreError>> {
        let boot = self.clock.boot_micros();
        ready(self.write(|write| {
            let expired = write.rows.sessions.expired(boot);
            for session in &expired {
                end_session(write, *session)?;
            }
            Ok(u32::try_from(expired.len()).unwrap_or(u32::MAX))
        }))
    }

    fn wake_due(&self, limit: u32) -> Fut<'_, Result<Due, StoreError>> {
        ready(self.write(|write| write.wake_due(limit)))
    }

    fn correct_clocks(&self, limit: u32) -> Fut<'_, Result<u32, StoreError>> {
        ready(self.write(|write| write.correct_clocks(limit)))
    }

    fn ready_queues(&self) -> Fut<'_, Result<Vec<String>, StoreError>> {
        let queues: BTreeSet<String> = self.read(|data| {
            let rows = data.tasks.values().map(|row| &row.record);
            let ready = rows.filter(|row| matches!(row.life.state, State::Pending { .. }));
            ready.map(|row| row.task.queue.clone()).collect()
        });
        ready(Ok(queues.into_iter().collect()))
    }
}
