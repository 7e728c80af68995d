//! Cancelling, pausing and resuming many tasks.

use ops_core::{
    Caller, Rejection, TaskAction, TaskId,
    ports::{StoreError, TaskFilter},
    task::StateName,
};

use crate::{DryRun, Engine, Error, commands::TASKS_PER_READ};

/// Command for many tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steer {
    /// Stop them and their children.
    Cancel,
    /// Make them stand still.
    Pause,
    /// Let them go on.
    Resume,
}

/// Outcome for one of the tasks.
#[derive(Debug)]
pub struct Steered {
    /// The task.
    pub task: TaskId,
    /// The state after the command; in a dry run the present state.
    pub state: Result<StateName, Error>,
}

/// Outcome for a page of tasks.
#[derive(Debug, Default)]
pub struct SteeredPage {
    /// The tasks, newest first.
    pub tasks: Vec<Steered>,
    /// The task to go on before, if there are more.
    pub next: Option<TaskId>,
}

impl Engine {
    /// Steers the live tasks that a filter fits, newest first, at most `limit`, each on its own account.
    /// `dry_run` only names the tasks.
    ///
    /// # Errors
    /// A code of the storage. The refusal of one task is in the task's entry.
    pub async fn steer_all(
        &self,
        caller: &Caller,
        steer: Steer,
        filter: TaskFilter,
        (limit, dry_run): (u32, DryRun),
    ) -> Result<SteeredPage, Error> {
        let mut page = SteeredPage::default();
        let Some(states) = not_ended(&filter.states) else {
            return Ok(page);
        };
        let mut before = filter.before;
        let mut left = limit;
        loop {
            // One more shows whether there is a next page.
            let wanted = TASKS_PER_READ.min(left.saturating_add(1));
            let filter = TaskFilter {
                states: states.clone(),
                before,
                limit: wanted,
                without_large: true,
                ..filter.clone()
            };
            let records = self.store.tasks(caller.tenant, filter).await?;
            let ends = records.len() < wanted as usize;
            for record in records {
                if left == 0 {
                    page.next = before;
                    return Ok(page);
                }
                let task = record.task.id;
                let state = match dry_run {
                    DryRun::Yes => Ok(record.life.state.name()),
                    DryRun::No => self.steer(caller, steer, task).await,
                };
                page.tasks.push(Steered { task, state });
                before = Some(task);
                left -= 1;
            }
            if ends {
                return Ok(page);
            }
        }
    }

    async fn steer(&self, caller: &Caller, steer: Steer, task: TaskId) -> Result<StateName, Error> {
        let action = match steer {
            Steer::Cancel => TaskAction::Cancel,
            Steer::Pause => TaskAction::Pause,
            Steer::Resume => TaskAction::Resume,
        };
        match (self.command(caller, task, action).await, steer) {
            (Ok(life), _) => Ok(life.state.name()),
            (Err(StoreError::Rejected(Rejection::Cancelling)), Steer::Cancel) => {
                Ok(StateName::Cancelling)
            }
            // A child, which its parent has taken along.
            (
                Err(StoreError::Rejected(Rejection::Terminal(StateName::Cancelled))),
                Steer::Cancel,
            ) => Ok(StateName::Cancelled),
            (Err(error), _) => Err(error.into()),
        }
    }
}

/// The live states of a list, all of them if the list is empty; `None` if the list has only final states.
fn not_ended(states: &[StateName]) -> Option<Vec<StateName>> {
    let wanted = match states {
        [] => &StateName::ALL[..],
        some => some,
    };
    let open: Vec<_> = wanted
        .iter()
        .copied()
        .filter(|state| !state.is_terminal())
        .collect();
    (!open.is_empty()).then_some(open)
}
