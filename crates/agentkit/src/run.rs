//! The sans-IO run machine: a run is the fold of its events, and `next` says what to do.

mod fold;
mod next;
mod order;
mod outside;
mod segment;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use self::order::{Stage, Unsettled, may_begin};
use self::segment::Size;
pub use self::{fold::FoldError, next::Next};
pub use crate::config::{
    DEFAULT_REASKS, Exhaustion, Limits, MemoryConfig, OutputConfig, PinnedModel, PinnedTool,
    RunConfig,
};
use crate::{
    event::{
        CallWait, ChildResult, Failure, FinishReason, Handle, ModelStarted, Plan, Purpose, StepId,
        ToolCalled, Usage, Verdict,
    },
    memory::Window,
};

/// The version of the fold: a snapshot of another one is folded again from the log.
pub const FOLD_VERSION: u32 = 6;

/// A run: the fold of its events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    goal: String,
    config: Option<RunConfig>,
    memory: Window,
    size: Size,
    /// The calls of the last answer, until all of them are settled.
    calls: Vec<CallState>,
    /// How many calls the last answer asked for.
    expected_calls: usize,
    /// The last turn, if it ended with a call that the gate had refused and nothing has followed: a
    /// fork may do that call anew.
    closed: Option<ClosedTurn>,
    turn: Turn,
    /// The model call whose outcome is not recorded.
    model: Option<ModelStarted>,
    /// The last try of the model step that is to be made again.
    failed_model: Option<FailedCall>,
    /// Failed calls of the model in use since the last one that answered.
    model_failures: u32,
    /// The model in use, if it is not the first of the chain.
    #[serde(default)]
    fallback: Option<String>,
    /// Turns in a row whose calls were all invalid, or that said nothing.
    repairs: u32,
    /// The last answer that cannot be used, until there is one that can.
    #[serde(default)]
    refused: Option<Refused>,
    /// How often the model has answered.
    #[serde(default)]
    answers: u32,
    #[serde(default)]
    plan: Option<Plan>,
    last_step: u32,
    usage: Usage,
    /// Tokens charged for calls whose usage is not known.
    charged_tokens: u64,
    /// Shared with the calls in flight; none is when a turn ends, so it need not be copied then.
    results: Arc<BTreeMap<StepId, Handle>>,
    /// Those of the turn that is being worked on: the model has not seen them yet.
    new_results: Vec<(StepId, Handle)>,
    /// Micro-USD charged for calls whose price is not known.
    #[serde(default)]
    charged_cost_micros: u64,
    files: BTreeMap<String, Option<String>>,
    children: BTreeMap<String, Child>,
    /// Tokens that count against the budget for child tasks.
    children_tokens: u64,
    /// Micro-USD, likewise.
    #[serde(default)]
    children_cost_micros: u64,
    /// Signals that no call has taken, by name, the oldest first.
    signals: BTreeMap<String, VecDeque<Value>>,
    /// What a person added while calls were open; the model reads it after their results.
    added: Vec<String>,
    /// Limits that it was given before it had begun.
    #[serde(default)]
    early_limits: Option<Limits>,
    outcome: Option<Outcome>,
}

/// A model call that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FailedCall {
    step: StepId,
    attempt: u32,
    purpose: Purpose,
    /// Before this time, in UTC microseconds, its provider wants no other try.
    #[serde(default)]
    retry_at_micros: Option<i64>,
}

/// A turn whose calls are settled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ClosedTurn {
    calls: Vec<CallState>,
    /// The run's `repairs` before it.
    repairs: u32,
}

/// A child task that a run began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// The call that began it.
    pub step: StepId,
    /// Tokens that count for it: those set aside until it has ended, those it used from then on.
    pub tokens: u64,
    /// Micro-USD that count for it, likewise.
    #[serde(default)]
    pub cost_micros: u64,
    /// How it ended, once it has.
    pub result: Option<ChildResult>,
}

/// Where the conversation stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// It is the model's turn.
    #[default]
    Open,
    /// The model answered without asking for a call.
    Answered {
        /// Its words.
        text: String,
        /// Why it stopped.
        finish: FinishReason,
        /// The run's answer as it was read, where it is not the words themselves.
        #[serde(default)]
        answer: Option<Value>,
    },
}

/// An answer that cannot be used. The model sees the last one and no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Its words, or the beginning of them.
    pub text: String,
    /// What is wrong with it.
    pub error: Failure,
    /// How many such answers came in a row.
    pub count: u32,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// With an answer.
    Completed(Value),
    /// Without one.
    Failed(Failure),
}

