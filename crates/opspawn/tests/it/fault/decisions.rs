//! What the client of the kill test decides of steps in doubt, and what became of it.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{
    history::Step,
    world::{World, text},
};

/// What is decided, in turn.
const CHOICES: [&str; 3] = ["done", "failed", "retry"];

struct ApprovalOutcome {
    said: &'static str,
    /// The step's effects in the ledger before that.
    effects: usize,
}

/// All decisions.
#[derive(Default)]
pub(super) struct Decisions {
    /// By the ledger's key, in order.
    of: HashMap<String, Vec<ApprovalOutcome>>,
    /// What is said of each doubt, by task, step and attempt: repeated until it is taken.
    said: HashMap<(String, u64, u64), &'static str>,
}

impl Decisions {
    /// The decision on a step that is listed as in doubt. The same doubt gets the same decision.
    pub(super) async fn on(&mut self, open: &Value, world: &World) -> anyhow::Result<Value> {
        let number = |key: &str| open[key].as_u64().unwrap_or(0);
        let doubt = (text(open, "task_id"), number("step"), number("attempt"));
        let key = text(&open["input"], "key");
        let said = match self.said.get(&doubt) {
            Some(said) => *said,
            None => {
                let said = CHOICES[self.said.len() % CHOICES.len()];
                let effects = world.effects_of(&key).await?;
                let decision = ApprovalOutcome { said, effects };
                self.of.entry(key.clone()).or_default().push(decision);
                self.said.insert(doubt, said);
                said
            }
        };
        Ok(match said {
            "done" => json!({"resolution": said, "output": {"reported": key}}),
            "failed" => json!({"resolution": said, "message": "it did not happen"}),
            _ => json!({"resolution": said}),
        })
    }

    /// What is wrong with the decisions on a step, now that it has ended: each was carried out
    /// once; the ledger shows one more effect of a retry, and none of the others.
    pub(super) async fn against(&self, step: &Step, world: &World) -> anyhow::Result<Vec<String>> {
        let key = step.key.as_deref().unwrap_or_default();
        let decisions = self.of.get(key).map_or(&[][..], Vec::as_slice);
        let said: Vec<&str> = decisions.iter().map(|decision| decision.said).collect();
        let mut wrong = Vec::new();
        if said != step.resolutions {
            let found = &step.resolutions;
            wrong.push(format!("{key}: {said:?} was decided, not {found:?}"));
        }
        if said.is_empty() {
            return Ok(wrong);
        }
        let mut effects: Vec<usize> = decisions.iter().map(|made| made.effects).collect();
        effects.push(world.effects_of(key).await?);
        for (index, said) in said.iter().enumerate() {
            let more = effects[index + 1].checked_sub(effects[index]);
            // A retry that was interrupted as well may not have got to its effect.
            let interrupted = index + 1 < decisions.len();
            let right = match (*said, more) {
                ("retry", Some(1)) | ("done" | "failed", Some(0)) => true,
                ("retry", Some(0)) => interrupted,
                _ => false,
            };
            if !right {
                wrong.push(format!("{key}: effects {effects:?}, decision {said}"));
            }
        }
        Ok(wrong)
    }
}
