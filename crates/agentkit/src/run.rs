//! The sans-IO run machine: a run is the fold of its events, and `next` gives the next effect.

mod children;
mod clock;
mod conversation;
mod effects;
mod external;
mod fold;
mod ledger;
mod machine;
mod next;
mod order;
mod phase;
mod question;
mod recollection;
mod results;
mod segment;
mod signals;

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use self::order::{Stage, Unsettled, may_begin};
pub use self::{
    children::Child,
    conversation::{Refused, Turn},
    effects::{EffectOfCall, EffectOutcome, Effects},
    fold::FoldError,
    next::Next,
    phase::{CallState, Progress},
};
use self::{
    children::Children, conversation::Conversation, ledger::Ledger, machine::MachineCalls,
    phase::Phase, recollection::Recollection, results::Results, signals::Signals,
};
pub use crate::config::{
    DEFAULT_REASKS, Exhaustion, Limits, MemoryConfig, OutputConfig, PinnedModel, PinnedTool,
    RunConfig,
};
use crate::{
    Goal,
    event::{CallPurpose, Failure, Handle, Plan, StepId, Usage},
    memory::Window,
    model::Message,
};

/// The version of the fold: a snapshot of another version is ignored, and the log is folded again.
pub const FOLD_VERSION: u32 = 10;

/// A run: the fold of its events. Each part changes by its own methods; the fold says which events
/// reach which parts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    goal: String,
    config: Option<RunConfig>,
    /// Limits that the run got before its begin.
    early_limits: Option<Limits>,
    last_step: u32,
    phase: Phase,
    machine: MachineCalls,
    conversation: Conversation,
    chain: Chain,
    ledger: Ledger,
    results: Results,
    files: BTreeMap<String, Option<String>>,
    effects: Effects,
    children: Children,
    signals: Signals,
    /// Calls to long-term memory.
    #[serde(default, skip_serializing_if = "Recollection::is_default")]
    recollection: Recollection,
}

/// Where the run is in its chain of models.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Chain {
    /// The index of the model in use, from 0. Two entries of an older chain may share a name, so a name
    /// does not say which of them is in use.
    index: usize,
    /// Failed calls of the model in use since its last answer.
    failures: u32,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// With an answer.
    Completed(Value),
    /// Without an answer.
    Failed(Failure),
}

impl Run {
    /// The goal; empty before `run.started`.
    #[must_use]
    pub fn goal(&self) -> &str {
        &self.goal
    }

    /// Whether a run that has begun has this goal.
    #[must_use]
    pub fn began_with(&self, goal: &Goal) -> bool {
        // The goal is pinned at the beginning of the conversation, with its images.
        let first = self
            .memory()
            .messages()
            .iter()
            .find_map(|message| match &**message {
                Message::User { images, .. } => Some(images),
                Message::System { .. } | Message::Assistant { .. } | Message::Tool { .. } => None,
            });
        self.goal == goal.text && first.is_some_and(|images| *images == goal.images)
    }

    /// The definition that the run is pinned to, once it has started.
    #[must_use]
    pub fn config(&self) -> Option<&RunConfig> {
        self.config.as_ref()
    }

    /// The conversation.
    #[must_use]
    pub fn memory(&self) -> &Window {
        &self.conversation.memory
    }

    /// Where the conversation stands.
    #[must_use]
    pub fn turn(&self) -> &Turn {
        &self.conversation.turn
    }

    /// The last unusable answer, until a usable answer comes.
    #[must_use]
    pub fn refused(&self) -> Option<&Refused> {
        self.conversation.refused.as_ref()
    }

    /// How often the model has answered.
    #[must_use]
    pub fn answers(&self) -> u32 {
        self.conversation.answers
    }

    /// The plan, with a planner that makes plans.
    #[must_use]
    pub fn plan(&self) -> Option<&Plan> {
        self.conversation.plan.as_ref()
    }

