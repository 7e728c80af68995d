//! Requests of clients and people about a task.

use super::{
    rows::{Key, Rows},
    write::Write,
};
use crate::{
    Approval, Lifecycle, TaskAction, TaskCommand,
    ports::{ApprovalDecision, StoreError},
    rules::{Cause, approval, decide, limits},
};

impl<R: Rows> Write<'_, R> {
    /// Decides and writes a request about a task.
    ///
    /// # Errors
    /// A rejection, or that there is no such task.
    pub fn command(&mut self, key: Key, command: TaskCommand) -> Result<Lifecycle, StoreError> {
        let given = match &command.action {
            TaskAction::Limit(limits) => Some(*limits),
            TaskAction::Cancel
            | TaskAction::Pause
            | TaskAction::Resume
            | TaskAction::Signal { .. }
            | TaskAction::Resolve { .. } => None,
        };
        let life = self.life(key)?;
        let transition = decide(&life, Cause::Task(command), self.now)?;
        let after = self.carry_out(key, life, transition, Vec::new())?;
        if let Some(given) = given
            && let Some(record) = self.rows.record(key)?
        {
            let asked = limits::lay_over(given, record.task.limits);
            let in_force = record.in_force.map(|below| limits::lay_over(given, below));
            self.rows.put_limits(key, Some(asked), in_force)?;
        }
        Ok(after)
    }

    /// Decides about a step that asks for approval.
    ///
    /// # Errors
    /// [`StoreError::NoApproval`], or that it was decided, edited or is too late.
    pub fn decide_approval(
        &mut self,
        key: Key,
        decision: ApprovalDecision,
    ) -> Result<Approval, StoreError> {
        let step = decision.step;
        let life = self.life(key)?;
        let found = self.rows.approval(key, step)?;
        let (number, open) = found.ok_or(StoreError::NoApproval(step))?;
        let (decided, transition) = approval::decide_approval(&open, &life, decision, self.now)?;
        self.carry_out(key, life, transition, Vec::new())?;
        let mut stored = decided.clone();
        // The dates may have been corrected with the task's clock just now.
        if let Some((_, now)) = self.rows.approval(key, step)? {
            stored.request.expires_at = now.request.expires_at;
            stored.request.details = now.request.details;
        }
        self.rows.put_approval(number, key.0, stored)?;
        Ok(decided)
    }
}