/// A tool call and how far it got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallState {
    /// The call as it was recorded.
    pub call: ToolCalled,
    /// How far it got.
    pub progress: Progress,
    /// How often it was begun.
    pub tries: u32,
    /// Whether a person changed the arguments that the model gave.
    pub edited: bool,
}

impl CallState {
    /// Whether it needed a person's leave.
    pub(crate) fn was_asked(&self) -> bool {
        matches!(self.call.verdict, Verdict::Ask { .. })
    }
}

/// How far a tool call got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// It has no intent.
    Queued,
    /// It has not happened in this run, a fork of another: the gate judges it anew.
    Reset,
    /// It waits for somebody's approval, and has no intent.
    Asked {
        /// When it fails without one, in UTC microseconds.
        until_micros: Option<i64>,
    },
    /// Somebody approved it; it has no intent.
    Approved,
    /// Its intent is recorded, its outcome is not.
    Started {
        /// The try, from 1.
        attempt: u32,
    },
    /// What it began is recorded; its result comes from outside.
    Waiting {
        /// What it waits for.
        wait: CallWait,
    },
    /// Its outcome is recorded.
    Settled {
        /// What the model is told.
        content: String,
        /// Whether it failed.
        is_error: bool,
    },
}

impl Run {
    /// The goal; empty before `run.started`.
    #[must_use]
    pub fn goal(&self) -> &str {
        &self.goal
    }

    /// The definition that the run is pinned to, once it has started.
    #[must_use]
    pub fn config(&self) -> Option<&RunConfig> {
        self.config.as_ref()
    }

    /// The conversation.
    #[must_use]
    pub fn memory(&self) -> &Window {
        &self.memory
    }

    /// Where the conversation stands.
    #[must_use]
    pub fn turn(&self) -> &Turn {
        &self.turn
    }

    /// The last answer that cannot be used, until there is one that can.
    #[must_use]
    pub fn refused(&self) -> Option<&Refused> {
        self.refused.as_ref()
    }

    /// How often the model has answered.
    #[must_use]
    pub fn answers(&self) -> u32 {
        self.answers
    }

    /// The plan, with a planner that makes one.
    #[must_use]
    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// What the recorded model calls used.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Tokens that count against the budget: those used, those charged for calls whose outcome is
    /// not known, and those of child tasks.
    #[must_use]
    pub fn charged_tokens(&self) -> u64 {
        self.usage
            .total_tokens()
            .saturating_add(self.charged_tokens)
            .saturating_add(self.children_tokens)
    }

    /// Micro-USD that count against the budget, likewise.
    #[must_use]
    pub fn charged_cost_micros(&self) -> u64 {
        self.usage
            .cost_micros
            .saturating_add(self.charged_cost_micros)
            .saturating_add(self.children_cost_micros)
    }

    /// The model in use; empty before `run.started`.
    #[must_use]
    pub fn model(&self) -> &str {
        let first = self.config.as_ref().map(|config| config.model.as_str());
        self.fallback.as_deref().or(first).unwrap_or_default()
    }

    /// The model that goes on where the one in use cannot, if the chain has one.
    #[must_use]
    pub fn next_model(&self) -> Option<&str> {
        let chain = &self.config.as_ref()?.models;
        let at = chain.iter().position(|model| model.name == self.model())?;
        chain.get(at + 1).map(|model| model.name.as_str())
    }

    /// What was known of the model in use when the run began.
    fn pinned_model(&self) -> Option<&PinnedModel> {
        let chain = &self.config.as_ref()?.models;
        chain.iter().find(|model| model.name == self.model())
    }

    /// Failed calls of the model in use since the last one that answered.
    #[must_use]
    pub fn model_failures(&self) -> u32 {
        self.model_failures
    }

    /// The number of the last step.
    #[must_use]
    pub fn last_step(&self) -> StepId {
        StepId(self.last_step)
    }

    /// The calls of the turn that is being worked on, in the model's order.
    #[must_use]
    pub fn calls(&self) -> &[CallState] {
        &self.calls
    }

    /// The call of a step of the turn that is being worked on.
    #[must_use]
    pub fn call(&self, step: StepId) -> Option<&CallState> {
        self.calls.iter().find(|state| state.call.step == step)
    }

    /// Large results that are kept whole in the blob store and that the model has been told of.
    #[must_use]
    pub fn results(&self) -> &Arc<BTreeMap<StepId, Handle>> {
        &self.results
    }

    /// The child tasks that it began, by id.
    #[must_use]
    pub fn children(&self) -> &BTreeMap<String, Child> {
        &self.children
    }

    /// The files that its tools wrote: path and digest, none for a removed one.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<String, Option<String>> {
        &self.files
    }

    /// How it ended, once it has.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }
}
