//! The other outlets of a run: stored values, and the words of an answer while it is made.

use std::sync::{Arc, atomic::AtomicU64};

use agentkit::{
    BoxFuture,
    event::{Failure, StepId},
    model::DeltaSink,
    tool::BlobReader,
};
use bytes::Bytes;

use super::TaskRecorder;
use crate::live_sink::LiveSink;

impl BlobReader for TaskRecorder {
    fn read<'a>(
        &'a self,
        digest: &'a str,
        offset: u64,
        len: u64,
    ) -> BoxFuture<'a, Result<Bytes, Failure>> {
        Box::pin(async move {
            match self.store.value(self.tenant, digest, offset, len).await {
                Ok(bytes) => Ok(bytes.into()),
                Err(error) => Err(Failure::passing("result_not_found", error.to_string())),
            }
        })
    }
}

impl agentkit::drive::Deltas for TaskRecorder {
    fn sink(&self, step: StepId, attempt: u32) -> Box<dyn DeltaSink> {
        Box::new(LiveSink {
            live: Arc::clone(&self.live),
            tenant: self.tenant,
            task: self.task,
            step: step.0,
            attempt,
            offset: AtomicU64::new(0),
        })
    }
}
