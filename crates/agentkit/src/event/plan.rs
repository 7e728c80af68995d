//! Bodies of a plan's events.

use serde::{Deserialize, Serialize};

use super::{Failure, StepId};

/// Body of `plan.updated`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanUpdated {
    /// The model step whose answer made or changed it.
    pub step: StepId,
    /// The plan as it is from here on.
    #[serde(flatten)]
    pub plan: Plan,
}

/// A plan and how far it got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// 1 for the first plan; each replacement of a failed plan counts one more.
    pub revision: u32,
    /// The items, in order.
    pub output: Vec<PlanItem>,
    /// Why an item failed, until there is another plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// One thing to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanItem {
    /// The item, in the model's words.
    pub title: String,
    /// Progress of the item.
    pub status: PlanItemStatus,
}

/// How far an item of a plan got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanItemStatus {
    /// Earlier items come first.
    Pending,
    /// The model works on the item.
    Active,
    /// The item is done.
    Done,
    /// The item could not be done.
    Failed,
}

impl Plan {
    /// The item that is being worked on, with its number from 1.
    #[must_use]
    pub fn active(&self) -> Option<(usize, &PlanItem)> {
        let mut items = self.output.iter().zip(1..);
        let found = items.find(|(item, _)| item.status == PlanItemStatus::Active);
        found.map(|(item, number)| (number, item))
    }
}
