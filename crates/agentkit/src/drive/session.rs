//! What a drive works with: the ports to the world around a run.

use std::{path::PathBuf, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::Recorder;
use crate::{
    event::{CallKey, StepId},
    model::{DeltaSink, NoDeltas},
    tool::BlobReader,
};

/// Randomness, as a parameter.
pub trait Random: Send + Sync {
    /// Sixteen random bytes.
    fn bytes(&self) -> [u8; 16];
}

/// The thread's random generator, which the system seeds.
#[derive(Debug, Clone, Copy)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn bytes(&self) -> [u8; 16] {
        rand::random()
    }
}

/// UTC now, as a parameter.
pub trait Clock: Send + Sync {
    /// Microseconds since 1970.
    fn now_micros(&self) -> i64;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the adapter that the others get it from"
    )]
    fn now_micros(&self) -> i64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| {
                i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
            })
    }
}

/// Passes on the words of answers while they are made.
pub trait Deltas: Send + Sync {
    /// The sink for one try of one model step.
    fn sink(&self, step: StepId, attempt: u32) -> Box<dyn DeltaSink>;
}

/// What a drive works with.
pub struct Session {
    /// Keeps the log.
    pub recorder: Arc<dyn Recorder>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Where keys of calls come from.
    pub random: Arc<dyn Random>,
    /// The folder of file tools.
    pub workspace: PathBuf,
    /// Where large results are read.
    pub blobs: Arc<dyn BlobReader>,
    /// Passes on words while they are made.
    pub deltas: Option<Arc<dyn Deltas>>,
    /// Fires when calls in flight are to be dropped.
    pub cancel: CancellationToken,
    /// When the log was read that the run is the fold of, in UTC microseconds; none if that is when
    /// the drive begins.
    pub read_micros: Option<i64>,
}

impl Session {
    /// A session that nobody cancels and nobody listens to.
    pub fn new(
        recorder: Arc<dyn Recorder>,
        clock: Arc<dyn Clock>,
        workspace: PathBuf,
        blobs: Arc<dyn BlobReader>,
    ) -> Self {
        let cancel = CancellationToken::new();
        Self {
            recorder,
            clock,
            random: Arc::new(SystemRandom),
            workspace,
            blobs,
            deltas: None,
            cancel,
            read_micros: None,
        }
    }

    /// A key for one more call.
    pub(super) fn call_key(&self) -> CallKey {
        CallKey::new(self.random.bytes())
    }

    pub(super) fn sink(&self, step: StepId, attempt: u32) -> Box<dyn DeltaSink> {
        self.deltas
            .as_ref()
            .map_or_else(|| Box::new(NoDeltas) as _, |to| to.sink(step, attempt))
    }
}
