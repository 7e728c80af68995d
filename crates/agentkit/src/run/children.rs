//! The child tasks of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ledger::Amount;
use crate::event::{ChildEnded, ChildResult, ChildStarted, Handle, StepId};

/// A child task that a run began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// The call that began it.
    pub step: StepId,
    /// Tokens that count for the child: its reservation until its end, its usage from then on.
    pub tokens: u64,
    /// Micro-USD that count for the child, likewise.
    #[serde(default)]
    pub cost_micros: u64,
    /// The child's result, once the child has ended.
    pub result: Option<ChildResult>,
}

impl Child {
    fn amount(&self) -> Amount {
        Amount {
            tokens: self.tokens,
            cost_micros: self.cost_micros,
        }
    }
}

/// The child tasks that a run began, by id.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Children(BTreeMap<String, Child>);

/// Change by the end of a child.
pub(super) struct End {
    /// The amount that counted for the child before.
    pub(super) before: Amount,
    /// The amount that counts for the child now.
    pub(super) now: Amount,
    /// Its large result, with the call that began it.
    pub(super) result: Option<(StepId, Handle)>,
}

impl Children {
    pub(super) fn all(&self) -> &BTreeMap<String, Child> {
        &self.0
    }

    /// A child has begun; returns the amount that counts for the child.
    pub(super) fn begin(&mut self, step: StepId, started: &ChildStarted) -> Amount {
        let child = Child {
            step,
            tokens: started.reserved_tokens.unwrap_or(0),
            cost_micros: started.reserved_cost_micros.unwrap_or(0),
            result: None,
        };
        let amount = child.amount();
        self.0.insert(started.task.clone(), child);
        amount
    }

    /// A child has ended; `None` if the run did not begin the child. A child that was run again may end
    /// twice: its first result stands, since the model may have read that result, and all its usage counts.
    pub(super) fn end(&mut self, ended: &ChildEnded) -> Option<End> {
        let child = self.0.get_mut(&ended.task)?;
        let before = child.amount();
        let counts = |counted: u64, used: u64| match &child.result {
            None => used,
            Some(_) => counted.max(used),
        };
        let tokens = counts(child.tokens, ended.used_tokens);
        let cost_micros = counts(child.cost_micros, ended.used_cost_micros);
        (child.tokens, child.cost_micros) = (tokens, cost_micros);
        let mut result = None;
        if child.result.is_none() {
            child.result = Some(ended.result.clone());
            if let ChildResult::Completed {
                handle: Some(handle),
                ..
            } = &ended.result
            {
                result = Some((child.step, handle.clone()));
            }
        }
        Some(End {
            before,
            now: child.amount(),
            result,
        })
    }

    /// The tasks of a list that have not ended.
    pub(super) fn not_ended(&self, tasks: &[String]) -> Vec<String> {
        let ended = |task: &str| {
            let child = self.0.get(task);
            child.is_some_and(|child| child.result.is_some())
        };
        tasks.iter().filter(|task| !ended(task)).cloned().collect()
    }

    /// The message to the model about the ends of these tasks, once all have ended.
    pub(super) fn ends(&self, tasks: &[String]) -> Option<Value> {
        let ends = tasks.iter().map(|task| self.result_of(task));
        Some(ends.collect::<Option<Vec<_>>>()?.into())
    }

    /// The message to the model about a child's end. The model reads a large result by the handle of the
    /// call that began the child: that call's own result is small.
    fn result_of(&self, task: &str) -> Option<Value> {
        let child = self.0.get(task)?;
        Some(match child.result.as_ref()? {
            ChildResult::Completed {
                output,
                handle: None,
            } => json!({"task": task, "status": "completed", "output": output}),
            ChildResult::Completed {
                output,
                handle: Some(handle),
            } => json!({
                "task": task,
                "status": "completed",
                "output": output,
                "handle": child.step.to_string(),
                "bytes": handle.bytes,
                "note": "output is the beginning; use read_result with this handle to read the rest",
            }),
            ChildResult::Failed { error } => json!({
                "task": task,
                "status": "failed",
                "error": {"code": error.code, "message": error.message},
            }),
            ChildResult::Cancelled => json!({"task": task, "status": "cancelled"}),
        })
    }
}
