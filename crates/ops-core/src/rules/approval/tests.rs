use serde_json::json;

use super::*;
use crate::{
    actor::Actor,
    event::TaskEvent,
    rules::fixtures::{id, running},
};

fn open(expires_at: Option<i64>) -> Approval {
    let request = NewApproval {
        step: 2,
        tool: "send".into(),
        tool_digest: "t".into(),
        agent_digest: "a".into(),
        input: json!({"to": "ann"}),
        input_digest: "i".into(),
        input_schema: json!({}),
        reason: "it writes".into(),
        expires_at: expires_at.map(Micros),
        details: Default::default(),
    };
    create(request, id(1), Micros(1))
}

fn decision(action: ApprovalAction) -> ApprovalDecision {
    ApprovalDecision {
        actor: Actor::Local,
        step: 2,
        action,
        revision: None,
        by: Some("ann".into()),
    }
}

fn deny() -> ApprovalAction {
    ApprovalAction::Deny {
        reason: "no".into(),
    }
}

fn edit() -> ApprovalAction {
    ApprovalAction::Edit {
        input: json!({"to": "bob"}),
        digest: "j".into(),
    }
}

fn event(transition: &Transition) -> TaskEvent {
    TaskEvent::decode(&transition.events[0].body).unwrap()
}

#[test]
fn a_decision_closes_an_approval_and_an_edit_opens_it_anew() {
    let life = running(1);
    let decided = |approval: &Approval, action| {
        decide_approval(approval, &life, decision(action), Micros(5)).unwrap()
    };
    let (denied, told) = decided(&open(None), deny());
    assert_eq!(denied.status, ApprovalStatus::Denied);
    assert_eq!(
        (denied.note.as_deref(), denied.decided_by.as_deref()),
        (Some("no"), Some("ann"))
    );
    assert_eq!(denied.decided_at, Some(told.after.updated_at));
    assert!(matches!(event(&told), TaskEvent::Denied { step: 2, .. }));

    let (edited, told) = decided(&open(None), edit());
    assert_eq!(
        (edited.revision, edited.status),
        (2, ApprovalStatus::Pending)
    );
    assert_eq!(
        (edited.decided_at, &*edited.request.input_digest),
        (None, "j")
    );
    assert!(matches!(event(&told), TaskEvent::Edited { .. }));
    // What is approved then are the edited arguments.
    let approve = ApprovalDecision {
        revision: Some(2),
        ..decision(ApprovalAction::Approve)
    };
    let (_, told) = decide_approval(&edited, &life, approve, Micros(5)).unwrap();
    let TaskEvent::Approved { input, .. } = event(&told) else {
        panic!("{told:?}");
    };
    assert_eq!(input, Some(json!({"to": "bob"})));
    let (_, told) = decided(&open(None), ApprovalAction::Approve);
    assert!(matches!(
        event(&told),
        TaskEvent::Approved { input: None, .. }
    ));
}

#[test]
fn what_is_closed_or_was_edited_meanwhile_refuses() {
    let life = running(1);
    let (denied, _) = decide_approval(&open(None), &life, decision(deny()), Micros(5)).unwrap();
    let closed = decide_approval(&denied, &life, decision(edit()), Micros(5)).unwrap_err();
    assert_eq!(closed, Refused::Closed(ApprovalStatus::Denied));
    let late = decide_approval(&open(Some(5)), &life, decision(deny()), Micros(5)).unwrap_err();
    assert_eq!(late, Refused::Closed(ApprovalStatus::Expired));
    let (edited, _) = decide_approval(&open(None), &life, decision(edit()), Micros(5)).unwrap();
    let mut seen = decision(deny());
    seen.revision = Some(1);
    let changed = decide_approval(&edited, &life, seen.clone(), Micros(5)).unwrap_err();
    assert_eq!(
        changed,
        Refused::Revision {
            given: 1,
            current: 2
        }
    );
    seen.revision = Some(2);
    assert!(decide_approval(&edited, &life, seen, Micros(5)).is_ok());
    // Leave without a revision is for what the step asked for: nobody has looked at the edit.
    let blind = decide_approval(&edited, &life, decision(ApprovalAction::Approve), Micros(5));
    assert_eq!(
        blind.unwrap_err(),
        Refused::Revision {
            given: 1,
            current: 2
        }
    );
    assert!(decide_approval(&edited, &life, decision(deny()), Micros(5)).is_ok());
}

/// security.md, "Missing": an approval without a revision approved any edit.
#[test]
fn an_approval_without_a_revision_is_of_what_the_step_asked_for() {
    let life = running(1);
    let decided =
        |approval: &Approval, action| decide_approval(approval, &life, decision(action), Micros(5));
    let (edited, _) = decided(&open(None), edit()).unwrap();
    assert_eq!(
        decided(&edited, ApprovalAction::Approve).unwrap_err(),
        Refused::Revision {
            given: 1,
            current: 2
        }
    );
    assert!(decided(&edited, deny()).is_ok());
    assert!(decided(&open(None), ApprovalAction::Approve).is_ok());
}

#[test]
fn approvals_lapse_in_time_and_with_their_task() {
    for (expires_at, lapses, expected) in [
        (None, Lapse::Overdue, None),
        (Some(10), Lapse::Overdue, Some(ApprovalStatus::Expired)),
        (Some(11), Lapse::Overdue, None),
        (None, Lapse::All, Some(ApprovalStatus::Void)),
        (Some(10), Lapse::All, Some(ApprovalStatus::Expired)),
        (Some(11), Lapse::All, Some(ApprovalStatus::Void)),
    ] {
        let lapsed = lapse(&open(expires_at), lapses, Micros(10));
        assert_eq!(lapsed, expected, "{expires_at:?} {lapses:?}");
    }
    let (denied, _) =
        decide_approval(&open(Some(5)), &running(1), decision(deny()), Micros(1)).unwrap();
    assert_eq!(lapse(&denied, Lapse::All, Micros(10)), None);
}
