//! What a decision about an approval does, and when one lapses.

use super::{Cause, DecidedApproval, Transition, clock, decide, links::Lapse};
use crate::{
    approval::{Approval, ApprovalStatus, NewApproval},
    command::Rejection,
    id::TaskId,
    ports::{ApprovalAction, ApprovalDecision},
    task::Lifecycle,
    time::Micros,
};

/// Why a decision is refused. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It was decided before, or its time is over.
    #[error("the approval is {}", .0.as_str())]
    Closed(ApprovalStatus),
    /// It was edited since the client looked at it.
    #[error("the approval is at revision {current}, not {given}")]
    Revision {
        /// What was looked at.
        given: u32,
        /// What it is now.
        current: u32,
    },
    /// The task refuses.
    #[error(transparent)]
    Task(#[from] Rejection),
}

/// The revision of what the step itself asked for.
const FIRST_REVISION: u32 = 1;

/// An approval that a step asks for.
#[must_use]
pub fn ask(asked: NewApproval, task: TaskId, now: Micros) -> Approval {
    Approval {
        task,
        asked,
        revision: FIRST_REVISION,
        status: ApprovalStatus::Pending,
        asked_at: now,
        decided_at: None,
        decided_by: None,
        note: None,
    }
}

/// What a decision makes of an approval and of its task.
///
/// # Errors
/// [`Refused`] if the approval is not open, was edited meanwhile, or its task has ended.
pub fn judge(
    approval: &Approval,
    life: &Lifecycle,
    decision: ApprovalDecision,
    now: Micros,
) -> Result<(Approval, Transition), Refused> {
    let ApprovalDecision {
        actor,
        step,
        action,
        revision,
        by,
    } = decision;
    match approval.standing(now) {
        ApprovalStatus::Pending => {}
        closed => return Err(Refused::Closed(closed)),
    }
    // Whoever approves without a revision looked at what the step asked for, and knows of no edit: one
    // that came in between must not run by it. Denying never lets anything run.
    let seen = match action {
        ApprovalAction::Approve if units::mutant!("ops-core.approves_any_edit") => revision,
        ApprovalAction::Approve => revision.or(Some(FIRST_REVISION)),
        ApprovalAction::Deny { .. } | ApprovalAction::Edit { .. } => revision,
    };
    if let Some(given) = seen.filter(|given| *given != approval.revision) {
        let current = approval.revision;
        return Err(Refused::Revision { given, current });
    }
    let mut after = approval.clone();
    let decided = match action {
        ApprovalAction::Approve => {
            after.status = ApprovalStatus::Approved;
            let input = is_edited(approval).then(|| approval.asked.input.clone());
            DecidedApproval::Approved { input }
        }
        ApprovalAction::Deny { reason } => {
            after.status = ApprovalStatus::Denied;
            after.note = Some(reason.clone());
            DecidedApproval::Denied { reason }
        }
        ApprovalAction::Edit { input, digest } => {
            after.revision += 1;
            after.asked.input = input.clone();
            after.asked.input_digest = digest;
            DecidedApproval::Edited { input }
        }
    };
    let cause = Cause::ApprovalDecided {
        actor,
        step,
        decided,
        by: by.clone(),
    };
    let transition = decide(life, cause, now)?;
    if after.status != ApprovalStatus::Pending {
        after.decided_at = Some(transition.after.updated_at);
        after.decided_by = by;
    }
    Ok((after, transition))
}

/// Whether the arguments are others than those that the step asked for.
#[must_use]
pub fn is_edited(approval: &Approval) -> bool {
    approval.revision > FIRST_REVISION
}

/// What an open approval comes to when its task stops waiting for it; none if it stays open. One whose
/// time was over before the task ended has not lapsed with the task.
#[must_use]
pub fn lapse(approval: &Approval, lapse: Lapse, now: Micros) -> Option<ApprovalStatus> {
    match (approval.status, approval.standing(now), lapse) {
        (ApprovalStatus::Pending, ApprovalStatus::Expired, _) => Some(ApprovalStatus::Expired),
        (ApprovalStatus::Pending, _, Lapse::All) => Some(ApprovalStatus::Void),
        (ApprovalStatus::Pending, _, Lapse::Overdue)
        | (
            ApprovalStatus::Approved
            | ApprovalStatus::Denied
            | ApprovalStatus::Expired
            | ApprovalStatus::Void,
            _,
            _,
        ) => None,
    }
}

/// When an open approval lapses, now that the clock of its task was corrected from one time to another;
/// none if that changes nothing.
#[must_use]
pub fn correct(approval: &Approval, from: Micros, to: Micros) -> Option<Micros> {
    let expires_at = approval.asked.expires_at?;
    let right = clock::corrected(expires_at, from, to);
    (right != expires_at).then_some(right)
}

#[cfg(test)]
mod tests;
