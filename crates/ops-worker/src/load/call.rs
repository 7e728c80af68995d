//! A run as of the intent of a model call.

use agentkit::{
    Event,
    event::{ModelStarted, StepId},
    run::{Limits, Run},
};
use ops_core::ports::{RunStore, TaskRecord};

use super::{LoadError, PAGE, event_of};
use crate::{external::World, run::started};

/// The most bytes of a log that are folded for one answer.
const MAX_LOG: usize = 128 << 20;

/// The run up to the intent of a model call, and the intent. Of a step with several attempts the last attempt counts.
/// `None` for a log without such a call. The log is folded from its beginning.
///
/// # Errors
/// An unreadable or inconsistent log, or a log of more than 128 MiB before the call.
pub async fn at_model_call(
    store: &dyn RunStore,
    record: &TaskRecord,
    limits: &Limits,
    step: u32,
) -> Result<Option<(Run, ModelStarted)>, LoadError> {
    let world = World {
        store,
        tenant: record.task.tenant,
        limits,
        started: started(record).0,
    };
    let (mut run, mut seq, mut bytes) = (Run::default(), 0, 0_usize);
    let mut found = None;
    loop {
        let events = store.log(world.tenant, record.task.id, seq, PAGE).await?;
        if events.is_empty() {
            return Ok(found);
        }
        for stored in &events {
            if stored.seq != seq + 1 {
                return Err(LoadError::Missing(seq + 1));
            }
            seq = stored.seq;
            bytes = bytes.saturating_add(stored.event.body.len());
            if bytes > MAX_LOG {
                return Err(LoadError::TooLarge(MAX_LOG));
            }
            let Some(event) = event_of(stored, &mut run, &world).await? else {
                continue;
            };
            if let Event::ModelStarted(intent) = &event {
                if intent.step > StepId(step) {
                    return Ok(found);
                }
                if intent.step == StepId(step) {
                    found = Some((run.clone(), intent.clone()));
                }
            }
            run.apply(&event)
                .map_err(|error| LoadError::Fold { seq, error })?;
        }
    }
}
