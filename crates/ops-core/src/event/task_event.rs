//! The engine's own events.

use serde::{Deserialize, Serialize};

use super::{EffectClass, NewEvent, Resolution, StepKind, StepMark, StepStatus, TaskError, Usage};
use crate::{
    actor::Actor,
    id::{SessionId, TaskId},
    task::{StateName, TaskLimits, Wait},
    time::Micros,
};

/// The version that this crate writes in its own bodies.
pub const VERSION: u16 = 1;

/// How a child ended, as its parent is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildEnd {
    /// The child.
    pub child: TaskId,
    /// `completed`, `failed` or `cancelled`.
    pub state: StateName,
    /// Its result, unless that is large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
    /// Where its result is, if it is large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<StoredResult>,
    /// Why the child failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TaskError>,
    /// Usage of the child, the child's own children included.
    pub used: Usage,
}

/// A large result in the blob store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredResult {
    /// SHA-256 of its JSON, in hex.
    pub digest: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// The engine's own events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum TaskEvent {
    /// The engine accepted the task.
    #[serde(rename = "task.submitted")]
    Submitted {
        /// The task type.
        task_type: String,
        /// The task that it does again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_of: Option<TaskId>,
        /// The task that started it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<TaskId>,
        /// Earliest start, for a delayed task.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run_at: Option<Micros>,
    },
    /// A worker took it.
    #[serde(rename = "task.leased")]
    Leased {
        /// The worker's session.
        session: SessionId,
        /// The lease's epoch.
        epoch: u64,
        /// The attempt.
        attempt: u32,
    },
    /// A worker that stops gave it back.
    #[serde(rename = "task.released")]
    Released {
        /// The lease's epoch.
        epoch: u64,
    },
    /// Its worker is gone; the attempt goes on elsewhere.
    #[serde(rename = "task.lease_lost")]
    LeaseLost {
        /// The lease's epoch.
        epoch: u64,
        /// Losses in a row.
        losses: u32,
    },
    /// The task waits.
    #[serde(rename = "task.waiting")]
    Waiting {
        /// The condition that the task waits for.
        wait: Wait,
    },
    /// Its wait or delay is over.
    #[serde(rename = "task.woken")]
    Woken {},
    /// An attempt failed; a further one follows.
    #[serde(rename = "task.retry_scheduled")]
    RetryScheduled {
        /// The attempt that follows.
        attempt: u32,
        /// When.
        until: Micros,
        /// Why the last one failed.
        error: TaskError,
    },
    /// A cancel was accepted; the worker has not confirmed yet.
    #[serde(rename = "task.cancel_requested")]
    CancelRequested {},
    /// The task is cancelled.
    #[serde(rename = "task.cancelled")]
    Cancelled {},
    /// The task ended with a result.
    #[serde(rename = "task.completed")]
    Completed {},
    /// The task ended without a result.
    #[serde(rename = "task.failed")]
    Failed {
        /// Why.
        error: TaskError,
        /// Whether all attempts of the task were used up.
        dead_letter: bool,
    },
    /// A pause was requested.
    #[serde(rename = "task.paused")]
    Paused {},
    /// A resume was requested.
    #[serde(rename = "task.resumed")]
    Resumed {},
    /// A signal for the run was accepted.
    #[serde(rename = "task.signalled")]
    Signalled {
        /// Name of the call that waits for the signal.
        name: String,
        /// The call's return value.
        payload: serde_json::Value,
    },
    /// A client changed the limits of the run.
    #[serde(rename = "task.limited")]
    Limited {
        /// The changed limits.
        limits: TaskLimits,
    },
    /// The clock was ahead when the last event was written, and was set back since.
    #[serde(rename = "task.clock_corrected")]
    ClockCorrected {
        /// The time of the last event.
        from: Micros,
        /// The time that the clock shows now.
        to: Micros,
    },
    /// A child ended.
    #[serde(rename = "task.child_ended")]
    ChildEnded(ChildEnd),
    /// The log began as a copy of another task's log: the copy is the events before this one.
    #[serde(rename = "task.forked")]
    Forked {
        /// The other task.
        from: TaskId,
        /// The first step that is done anew.
        step: u32,
    },
    /// A message to the model was added to a forked log.
    #[serde(rename = "task.noted")]
    Noted {
        /// The message.
        content: String,
    },
    /// A client approved a pending step.
    #[serde(rename = "step.approved")]
    Approved {
        /// The step.
        step: u32,
        /// The arguments, if they were edited.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<serde_json::Value>,
        /// Who.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// A client denied a pending step.
    #[serde(rename = "step.denied")]
    Denied {
        /// The step.
        step: u32,
        /// Why.
        reason: String,
        /// Who.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// A client edited a pending step's arguments; the step still needs approval.
    #[serde(rename = "step.edited")]
    Edited {
        /// The step.
        step: u32,
        /// The arguments.
        input: serde_json::Value,
        /// Who.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// A step of a forked log is done anew.
    #[serde(rename = "step.reset")]
    Reset {
        /// The step.
        step: u32,
        /// The arguments, if they were edited.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<serde_json::Value>,
    },
    /// A client settled a step that was in doubt.
    #[serde(rename = "step.resolved")]
    Resolved {
        /// The step.
        step: u32,
        /// The decision.
        #[serde(flatten)]
        resolution: Resolution,
        /// Who decided.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
}

/// A body that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not an event body.
    #[error("event body is not valid")]
    Malformed(#[source] serde_json::Error),
    /// A newer release wrote it.
    #[error("event `{kind}` version {version} is not known to this release; use a newer one")]
    Unknown {
        /// The type.
        kind: String,
        /// The version.
        version: u16,
    },
}

impl TaskEvent {
    /// Every type that this release knows.
    pub const TYPES: [&str; 24] = [
        "task.submitted",
        "task.leased",
        "task.released",
        "task.lease_lost",
        "task.waiting",
        "task.woken",
        "task.retry_scheduled",
        "task.cancel_requested",
        "task.cancelled",
        "task.completed",
        "task.failed",
        "task.paused",
        "task.resumed",
        "task.signalled",
        "task.limited",
        "task.clock_corrected",
        "task.child_ended",
        "task.forked",
        "task.noted",
        "step.approved",
        "step.denied",
        "step.edited",
        "step.reset",
        "step.resolved",
    ];

    /// The body's `type`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Submitted { .. } => "task.submitted",
            Self::Leased { .. } => "task.leased",
            Self::Released { .. } => "task.released",
            Self::LeaseLost { .. } => "task.lease_lost",
            Self::Waiting { .. } => "task.waiting",
            Self::Woken {} => "task.woken",
            Self::RetryScheduled { .. } => "task.retry_scheduled",
            Self::CancelRequested {} => "task.cancel_requested",
            Self::Cancelled {} => "task.cancelled",
            Self::Completed {} => "task.completed",
            Self::Failed { .. } => "task.failed",
            Self::Paused {} => "task.paused",
            Self::Resumed {} => "task.resumed",
            Self::Signalled { .. } => "task.signalled",
            Self::Limited { .. } => "task.limited",
            Self::ClockCorrected { .. } => "task.clock_corrected",
            Self::ChildEnded(_) => "task.child_ended",
            Self::Forked { .. } => "task.forked",
            Self::Noted { .. } => "task.noted",
            Self::Approved { .. } => "step.approved",
            Self::Denied { .. } => "step.denied",
            Self::Edited { .. } => "step.edited",
            Self::Reset { .. } => "step.reset",
            Self::Resolved { .. } => "step.resolved",
        }
    }

    /// Whether an event of this type is the engine's, so that [`Self::decode`] reads its body.
    #[must_use]
    pub fn is_engine(kind: &str) -> bool {
        Self::TYPES.contains(&kind)
    }

    /// The event with its envelope.
    #[must_use]
    pub fn envelope(&self) -> NewEvent {
        self.envelope_by(None)
    }

    /// The event with its envelope, and in its body the actor who asked for it.
    #[must_use]
    pub fn envelope_by(&self, actor: Option<&Actor>) -> NewEvent {
        #[derive(Serialize)]
        struct Versioned<'a> {
            v: u16,
            #[serde(skip_serializing_if = "Option::is_none")]
            actor: Option<&'a Actor>,
            #[serde(flatten)]
            event: &'a TaskEvent,
        }
        let mark = |step: u32, status| {
            Some(StepMark {
                number: step,
                kind: StepKind::Tool,
                status,
                effect: EffectClass::Write,
            })
        };
        let step = match self {
            Self::Resolved { step, .. } => mark(*step, StepStatus::Resolved),
            Self::Approved { step, .. } | Self::Reset { step, .. } => {
                mark(*step, StepStatus::Queued)
            }
            Self::Edited { step, .. } => mark(*step, StepStatus::Waiting),
            Self::Denied { step, .. } => mark(*step, StepStatus::Failed),
            Self::Submitted { .. }
            | Self::Leased { .. }
            | Self::Released { .. }
            | Self::LeaseLost { .. }
            | Self::Waiting { .. }
            | Self::Woken {}
            | Self::RetryScheduled { .. }
            | Self::CancelRequested {}
            | Self::Cancelled {}
            | Self::Paused {}
            | Self::Resumed {}
            | Self::Signalled { .. }
            | Self::Limited { .. }
            | Self::ClockCorrected { .. }
            | Self::ChildEnded(_)
            | Self::Forked { .. }
            | Self::Noted { .. }
            | Self::Completed {}
            | Self::Failed { .. } => None,
        };
        let blobs = match self {
            Self::ChildEnded(end) => end
                .stored
                .iter()
                .map(|stored| stored.digest.clone())
                .collect(),
            _ => Vec::new(),
        };
        NewEvent {
            kind: self.kind().to_owned(),
            step,
            usage: Usage::default(),
            blobs,
            body: serde_json::to_vec(&Versioned {
                v: VERSION,
                actor,
                event: self,
            })
            .expect("an event has string keys only, so it always serialises")
            .into(),
        }
    }

    /// The actor of an event of the engine; `None` if the engine itself acted, or a release without actors
    /// wrote the event.
    #[must_use]
    pub fn actor(bytes: &[u8]) -> Option<Actor> {
        #[derive(Deserialize)]
        struct Head {
            actor: Option<Actor>,
        }
        let head = serde_json::from_slice::<Head>(bytes).ok()?;
        head.actor
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    /// [`DecodeError::Unknown`] names a type or version of a newer release.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        #[derive(Deserialize)]
        struct Head {
            v: u16,
            r#type: String,
        }
        let head: Head = serde_json::from_slice(bytes).map_err(DecodeError::Malformed)?;
        if head.v != VERSION || !Self::is_engine(&head.r#type) {
            return Err(DecodeError::Unknown {
                kind: head.r#type,
                version: head.v,
            });
        }
        serde_json::from_slice(bytes).map_err(DecodeError::Malformed)
    }
}

#[cfg(test)]
mod tests;
