//! The steps of a run, for a person who asks why a case does not hold.

use agentkit::{Event, StepId};
use serde_json::{Value, json};

use crate::output;

/// The longest text of a line, in characters.
const MAX_TEXT: usize = 160;

/// A step of a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    number: StepId,
    act: Act,
}

#[derive(Debug, Clone, PartialEq)]
enum Act {
    /// A model answered.
    Model {
        text: String,
        /// Why the answer was not used, if it was not.
        refused: Option<String>,
    },
    /// A model call failed.
    Failed { error: String },
    /// A tool was called.
    Tool {
        name: String,
        arguments: Value,
        /// The output, or the error; `None` for a call that did not end.
        outcome: Option<Result<Value, String>>,
    },
}

/// The steps in their order. A call has the arguments with which it ran.
pub(crate) fn steps(events: &[Event]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for event in events {
        let (number, act) = match event {
            Event::ModelCompleted(completed) => {
                let refused = completed.refused.as_ref();
                let act = Act::Model {
                    text: completed.output.clone(),
                    refused: refused.map(|failure| failure.message.clone()),
                };
                (completed.step, act)
            }
            Event::ModelFailed(failed) => {
                let error = failed.error.message.clone();
                (failed.step, Act::Failed { error })
            }
            Event::ToolCalled(called) => {
                let act = Act::Tool {
                    name: called.name.clone(),
                    arguments: called.input.clone(),
                    outcome: None,
                };
                (called.step, act)
            }
            Event::ToolApproved(approved) => {
                if let (Some(input), Some((arguments, _))) =
                    (&approved.input, call(&mut steps, approved.step))
                {
                    arguments.clone_from(input);
                }
                continue;
            }
            Event::ToolCompleted(completed) => {
                if let Some((_, outcome)) = call(&mut steps, completed.step) {
                    *outcome = Some(Ok(completed.output.clone()));
                }
                continue;
            }
            Event::ToolFailed(failed) => {
                if let Some((_, outcome)) = call(&mut steps, failed.step) {
                    *outcome = Some(Err(failed.error.message.clone()));
                }
                continue;
            }
            Event::ToolDenied(denied) => {
                if let Some((_, outcome)) = call(&mut steps, denied.step) {
                    *outcome = Some(Err(denied.reason.clone()));
                }
                continue;
            }
            _ => continue,
        };
        steps.push(Step { number, act });
    }
    steps
}

type Outcome = Option<Result<Value, String>>;

/// The arguments and the outcome of the call of a step.
fn call(steps: &mut [Step], number: StepId) -> Option<(&mut Value, &mut Outcome)> {
    steps
        .iter_mut()
        .find_map(|step| match (step.number == number, &mut step.act) {
            (
                true,
                Act::Tool {
                    arguments, outcome, ..
                },
            ) => Some((arguments, outcome)),
            (true | false, Act::Model { .. } | Act::Failed { .. } | Act::Tool { .. }) => None,
        })
}

impl Step {
    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let step = self.number.0;
        match &self.act {
            Act::Model { text, refused } => {
                json!({"step": step, "kind": "model", "text": text, "refused": refused})
            }
            Act::Failed { error } => json!({"step": step, "kind": "model", "error": error}),
            Act::Tool {
                name,
                arguments,
                outcome,
            } => {
                let mut call =
                    json!({"step": step, "kind": "tool", "name": name, "arguments": arguments});
                match outcome {
                    Some(Ok(output)) => call["output"] = output.clone(),
                    Some(Err(error)) => call["error"] = error.as_str().into(),
                    None => {}
                }
                call
            }
        }
    }

    /// For people, on one line.
    pub(crate) fn line(&self) -> String {
        let cut = |text: &str| output::cut(text, MAX_TEXT);
        let shown = match &self.act {
            Act::Model {
                text,
                refused: Some(why),
            } => format!("said {}, which was refused: {}", cut(text), cut(why)),
            Act::Model { text, .. } if text.trim().is_empty() => "asked for tools".to_owned(),
            Act::Model { text, .. } => format!("said {}", cut(text)),
            Act::Failed { error } => format!("the model failed: {}", cut(error)),
            Act::Tool {
                name,
                arguments,
                outcome,
            } => {
                let end = match outcome {
                    Some(Ok(Value::String(text))) => format!("-> {}", cut(text)),
                    Some(Ok(output)) => format!("-> {}", cut(&output.to_string())),
                    Some(Err(error)) => format!("failed: {}", cut(error)),
                    None => "did not end".to_owned(),
                };
                format!("{name}({}) {end}", cut(&arguments.to_string()))
            }
        };
        format!("{:>4}  {shown}", self.number.0)
    }
}

#[cfg(test)]
mod tests {
    use agentkit::{
        event::{Failure, ToolApproved, ToolFailed},
        tool::Effect,
    };

    use super::*;

    #[test]
    fn a_call_is_shown_as_it_ran_and_ended() {
        let called = |step, input: Value| {
            let event = json!({"type": "tool.called", "step": step, "provider_id": "", "name": "write_file",
                "input": input, "effect": Effect::Idempotent, "verdict": "start"});
            serde_json::from_value::<Event>(event).unwrap()
        };
        let events = [
            called(2, json!({"path": "a"})),
            called(3, json!({"path": "\u{1b}[2J"})),
            Event::ToolApproved(ToolApproved {
                step: StepId(2),
                input: Some(json!({"path": "b"})),
                by: None,
            }),
            Event::ToolFailed(ToolFailed {
                step: StepId(2),
                error: Failure::last("full", "no space"),
            }),
        ];
        let lines: Vec<String> = steps(&events).iter().map(Step::line).collect();
        assert_eq!(
            lines[0],
            "   2  write_file({\"path\":\"b\"}) failed: no space"
        );
        assert!(lines[1].ends_with("did not end"), "{lines:?}");
        assert_eq!(
            steps(&events)[0].json(),
            json!({"step": 2, "kind": "tool", "name": "write_file", "arguments": {"path": "b"},
                "error": "no space"})
        );
    }
}
