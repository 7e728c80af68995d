//! Translates the engine's events about a run into the run's events.

use agentkit::{
    Event,
    event::{
        ChildEnded, ChildResult, Failure, Handle, LimitsChanged, MessageAdded, Resolution,
        SignalReceived, StepId, ToolApproved, ToolDenied, ToolReset, ToolResolved,
    },
    run::{Exhaustion, Limits, Run},
};
use ops_core::{
    TaskId, TenantId,
    event::{self as core, ChildEnd, TaskEvent},
    ports::{RunStore, StoreError},
    task::{OnExhausted, StateName, TaskLimits},
};
use serde_json::Value;

/// How much of a large result the model is shown, in bytes.
const PREVIEW_LIMIT: u64 = 8 << 10;

/// Context for the translation of an event.
pub(crate) struct World<'a> {
    pub(crate) store: &'a dyn RunStore,
    pub(crate) tenant: TenantId,
    /// The limits of the task as it was submitted: a fork keeps to its own, not to the other's.
    pub(crate) limits: &'a Limits,
    /// When the task first started, in UTC microseconds: its timeout counts from there.
    pub(crate) started: i64,
}

/// The run's event for an engine event; `None` if the event does not concern the run.
pub(crate) async fn from_engine(
    event: TaskEvent,
    run: &Run,
    world: &World<'_>,
) -> Result<Option<Event>, StoreError> {
    Ok(Some(match event {
        TaskEvent::Resolved {
            step, resolution, ..
        } => Event::ToolResolved(ToolResolved {
            step: StepId(step),
            resolution: match resolution {
                core::Resolution::Done { output } => Resolution::Done { output },
                core::Resolution::Failed { message } => Resolution::Failed { message },
                core::Resolution::Retry => Resolution::Retry,
            },
        }),
        TaskEvent::Approved { step, input, by } => Event::ToolApproved(ToolApproved {
            step: StepId(step),
            input,
            by,
        }),
        TaskEvent::Denied { step, reason, by } => Event::ToolDenied(ToolDenied {
            step: StepId(step),
            reason,
            by,
        }),
        TaskEvent::Reset { step, input } => Event::ToolReset(ToolReset {
            step: StepId(step),
            input,
        }),
        TaskEvent::Signalled { name, payload } => {
            Event::SignalReceived(SignalReceived { name, payload })
        }
        TaskEvent::Noted { content } => Event::MessageAdded(MessageAdded { content }),
        TaskEvent::Forked { .. } => Event::LimitsChanged(LimitsChanged {
            limits: world.limits.clone(),
        }),
        TaskEvent::Limited { limits } => Event::LimitsChanged(LimitsChanged {
            limits: over(
                run.config().map_or(world.limits, |config| &config.limits),
                limits,
                world.started,
            ),
        }),
        TaskEvent::ChildEnded(end) => Event::ChildEnded(child_ended(end, world).await?),
        TaskEvent::Submitted { .. }
        | TaskEvent::Leased { .. }
        | TaskEvent::Released { .. }
        | TaskEvent::LeaseLost { .. }
        | TaskEvent::Waiting { .. }
        | TaskEvent::Woken {}
        | TaskEvent::RetryScheduled { .. }
        | TaskEvent::CancelRequested {}
        | TaskEvent::Cancelled {}
        | TaskEvent::Paused {}
        | TaskEvent::Resumed {}
        | TaskEvent::Edited { .. }
        | TaskEvent::ClockCorrected { .. }
        | TaskEvent::Completed {}
        | TaskEvent::Failed { .. } => return Ok(None),
    }))
}

/// A run's limits, with the named limits replaced. `started` is the task's first start, in UTC
/// microseconds.
pub(crate) fn over(now: &Limits, limits: TaskLimits, started: i64) -> Limits {
    let deadline = limits
        .timeout_micros
        .map(|timeout| started.saturating_add(timeout));
    Limits {
        max_steps: limits.max_steps.unwrap_or(now.max_steps),
        max_tokens: limits.max_tokens.or(now.max_tokens),
        max_cost_micros: limits.max_cost_micros.or(now.max_cost_micros),
        deadline_micros: deadline.or(now.deadline_micros),
        on_exhausted: limits.on_exhausted.map_or(now.on_exhausted, exhaustion),
        ..now.clone()
    }
}

/// The limits of a run as the engine knows them. `started` as in [`over`].
pub(crate) fn in_force(limits: &Limits, started: i64) -> TaskLimits {
    TaskLimits {
        max_steps: Some(limits.max_steps),
        max_tokens: limits.max_tokens,
        max_cost_micros: limits.max_cost_micros,
        timeout_micros: limits
            .deadline_micros
            .map(|end| end.saturating_sub(started)),
        queue_timeout_micros: None,
        on_exhausted: Some(match limits.on_exhausted {
            Exhaustion::Fail => OnExhausted::Fail,
            Exhaustion::Wait => OnExhausted::Wait,
        }),
    }
}

/// The run's behaviour where a limit is used up.
#[must_use]
pub fn exhaustion(on_exhausted: OnExhausted) -> Exhaustion {
    match on_exhausted {
        OnExhausted::Fail => Exhaustion::Fail,
        OnExhausted::Wait => Exhaustion::Wait,
    }
}

async fn child_ended(end: ChildEnd, world: &World<'_>) -> Result<ChildEnded, StoreError> {
    let used = end.used;
    let result = match (end.state, end.result, end.stored, end.error) {
        (StateName::Cancelled, ..) => ChildResult::Cancelled,
        (_, Some(result), ..) => ChildResult::Completed {
            output: answer(result),
            handle: None,
        },
        (_, None, Some(stored), _) => {
            let bytes = world
                .store
                .value(world.tenant, &stored.digest, 0, PREVIEW_LIMIT)
                .await
                .map_err(|error| gone(error, &end.child))?;
            ChildResult::Completed {
                output: String::from_utf8_lossy(&bytes).into(),
                handle: Some(Handle {
                    digest: stored.digest,
                    bytes: stored.bytes,
                }),
            }
        }
        (_, None, None, Some(error)) => ChildResult::Failed {
            error: Failure::last(&error.code, error.message),
        },
        (_, None, None, None) => ChildResult::Failed {
            error: Failure::last("run_failed", "it ended without a result"),
        },
    };
    Ok(ChildEnded {
        task: end.child.to_string(),
        result,
        used_tokens: used.input_tokens.saturating_add(used.output_tokens),
        used_cost_micros: used.cost_micros,
    })
}

/// A result that the log names and the store does not have is damage.
fn gone(error: StoreError, child: &TaskId) -> StoreError {
    match error {
        StoreError::NotFound => {
            StoreError::Unreadable(format!("the large result of {child} is missing"))
        }
        other => other,
    }
}

/// A result that consists of an answer alone is shown as the answer.
fn answer(result: Value) -> Value {
    match result {
        Value::Object(mut map) if map.len() == 1 && map.contains_key("answer") => {
            map.remove("answer").unwrap_or_default()
        }
        other => other,
    }
}
