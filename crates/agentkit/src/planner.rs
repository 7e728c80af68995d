//! Planners: the next step of an agent, from the folded run.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod lenient;
mod output;
mod plan_execute;
mod react;
mod text;
mod thoughts;

use std::sync::Arc;

use serde_json::Value;
use units::nearest;

pub use self::{
    output::{OutputError, check_new_schema, check_schema},
    plan_execute::PlanExecute,
    react::{React, ReactText},
};
pub(crate) use self::{
    output::{as_instructions, held, refusal, too_many_refusals},
    plan_execute::plan_message,
    react::answer_cut,
    text::{Parsed, parse_reply, rewrite},
};
use crate::{
    event::{Failure, Plan, Purpose},
    model::ResponseSchema,
    run::Run,
};

/// The next step by a planner's choice.
#[derive(Debug, Clone, PartialEq)]
pub enum PlanStep {
    /// Ask the model, with the conversation so far.
    CallModel,
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

/// How the model is asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prompt {
    /// The call's purpose; recorded with the call.
    pub purpose: Purpose,
    /// Said at the end of the conversation, for this call only.
    pub closing_message: Option<String>,
    /// Schema of an answer without calls.
    pub schema: Option<ResponseSchema>,
}

/// Reading of an answer without calls.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// The answer of the run.
    Answer(Value),
    /// A plan, or the result of a plan's item: the run goes on.
    Plan(Plan),
    /// Unusable; the model gets the reason with another request.
    Refused(Failure),
}

/// How calls and answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// With the provider's own tool calling, unless the model table says that the model has no tool
    /// calling.
    Native,
    /// As text, with any model.
    Text,
}

/// Decides the next step whenever no call is in flight, and interprets the model's answers. A planner is
/// pure: its only input is the run. The reading of an answer is recorded and never computed again.
pub trait Planner: Send + Sync {
    /// The name that configuration and log know it by.
    fn name(&self) -> &'static str;

    /// The next step.
    fn plan(&self, run: &Run) -> PlanStep;

    /// The prompt of a model call. The default has the schema of the run's answer, if the run has a schema.
    fn prompt(&self, run: &Run) -> Prompt {
        Prompt {
            schema: output::response_schema(run),
            ..Prompt::default()
        }
    }

    /// Interprets an answer without calls. The default takes the answer as the run's. The driver checks the
    /// answer against the run's schema afterwards.
    fn read(&self, run: &Run, text: &str) -> Reading {
        output::read(run, text)
    }

    /// How calls and answers are written.
    fn dialect(&self) -> Dialect {
        Dialect::Native
    }
}

impl<P: Planner + ?Sized> Planner for Arc<P> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn plan(&self, run: &Run) -> PlanStep {
        (**self).plan(run)
    }

    fn prompt(&self, run: &Run) -> Prompt {
        (**self).prompt(run)
    }

    fn read(&self, run: &Run, text: &str) -> Reading {
        (**self).read(run, text)
    }

    fn dialect(&self) -> Dialect {
        (**self).dialect()
    }
}

/// The names that [`by_name`] knows.
pub const NAMES: [&str; 4] = ["react", "react_text", "plan_execute", "placeholder"];

/// The planner of a name.
///
/// # Errors
/// With the code `unknown_planner` for an unknown name.
pub fn by_name(name: &str) -> Result<Arc<dyn Planner>, Failure> {
    match name {
        "react" => Ok(Arc::new(React)),
        "react_text" => Ok(Arc::new(ReactText)),
        "plan_execute" => Ok(Arc::new(PlanExecute)),
        "placeholder" => Ok(Arc::new(Placeholder)),
        _ => {
            let short: String = name.chars().take(80).collect();
            let hint = nearest::hint(name, NAMES);
            let message = format!("there is no planner `{short}`; {hint}");
            Err(Failure::last("unknown_planner", message))
        }
    }
}

/// Makes no model call: answers with the goal, to try an agent's surroundings.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_planner_and_others_are_refused_with_the_nearest() {
        for name in NAMES {
            assert_eq!(by_name(name).map(|planner| planner.name()), Ok(name));
        }
        let refusal = |name| by_name(name).map(|planner| planner.name()).unwrap_err();
        assert_eq!(
            refusal("plan-execute").message,
            "there is no planner `plan-execute`; did you mean `plan_execute`?"
        );
        assert!(
            refusal("guess")
                .message
                .ends_with("known are `react`, `react_text`, `plan_execute`, `placeholder`")
        );
    }
}