    /// Usage of the recorded model calls.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.ledger.usage()
    }

    /// Tokens that count against the budget: used tokens, tokens charged for calls without a known outcome,
    /// and tokens of child tasks.
    #[must_use]
    pub fn charged_tokens(&self) -> u64 {
        self.ledger.spent().tokens
    }

    /// Micro-USD that count against the budget, likewise.
    #[must_use]
    pub fn charged_cost_micros(&self) -> u64 {
        self.ledger.spent().cost_micros
    }

    /// The model in use; empty before `run.started`.
    #[must_use]
    pub fn model(&self) -> &str {
        let first = || self.config.as_ref().map(|config| config.model.as_str());
        let pinned = self.pinned_model().map(|model| model.name.as_str());
        pinned.or_else(first).unwrap_or_default()
    }

    /// The index of the model in use in the chain that the run began with, from 0.
    #[must_use]
    pub fn model_index(&self) -> usize {
        self.chain.index
    }

    /// The model that goes on where the model in use cannot, if the chain has another model.
    #[must_use]
    pub fn next_model(&self) -> Option<&str> {
        let chain = &self.config.as_ref()?.models;
        let next = chain.get(self.chain.index + 1)?;
        Some(&next.name)
    }

    /// Facts about the model in use when the run began.
    pub(crate) fn pinned_model(&self) -> Option<&PinnedModel> {
        self.config.as_ref()?.models.get(self.chain.index)
    }

    /// Failed calls of the model in use since its last answer.
    #[must_use]
    pub fn model_failures(&self) -> u32 {
        self.chain.failures
    }

    /// Failure of the model call that is tried again next; `None` unless the last call failed.
    #[must_use]
    pub fn failure_to_retry(&self) -> Option<&Failure> {
        match &self.phase {
            Phase::Retrying(failed) => failed.error.as_ref(),
            Phase::Deciding { .. } | Phase::Asking(_) | Phase::Calling(_) | Phase::Ended(_) => None,
        }
    }

    /// The number of the last step.
    #[must_use]
    pub fn last_step(&self) -> StepId {
        StepId(self.last_step)
    }

    /// The calls of the turn that is being worked on, in the model's order.
    #[must_use]
    pub fn calls(&self) -> &[CallState] {
        self.phase.calls()
    }

    /// The call of a step of the turn that is being worked on.
    #[must_use]
    pub fn call(&self, step: StepId) -> Option<&CallState> {
        self.calls().iter().find(|state| state.call.step == step)
    }

    /// The calls that the machine itself makes and that have no outcome yet.
    #[must_use]
    pub fn machine_calls(&self) -> &[CallState] {
        self.machine.all()
    }

    pub(crate) fn machine_call(&self, step: StepId) -> Option<&CallState> {
        self.machine.get(step)
    }

    /// The machine's call that is for this, if it has no outcome yet.
    pub(crate) fn machine_call_for(&self, purpose: CallPurpose) -> Option<&CallState> {
        self.machine.for_purpose(purpose)
    }

    /// A step as the limit on steps counts it: calls of the machine's own do not count.
    pub(crate) fn counted_step(&self, step: StepId) -> u32 {
        step.0.saturating_sub(self.ledger.machine_steps())
    }

    /// Large results that are kept whole in the blob store and that the model has been told of.
    #[must_use]
    pub fn results(&self) -> &Arc<BTreeMap<StepId, Handle>> {
        self.results.known()
    }

    /// The child tasks that it began, by id.
    #[must_use]
    pub fn children(&self) -> &BTreeMap<String, Child> {
        self.children.all()
    }

    /// The files that the run's tools wrote: path and digest, `None` for a removed file.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<String, Option<String>> {
        &self.files
    }

    /// The record of calls that changed something.
    #[must_use]
    pub fn effects(&self) -> &Effects {
        &self.effects
    }

    /// The run's end, once the run has ended.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.phase {
            Phase::Ended(outcome) => Some(outcome),
            Phase::Deciding { .. } | Phase::Asking(_) | Phase::Retrying(_) | Phase::Calling(_) => {
                None
            }
        }
    }
}
