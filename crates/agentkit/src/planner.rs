//! Planners: what an agent does next, seen from the folded run.

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
    output::{held, in_words, refusal, too_many_refusals},
    plan_execute::plan_message,
    react::answer_cut,
    text::{Said, hear, rewrite},
};
use crate::{
    event::{Failure, Plan, Purpose},
    model::ResponseSchema,
    run::Run,
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

/// How the model is asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ask {
    /// What the call is for; recorded with it.
    pub purpose: Purpose,
    /// Said at the end of the conversation, for this call only.
    pub say: Option<String>,
    /// What an answer without calls has to look like.
    pub schema: Option<ResponseSchema>,
}

/// What an answer without calls is.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// The answer of the run.
    Answer(Value),
    /// A plan, or what became of an item of it: the run goes on.
    Plan(Plan),
    /// Nothing that can be used; the model is told why, and asked again.
    Refused(Failure),
}

/// How calls and answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// With the provider's own tool calling, unless the model table says that the model has none.
    Native,
    /// As text, with any model.
    Text,
}

/// Decides what is next whenever nothing is in flight, and what the model's words mean. It is pure:
/// it sees the run and nothing else. What it makes of an answer is recorded and never made again.
pub trait Planner: Send + Sync {
    /// The name that configuration and log know it by.
    fn name(&self) -> &'static str;

    /// The next step.
    fn plan(&self, run: &Run) -> PlanStep;

    /// How the model is asked: unless said, with the schema of the run's answer, if it has one.
    fn ask(&self, run: &Run) -> Ask {
        Ask {
            schema: output::response_schema(run),
            ..Ask::default()
        }
    }

    /// What an answer without calls is: unless said, the answer of the run. An answer is held to the
    /// run's schema afterwards.
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

    fn ask(&self, run: &Run) -> Ask {
        (**self).ask(run)
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
/// With the code `unknown_planner` if there is none.
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
