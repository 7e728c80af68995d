//! Loading a run: the newest snapshot and the log after it.

mod call;

use agentkit::{
    Event,
    event::DecodeError,
    run::{FOLD_VERSION, FoldError, Run},
};
use ops_core::{
    StoredEvent, TaskId,
    event::{self as core, TaskEvent},
    ports::StoreError,
};

pub use self::call::at_model_call;
use crate::{
    external::{self, World},
    snapshot::SnapshotPolicy,
};

/// Events that are read at once.
const PAGE: u32 = 1_000;

/// Why a run could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
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
    /// The log has a hole, or ends before the task's last event.
    #[error("event {0} is missing")]
    Missing(u64),
    /// The log has more bytes than are folded for one answer.
    #[error("the log has more than {0} bytes before the call")]
    TooLarge(usize),
}

impl LoadError {
    /// Whether the store failed to answer: the store may answer later.
    pub(crate) fn is_of_the_store(&self) -> bool {
        match self {
            Self::Store(StoreError::Unreadable(_)) => false,
            Self::Store(_) => true,
            Self::Run(_)
            | Self::Engine(_)
            | Self::Fold { .. }
            | Self::Missing(_)
            | Self::TooLarge(_) => false,
        }
    }

    /// Whether another release of the program may be able to read the log.
    pub(crate) fn is_of_newer_release(&self) -> bool {
        match self {
            Self::Run(DecodeError::Unknown { .. })
            | Self::Engine(core::DecodeError::Unknown { .. }) => true,
            Self::Store(_)
            | Self::Run(_)
            | Self::Engine(_)
            | Self::Fold { .. }
            | Self::Missing(_)
            | Self::TooLarge(_) => false,
        }
    }
}

/// The fold of a task's log, and how far that is from its last snapshot. `last` is the number of the
/// last event that the task had when it was leased; others may have logged more since.
///
/// The numbers of the events are checked, not trusted: a run that lacks one event goes on as if that
/// step had never been, calls tools again, and ends `completed` with a wrong answer.
pub(crate) async fn load(
    world: &World<'_>,
    task: TaskId,
    last: u64,
) -> Result<(Run, SnapshotPolicy), LoadError> {
    let (store, tenant) = (world.store, world.tenant);
    let snapshot = match store.snapshot(tenant, task).await {
        // One that cannot be read is as good as none: the log is the truth.
        Err(StoreError::Unreadable(_)) => None,
        read => read?,
    };
    let usable = snapshot
        .filter(|snapshot| {
            let is_ours = snapshot.version == FOLD_VERSION;
            (is_ours || units::mutant!("ops-worker.any_snapshot")) && snapshot.seq <= last
        })
        .and_then(|snapshot| {
            // Likewise.
            let run = serde_json::from_slice::<Run>(&snapshot.body).ok()?;
            Some((
                run,
                snapshot.seq,
                SnapshotPolicy::after(snapshot.body.len()),
            ))
        });
    let (mut run, mut seq, mut snapshots) = usable.unwrap_or_default();
    loop {
        let events = store.log(tenant, task, seq, PAGE).await?;
        if events.is_empty() {
            break;
        }
        for stored in &events {
            if stored.seq != seq + 1 && !units::mutant!("ops-worker.lost_event") {
                return Err(LoadError::Missing(seq + 1));
            }
            seq = stored.seq;
            snapshots.note(&stored.event);
            if let Some(event) = event_of(stored, &mut run, world).await? {
                run.apply(&event).map_err(|error| LoadError::Fold {
                    seq: stored.seq,
                    error,
                })?;
            }
        }
    }
    if seq < last {
        return Err(LoadError::Missing(seq + 1));
    }
    Ok((run, snapshots))
}

/// What a stored event says to the run so far. A corrected clock changes the run by itself.
async fn event_of(
    stored: &StoredEvent,
    run: &mut Run,
    world: &World<'_>,
) -> Result<Option<Event>, LoadError> {
    if !TaskEvent::is_engine(&stored.event.kind) {
        return Ok(Some(Event::decode(&stored.event.body)?));
    }
    let event = TaskEvent::decode(&stored.event.body)?;
    if let TaskEvent::ClockCorrected { from, to } = event {
        run.clock_corrected(from.0, to.0);
    }
    Ok(external::from_engine(event, run, world).await?)
}

#[cfg(test)]
mod tests;
