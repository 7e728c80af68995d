//! Events: the envelope that the engine reads, and the engine's own bodies.
//!
//! A run's body is opaque here. What a surface shows of one are the presentation keys `name`,
//! `input`, `output` and `error` at the top of its JSON object, if it has them.

use serde::{Deserialize, Serialize};

pub use crate::usage::Usage;
use crate::{
    id::{SessionId, TaskId},
    task::Wait,
    time::Micros,
};

/// The version that this crate writes in its own bodies.
pub const VERSION: u16 = 1;

/// An event before it has a number: the envelope and its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// The body's type, for instance `model.completed`.
    pub kind: String,
    /// The step that it belongs to, if it belongs to one.
    pub step: Option<StepMark>,
    /// What it used.
    pub usage: Usage,
    /// SHA-256 digests, in hex, of the blobs that the body refers to.
    pub blobs: Vec<String>,
    /// A JSON object with `type` and `v`.
    pub body: Vec<u8>,
}

/// An event as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its number within the task: gapless from 1.
    pub seq: u64,
    /// When it was committed.
    pub at: Micros,
    /// The event.
    pub event: NewEvent,
}

/// Which step an event belongs to, and what it says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepMark {
    /// The step's number within the run.
    pub number: u32,
    /// What the step is.
    pub kind: StepKind,
    /// What the event says of it.
    pub status: StepStatus,
    /// What repeating it does.
    pub effect: EffectClass,
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant,)*
        }
        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name as it is stored and shown.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// The value of this name, if there is one.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == name)
            }
        }
    };
}

named! {
    /// What a step is.
    StepKind {
        /// A model call.
        Model = "model",
        /// A tool call.
        Tool = "tool",
    }
}
named! {
    /// What an event says of its step.
    StepStatus {
        /// Known, but not begun: it has no intent yet.
        Queued = "queued",
        /// Its intent is recorded; it may have taken effect.
        Started = "started",
        /// It returned.
        Completed = "completed",
        /// It failed.
        Failed = "failed",
        /// Somebody decided what became of it, or that it runs again.
        Resolved = "resolved",
    }
}
named! {
    /// What repeating a step does.
    EffectClass {
        /// Changes nothing.
        Pure = "pure",
        /// Leaves the same state however often it runs.
        Idempotent = "idempotent",
        /// Anything else: never repeated silently.
        Write = "write",
    }
}

/// An error as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskError {
    /// Stable, in `snake_case`.
    pub code: String,
    /// What happened, why, and how to mend it.
    pub message: String,
}

/// What becomes of a step that was in doubt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "resolution", rename_all = "snake_case")]
pub enum Resolution {
    /// It took effect and returned this.
    Done {
        /// What the model is told it returned.
        output: serde_json::Value,
    },
    /// It did not take effect, and is not tried again.
    Failed {
        /// What the model is told.
        message: String,
    },
    /// It did not take effect; it runs again.
    Retry,
}

/// The engine's own events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum TaskEvent {
    /// It was accepted.
    #[serde(rename = "task.submitted")]
    Submitted {
        /// The task type.
        task_type: String,
        /// The task that it does again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_of: Option<TaskId>,
        /// When it may start, if that is later.
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
    /// It waits.
    #[serde(rename = "task.waiting")]
    Waiting {
        /// For what.
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
    /// It is cancelled.
    #[serde(rename = "task.cancelled")]
    Cancelled {},
    /// It ended with a result.
    #[serde(rename = "task.completed")]
    Completed {},
    /// It ended without one.
    #[serde(rename = "task.failed")]
    Failed {
        /// Why.
        error: TaskError,
        /// Whether it was given up after all its attempts.
        dead_letter: bool,
    },
    /// Somebody decided what became of a step.
    #[serde(rename = "step.resolved")]
    Resolved {
        /// The step.
        step: u32,
        /// What was decided.
        #[serde(flatten)]
        resolution: Resolution,
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
    pub const TYPES: [&str; 12] = [
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
        #[derive(Serialize)]
        struct Versioned<'a> {
            v: u16,
            #[serde(flatten)]
            event: &'a TaskEvent,
        }
        let step = match self {
            Self::Resolved { step, .. } => Some(StepMark {
                number: *step,
                kind: StepKind::Tool,
                status: StepStatus::Resolved,
                effect: EffectClass::Write,
            }),
            Self::Submitted { .. }
            | Self::Leased { .. }
            | Self::Released { .. }
            | Self::LeaseLost { .. }
            | Self::Waiting { .. }
            | Self::Woken {}
            | Self::RetryScheduled { .. }
            | Self::CancelRequested {}
            | Self::Cancelled {}
            | Self::Completed {}
            | Self::Failed { .. } => None,
        };
        NewEvent {
            kind: self.kind().to_owned(),
            step,
            usage: Usage::default(),
            blobs: Vec::new(),
            body: serde_json::to_vec(&Versioned {
                v: VERSION,
                event: self,
            })
            .expect("an event has string keys only, so it always serialises"),
        }
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
