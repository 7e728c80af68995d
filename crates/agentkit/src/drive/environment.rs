//! The environment of a drive: the ports to the world around a run.

use std::{path::PathBuf, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::Recorder;
use crate::{
    event::{CallKey, StepId, Wait},
    model::{DeltaSink, NoDeltas},
    tool::{BlobReader, TreeWorkspaces},
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
pub trait RunClock: Send + Sync {
    /// Microseconds since 1970.
    fn now_micros(&self) -> i64;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl RunClock for SystemClock {
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

/// The environment of a drive.
pub struct DriveEnvironment {
    /// Keeps the log.
    pub recorder: Arc<dyn Recorder>,
    /// Tells the time.
    pub clock: Arc<dyn RunClock>,
    /// Where keys of calls come from.
    pub random: Arc<dyn Random>,
    /// The folder of file tools.
    pub workspace: PathBuf,
    /// Workspaces of the task's tree.
    pub tree: TreeWorkspaces,
    /// Where large results are read.
    pub blobs: Arc<dyn BlobReader>,
    /// Passes on words while they are made.
    pub deltas: Option<Arc<dyn Deltas>>,
    /// Fires when calls in flight are to be dropped.
    pub cancel: CancellationToken,
    /// When the log of the run was read, in UTC microseconds; `None` for the begin of the drive.
    pub read_micros: Option<i64>,
}

impl DriveEnvironment {
    /// An environment without cancellation and without a reader of deltas.
    pub fn new(
        recorder: Arc<dyn Recorder>,
        clock: Arc<dyn RunClock>,
        workspace: PathBuf,
        blobs: Arc<dyn BlobReader>,
    ) -> Self {
        let cancel = CancellationToken::new();
        Self {
            recorder,
            clock,
            random: Arc::new(SystemRandom),
            tree: TreeWorkspaces::alone(workspace.clone()),
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

/// Sleeps until a timer wait is over; returns at once for any other wait.
pub async fn sleep_through(wait: &Wait, environment: &DriveEnvironment) {
    match wait {
        Wait::Timer { until_micros } => {
            let left = until_micros.saturating_sub(environment.clock.now_micros());
            let left = std::time::Duration::from_micros(u64::try_from(left).unwrap_or(0));
            tokio::time::sleep(left).await;
        }
        Wait::InDoubt { .. }
        | Wait::Approval { .. }
        | Wait::Signal { .. }
        | Wait::Children { .. }
        | Wait::Budget { .. } => {}
    }
}
