//! Envelopes for the events of a run: the part that the engine reads.

use std::collections::HashMap;

use agentkit::{
    Event,
    event::{GateDecision, Resolution, StepId},
    run::Run,
    tool::Effect,
};
use ops_core::{
    Micros, WaitRequest,
    event::{EffectClass, NewEvent, StepKind, StepMark, StepStatus, TaskError, Usage},
};

/// The effect classes of the calls of a run, by step: later events of a call do not repeat them.
pub(crate) type Effects = HashMap<u32, EffectClass>;

/// The wait of a run for a time: a delay before a further try if a model call has failed. The call may have failed in an
/// earlier attempt of the task, so the run says why, and not the events that are recorded with the wait.
pub(crate) fn timer(until: Micros, run: Option<&Run>) -> WaitRequest {
    let failed = run.and_then(Run::failure_to_retry);
    let failed = failed.filter(|_| !units::mutant!("ops-worker.a_wait_without_its_reason"));
    match failed {
        Some(failure) => WaitRequest::Retry {
            until,
            error: TaskError {
                code: failure.code.clone(),
                message: failure.message.clone(),
            },
        },
        None => WaitRequest::Timer { until },
    }
}

/// The envelope of an event of a run.
pub(crate) fn envelope(event: &Event, effects: &mut Effects) -> NewEvent {
    let (step, usage) = match event {
        Event::RunStarted(_)
        | Event::WaitStarted(_)
        | Event::SignalReceived(_)
        | Event::ChildEnded(_)
        | Event::MessageAdded(_)
        | Event::LimitsChanged(_)
        | Event::SegmentOpened(_)
        | Event::PlanUpdated(_)
        | Event::ToolProbed(_)
        | Event::ToolEscalated(_)
        | Event::RunCompleted(_)
        | Event::RunFailed(_) => (None, Usage::default()),
        Event::ModelStarted(event) => (model(event.step, StepStatus::Started), Usage::default()),
        Event::ModelCompleted(event) => {
            let usage = Usage {
                input_tokens: event.usage.input_tokens,
                output_tokens: event.usage.output_tokens,
                cost_micros: event.usage.cost_micros,
            };
            (model(event.step, StepStatus::Completed), usage)
        }
        Event::ModelFailed(event) => (model(event.step, StepStatus::Failed), Usage::default()),
        Event::ToolCalled(event) => {
            effects.insert(event.step.0, class(event.effect));
            let status = match &event.decision {
                GateDecision::Start => StepStatus::Started,
                GateDecision::Queue => StepStatus::Queued,
                GateDecision::Ask { .. } => StepStatus::Waiting,
                GateDecision::Refuse { .. } => StepStatus::Failed,
            };
            (tool(event.step, status, effects), Usage::default())
        }
        Event::ToolStarted(event) => (
            tool(event.step, StepStatus::Started, effects),
            Usage::default(),
        ),
        Event::ToolWaiting(event) => (
            tool(event.step, StepStatus::Waiting, effects),
            Usage::default(),
        ),
        Event::ToolCompleted(event) => (
            tool(event.step, StepStatus::Completed, effects),
            Usage::default(),
        ),
        Event::ToolFailed(event) => (
            tool(event.step, StepStatus::Failed, effects),
            Usage::default(),
        ),
        Event::ToolResolved(event) => {
            let status = match &event.resolution {
                Resolution::Done { .. } | Resolution::Failed { .. } => StepStatus::Resolved,
                Resolution::Retry => StepStatus::Queued,
            };
            (tool(event.step, status, effects), Usage::default())
        }
        Event::ToolApproved(event) => (
            tool(event.step, StepStatus::Queued, effects),
            Usage::default(),
        ),
        Event::ToolDenied(event) => (
            tool(event.step, StepStatus::Failed, effects),
            Usage::default(),
        ),
        Event::ToolReset(event) => (
            tool(event.step, StepStatus::Queued, effects),
            Usage::default(),
        ),
    };
    let blobs = match event {
        Event::ToolCompleted(event) => {
            let files = event.files.iter().filter_map(|file| file.digest.clone());
            event
                .handle
                .iter()
                .map(|handle| handle.digest.clone())
                .chain(files)
                .chain(
                    event
                        .parts
                        .iter()
                        .filter_map(|part| Some(part.media()?.digest.clone())),
                )
                .collect()
        }
        _ => Vec::new(),
    };
    NewEvent {
        kind: event.kind().to_owned(),
        step,
        usage,
        blobs,
        body: event.encode().into(),
    }
}

fn model(step: StepId, status: StepStatus) -> Option<StepMark> {
    // A model call changes nothing that it could repeat: it is made again and charged again.
    let effect = EffectClass::Pure;
    Some(StepMark {
        number: step.0,
        kind: StepKind::Model,
        status,
        effect,
    })
}

fn tool(step: StepId, status: StepStatus, effects: &Effects) -> Option<StepMark> {
    let unknown = match units::mutant!("ops-worker.an_unknown_call_is_pure") {
        true => EffectClass::Pure,
        false => EffectClass::Write,
    };
    let effect = effects.get(&step.0).copied().unwrap_or(unknown);
    Some(StepMark {
        number: step.0,
        kind: StepKind::Tool,
        status,
        effect,
    })
}

/// The class of an effect as the engine names it.
pub(crate) fn class(effect: Effect) -> EffectClass {
    match effect {
        Effect::Pure => EffectClass::Pure,
        Effect::Idempotent => EffectClass::Idempotent,
        Effect::Keyed => EffectClass::Keyed,
        Effect::Write => EffectClass::Write,
    }
}

#[cfg(test)]
mod tests {
    use agentkit::event::ToolFailed;

    use super::*;

    /// tests/X12: an unknown call may have had any effect.
    #[test]
    fn a_call_of_an_unknown_class_is_a_write() {
        let failed = Event::ToolFailed(ToolFailed {
            step: StepId(7),
            error: agentkit::event::Failure::last("x", "y"),
        });
        let mut effects = Effects::new();
        let effect = |effects: &mut Effects| envelope(&failed, effects).step.unwrap().effect;
        assert_eq!(effect(&mut effects), EffectClass::Write);
        effects.insert(7, EffectClass::Pure);
        assert_eq!(effect(&mut effects), EffectClass::Pure);
    }
}
