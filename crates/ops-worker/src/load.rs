//! Loading a run: the newest snapshot and the log after it.

use agentkit::{
    Event,
    event::DecodeError,
    run::{FOLD_VERSION, FoldError, Run},
};
use ops_core::{
    TaskId,
    event::{self as core, TaskEvent},
    ports::{Snapshot, StoreError},
};

use crate::outside::{self, World};

/// Events that are read at once.
const PAGE: u32 = 1_000;
/// A log with more events than this after its last snapshot gets a new one.
const SNAPSHOT_AFTER: u64 = 256;

/// Why a run could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event of the run cannot be read.
    #[error(transparent)]
    Run(#[from] DecodeError),
    /// An event of the engine cannot be read.
    #[error(transparent)]
    Engine(#[from] core::DecodeError),
    /// The log is not lawful.
    #[error("event {seq}: {error}")]
    Fold {
        /// The event.
        seq: u64,
        /// Why.
        error: FoldError,
    },
}

impl LoadError {
    /// Whether another release of the program may be able to read the log.
    pub(crate) fn is_of_newer_release(&self) -> bool {
        match self {
            Self::Run(DecodeError::Unknown { .. })
            | Self::Engine(core::DecodeError::Unknown { .. }) => true,
            Self::Store(_) | Self::Run(_) | Self::Engine(_) | Self::Fold { .. } => false,
        }
    }
}

/// The fold of a task's log up to its last event.
pub(crate) async fn load(world: &World<'_>, task: TaskId) -> Result<Run, LoadError> {
    let (store, tenant) = (world.store, world.tenant);
    let snapshot = store.snapshot(tenant, task).await?;
    let usable = snapshot
        .filter(|snapshot| snapshot.version == FOLD_VERSION)
        .and_then(|snapshot| {
            // One that cannot be read is as good as none: the log is the truth.
            serde_json::from_slice::<Run>(&snapshot.body)
                .ok()
                .map(|run| (run, snapshot.seq))
        });
    let (mut run, start) = usable.unwrap_or_default();
    let mut seq = start;
    loop {
        let events = store.events(tenant, task, seq, PAGE).await?;
        let Some(last) = events.last() else { break };
        let end = last.seq;
        for stored in &events {
            let event = if TaskEvent::is_engine(&stored.event.kind) {
                outside::from_engine(TaskEvent::decode(&stored.event.body)?, world).await?
            } else {
                Some(Event::decode(&stored.event.body)?)
            };
            if let Some(event) = event {
                run.apply(&event).map_err(|error| LoadError::Fold {
                    seq: stored.seq,
                    error,
                })?;
            }
        }
        seq = end;
    }
    if seq - start > SNAPSHOT_AFTER
        && let Ok(body) = serde_json::to_vec(&run)
    {
        let snapshot = Snapshot {
            seq,
            version: FOLD_VERSION,
            body,
        };
        if let Err(error) = store.put_snapshot(tenant, task, snapshot).await {
            tracing::warn!(%task, %error, "no snapshot was kept; the next resume folds the log again");
        }
    }
    Ok(run)
}
