//! Long-term memory in a run: a recall before planning, and the outcome remembered before the end.
//!
//! Both are calls of the machine's own, to the tools of the agent's long-term memory. An outcome, also a failed one,
//! or a refusal of the gate settles such a call for the run: a crash repeats neither, and a memory that is away
//! costs the run no more than the call.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Next, Run};
use crate::{
    event::{CallPurpose, ToolCalled},
    memory::long_term::{MAX_QUERY, text},
    model::Message,
    tool::memory::{ADD, NAMES, SEARCH},
};

/// The longest goal that is remembered, in bytes.
const MAX_GOAL: usize = 1_200;
/// The longest answer that is remembered, in bytes.
const MAX_ANSWER: usize = 6_000;
/// The relation of a remembered outcome.
const RELATION: &str = "outcome";

/// Progress of the calls to long-term memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Recollection {
    /// The recall has its outcome.
    recalled: bool,
    /// The outcome of the run was remembered, or could not be.
    remembered: bool,
    /// A tool that is no tool of memory gave a result.
    learnt: bool,
}

impl Recollection {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Run {
    /// Whether the run had a result of a tool that is no tool of memory.
    pub(crate) fn has_learnt(&self) -> bool {
        self.recollection.learnt
    }

    /// A call of the model has a result.
    pub(super) fn learnt_from(&mut self, tool: &str) {
        self.recollection.learnt |= !NAMES.contains(&tool);
    }

    /// A call of the machine's own has an outcome, with this output if it succeeded.
    pub(super) fn recollected(&mut self, called: &ToolCalled, output: Option<&Value>) {
        match called.purpose {
            Some(CallPurpose::Recall) => {
                self.recollection.recalled = true;
                let notes = output.and_then(Value::as_str).unwrap_or_default();
                if !notes.is_empty() {
                    // A message of the user, as notes are data. Never one of the system.
                    self.conversation.memory.add_pinned(Message::user(notes));
                }
            }
            Some(CallPurpose::Remember) => self.recollection.remembered = true,
            Some(CallPurpose::Probe { .. } | CallPurpose::Preview { .. }) | None => {}
        }
    }

    /// The recall, if it is due: before the first answer of the model.
    pub(super) fn recall_due(&self) -> Option<Next> {
        let config = self.config.as_ref()?.long_term.as_ref()?;
        let is_due = config.recall && !self.recollection.recalled && self.answers() == 0;
        is_due.then(|| Next::Recollect {
            purpose: CallPurpose::Recall,
            tool: SEARCH,
            input: json!({"query": beginning(&self.goal, MAX_QUERY), "limit": config.limit}),
        })
    }

    /// The call that remembers the outcome, if it is due.
    pub(super) fn remember_due(&self, output: &Value) -> Option<Next> {
        let config = self.config.as_ref()?.long_term.as_ref()?;
        if !config.remember || self.recollection.remembered {
            return None;
        }
        let answer = match output {
            Value::String(text) => text.clone(),
            json => json.to_string(),
        };
        let goal = beginning(self.goal.trim(), MAX_GOAL);
        let answer = beginning(answer.trim(), MAX_ANSWER);
        (!answer.is_empty()).then(|| Next::Recollect {
            purpose: CallPurpose::Remember,
            tool: ADD,
            input: json!({
                "text": format!("Goal: {goal}\nOutcome: {answer}"),
                // The outcome of an equal goal takes the place of the earlier one.
                "subject": format!("goal {}", text::digest(&self.goal)),
                "relation": RELATION,
            }),
        })
    }
}

/// The beginning of a text, of at most so many bytes.
fn beginning(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
