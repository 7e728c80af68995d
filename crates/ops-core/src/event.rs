//! Events: the envelope that the engine reads, and the engine's own bodies.
//!
//! A run's body is opaque here. Surfaces show the presentation keys `name`, `input`, `output`, `parts`,
//! `error` and `initiator` at the top of a body's JSON object. A fork reads two keys more (see
//! [`crate::rules::fork`]): the outcome of a tool call that started a child names the child in
//! `child.task`, and the first event of a call that the machine made by itself says `"initiator":
//! "machine"`.

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
    /// The event's step, if the event belongs to a step.
    pub step: Option<StepMark>,
    /// Tokens and money used by the event's call.
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
    /// Time of the commit.
    pub at: Micros,
    /// The event.
    pub event: NewEvent,
}

/// The step of an event, and the step's status after the event.
///
/// Steps are numbered in the order in which they begin, and a model step begins only when every step before
/// it is over: the events of one turn, which are a model step and the tool steps of its calls, lie together
/// in the log. So reading a page of steps costs in proportion to the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepMark {
    /// The step's number within the run.
    pub number: u32,
    /// Kind of the step.
    pub kind: StepKind,
    /// Status after the event.
    pub status: StepStatus,
    /// Effect of a repetition.
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

            /// The value of this name; `None` for an unknown name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == name)
            }
        }
    };
}

pub(crate) use named;

named! {
    /// Kind of a step.
    StepKind {
        /// A model call.
        Model = "model",
        /// A tool call.
        Tool = "tool",
    }
}
named! {
    /// Status of a step after an event.
    StepStatus {
        /// Known, but not begun: the step has no intent yet.
        Queued = "queued",
        /// The intent is recorded; the call may have taken effect.
        Started = "started",
        /// The call returned.
        Completed = "completed",
        /// The call failed.
        Failed = "failed",
        /// Its result, or the leave to run it, comes from outside.
        Waiting = "waiting",
        /// A person decided about a step in doubt, or asked for another run of the step.
        Resolved = "resolved",
    }
}
named! {
    /// Effect of repeating a step.
    EffectClass {
        /// No effect.
        Pure = "pure",
        /// Leaves the same state however often it runs.
        Idempotent = "idempotent",
        /// Changes the world once for each key of a call: the call is repeated with the same key.
        Keyed = "keyed",
        /// Any other effect: never repeated silently.
        Write = "write",
    }
}

/// An error as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskError {
    /// Stable, in `snake_case`.
    pub code: String,
    /// The problem, its cause and its remedy.
    pub message: String,
}

/// Decision about a step in doubt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "resolution", rename_all = "snake_case")]
pub enum Resolution {
    /// The call took effect and returned this output.
    Done {
        /// The return value to show the model.
        output: serde_json::Value,
    },
    /// The call did not take effect, and is not tried again.
    Failed {
        /// The message to show the model.
        message: String,
    },
    /// The call did not take effect; the step runs again.
    Retry,
}
