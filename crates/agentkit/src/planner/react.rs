//! Reason and act: the model is asked until it answers without a call.
//!
//! Yao et al., "ReAct: Synergizing Reasoning and Acting in Language Models", 2022.

use serde_json::Value;

use super::{Dialect, PlanStep, Planner};
use crate::{
    event::{Failure, FinishReason},
    run::{Run, Turn},
};

/// With native tool calling.
#[derive(Debug, Clone, Copy)]
pub struct React;

/// With calls that are written as text, for models that have no tool calling.
#[derive(Debug, Clone, Copy)]
pub struct ReactText;

impl Planner for React {
    fn name(&self) -> &'static str {
        "react"
    }

    fn plan(&self, run: &Run) -> PlanStep {
        plan(run)
    }
}

impl Planner for ReactText {
    fn name(&self) -> &'static str {
        "react_text"
    }

    fn plan(&self, run: &Run) -> PlanStep {
        plan(run)
    }

    fn dialect(&self) -> Dialect {
        Dialect::Text
    }
}

/// The failure of a run whose model does not come to the end of an answer.
pub(crate) fn answer_cut() -> Failure {
    Failure::last(
        "answer_cut",
        "the model's answer was cut, at its output limit or at the end of its context; raise \
         `limits.max_output_tokens`, ask for less in one answer, or use a model with a larger context",
    )
}

pub(super) fn plan(run: &Run) -> PlanStep {
    let Turn::Answered {
        text,
        finish,
        answer,
    } = run.turn()
    else {
        return PlanStep::CallModel;
    };
    let error = match finish {
        FinishReason::Stop | FinishReason::ToolCalls => {
            let words = || Value::String(text.clone());
            return PlanStep::FinalAnswer {
                output: answer.clone().unwrap_or_else(words),
            };
        }
        FinishReason::Length => answer_cut(),
        FinishReason::ContentFilter => Failure::last(
            "model_content_filter",
            "the provider withheld the answer; rephrase the goal, or name a model to fall back on",
        ),
    };
    PlanStep::Error { error }
}
