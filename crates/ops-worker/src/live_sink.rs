//! Passes on the words of an answer while the answer is made.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use agentkit::model::DeltaSink;
use ops_core::{
    TaskId, TenantId,
    ports::{Delta, Live},
};

pub(crate) struct LiveSink {
    pub(crate) live: Arc<dyn Live>,
    pub(crate) tenant: TenantId,
    pub(crate) task: TaskId,
    pub(crate) step: u32,
    pub(crate) attempt: u32,
    pub(crate) offset: AtomicU64,
}

impl DeltaSink for LiveSink {
    fn text(&self, delta: &str) {
        let offset = self.offset.fetch_add(delta.len() as u64, Ordering::SeqCst);
        let delta = Delta {
            step: self.step,
            attempt: self.attempt,
            offset,
            text: delta.into(),
        };
        self.live.delta(self.tenant, self.task, delta);
    }
}
