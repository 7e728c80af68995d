//! Events: the envelope that the engine reads, and the engine's own bodies.
//!
//! A run's body is opaque here. What a surface shows of one are the presentation keys `name`,
//! `input`, `output`, `parts`, `error` and `initiator` at the top of its JSON object, if it has them. A fork reads two keys
//! more (see [`crate::rules::fork`]): the outcome of a tool call that started a child names the child in
//! `child.task`, and the first event of a call that the machine made by itself says
//! `"initiator": "machine"`.

mod task_event;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::task_event::{ChildEnd, DecodeError, StoredResult, TaskEvent, VERSION};
use crate::time::Micros;
pub use crate::usage::Usage;

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
    /// A JSON object with `type` and `v`. Shared: an append may be tried more than once.
    pub body: Bytes,
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
///
/// Steps are numbered in the order in which they begin, and a model step begins only when every
/// step before it is over: the events of one turn, a model step and the tool steps that it asked
/// for, lie together in the log. So a page of steps costs what the page costs.
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

pub(crate) use named;

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
        /// Its result, or the leave to run it, comes from outside.
        Waiting = "waiting",
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
        /// Changes the world, once for each key of a call: it is repeated with the same key.
        Keyed = "keyed",
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
