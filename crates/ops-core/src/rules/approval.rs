//! Rules of approvals: the effect of a decision, and the time of a lapse.

use super::{Cause, DecidedApproval, Transition, clock, decide, links::Lapse};
use crate::{
    approval::{Approval, ApprovalStatus, NewApproval, PreviewOutcome},
    command::Rejection,
    id::TaskId,
    ports::{ApprovalAction, ApprovalDecision},
    task::Lifecycle,
    time::Micros,
};

/// Reason for refusing a decision. A refused decision writes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The approval was decided before, or its time is over.
    #[error("the approval is {}", .0.as_str())]
    Closed(ApprovalStatus),
    /// The approval was edited since the client looked.
    #[error("the approval is at revision {current}, not {given}")]
    Revision {
        /// The revision that the client looked at.
        given: u32,
        /// The present revision.
        current: u32,
    },
    /// The task refuses.
    #[error(transparent)]
    Task(#[from] Rejection),
}

/// The revision of the step's own request.
const FIRST_REVISION: u32 = 1;

/// An approval that a step asks for.
#[must_use]
pub fn create(request: NewApproval, task: TaskId, now: Micros) -> Approval {
    Approval {
        task,
        request,
        revision: FIRST_REVISION,
        status: ApprovalStatus::Pending,
        asked_at: now,
        decided_at: None,
        decided_by: None,
        note: None,
    }
}

/// Applies a decision to an approval and to its task.
///
/// # Errors
/// [`Refused`] if the approval is not open, was edited meanwhile, or its task has ended.
pub fn decide_approval(
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
            let input = is_edited(approval).then(|| approval.request.input.clone());
            DecidedApproval::Approved { input }
        }
        ApprovalAction::Deny { reason } => {
            after.status = ApprovalStatus::Denied;
            after.note = Some(reason.clone());
            DecidedApproval::Denied { reason }
        }
        ApprovalAction::Edit { input, digest } => {
            after.revision += 1;
            after.request.input = input.clone();
            after.request.input_digest = digest;
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

/// Whether the arguments differ from the step's own request.
#[must_use]
pub fn is_edited(approval: &Approval) -> bool {
    approval.revision > FIRST_REVISION
}

/// The final status of an open approval when its task stops waiting; `None` if the approval stays open. An
/// approval whose time was over before the task ended has expired, and did not lapse with the task.
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

/// An open approval with right dates, once the clock of its task was corrected from one time to another;
/// `None` for no change.
#[must_use]
pub fn correct(approval: &Approval, from: Micros, to: Micros) -> Option<Approval> {
    let mut right = approval.clone();
    let request = &mut right.request;
    let escalation = request.details.escalation.as_mut();
    let dates = [
        request.expires_at.as_mut(),
        escalation.map(|escalation| &mut escalation.at),
    ];
    for date in dates.into_iter().flatten() {
        *date = clock::corrected(*date, from, to);
    }
    (right != *approval).then_some(right)
}

/// An approval whose step asks once more; `None` for no change. The step brings the outcome of its preview,
/// and nothing else counts: a repeated append must not undo an edit. The outcome comes late for an approval
/// that was decided without it, and is recorded all the same.
#[must_use]
pub fn ask_again(approval: &Approval, request: NewApproval) -> Option<Approval> {
    let before = approval.request.details.preview.as_ref()?;
    let preview = request.details.preview?;
    let brings =
        before.outcome == PreviewOutcome::Pending && preview.outcome != PreviewOutcome::Pending;
    brings.then(|| {
        let mut after = approval.clone();
        after.request.details.preview = Some(preview);
        after
    })
}

#[cfg(test)]
mod tests;
