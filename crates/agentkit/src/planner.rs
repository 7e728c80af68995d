//! Planners: what an agent does next, seen from the folded run.

use serde_json::Value;

use crate::{
    event::{Failure, FinishReason},
    run::{Run, Turn},
};

/// What a planner wants done next.
#[derive(Debug, Clone, PartialEq)]
pub enum PlanStep {
    /// Ask the model, with the conversation so far.
    AskModel,
    /// The run is done.
    FinalAnswer {
        /// The answer.
        output: Value,
    },
    /// The run cannot go on.
    Error {
        /// Why.
        error: Failure,
    },
}

/// Decides what is next whenever nothing is in flight. It is pure: it sees the run and nothing else.
pub trait Planner: Send + Sync {
    /// The name that configuration and log know it by.
    fn name(&self) -> &'static str;
    /// The next step.
    fn plan(&self, run: &Run) -> PlanStep;
}

/// The names that [`by_name`] knows.
pub const NAMES: [&str; 2] = ["react", "placeholder"];

/// The planner of a name, if there is one.
#[must_use]
pub fn by_name(name: &str) -> Option<std::sync::Arc<dyn Planner>> {
    match name {
        "react" => Some(std::sync::Arc::new(React)),
        "placeholder" => Some(std::sync::Arc::new(Placeholder)),
        _ => None,
    }
}

/// Reason and act on native tool calling: the model is asked until it answers without a call.
/// (Yao et al., "ReAct: Synergizing Reasoning and Acting in Language Models", 2022.)
#[derive(Debug, Clone, Copy)]
pub struct React;

impl Planner for React {
    fn name(&self) -> &'static str {
        "react"
    }

    fn plan(&self, run: &Run) -> PlanStep {
        match run.turn() {
            Turn::Answered { text, finish } => match finish {
                FinishReason::Stop | FinishReason::ToolCalls => PlanStep::FinalAnswer {
                    output: Value::String(text.clone()),
                },
                FinishReason::Length => PlanStep::Error {
                    error: Failure::last(
                        "answer_cut",
                        "the model's answer was cut at its output limit; raise \
                         `limits.max_output_tokens`, or ask for less",
                    ),
                },
                FinishReason::ContentFilter => PlanStep::Error {
                    error: Failure::last(
                        "model_content_filter",
                        "the provider withheld the answer; rephrase the goal",
                    ),
                },
            },
            Turn::Open => PlanStep::AskModel,
        }
    }
}

/// Makes no model call: it answers with the goal, to try everything around an agent.
#[derive(Debug, Clone, Copy)]
pub struct Placeholder;

impl Planner for Placeholder {
    fn name(&self) -> &'static str {
        "placeholder"
    }

    fn plan(&self, run: &Run) -> PlanStep {
        PlanStep::FinalAnswer {
            output: Value::String(format!(
                "placeholder planner, no model was asked: {}",
                run.goal()
            )),
        }
    }
}
