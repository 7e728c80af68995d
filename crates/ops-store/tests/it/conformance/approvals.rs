use ops_core::{
    Actor, Append, ApprovalDetails, ApprovalStatus, Escalation, Lifecycle, Micros, NewApproval,
    Next, Preview, PreviewOutcome, RunCommand, SessionId, State, TaskAction, WaitRequest,
    event::TaskEvent,
    ports::{ApprovalAction, ApprovalDecision, ApprovalFilter, StoreError},
    time::SECOND,
};
use serde_json::json;

use crate::world::{OTHER, TENANT, World, pair, state};

fn asked(step: u32, expires_at: Option<Micros>) -> NewApproval {
    NewApproval {
        step,
        tool: "send_mail".into(),
        tool_digest: "aa".repeat(32),
        agent_digest: "bb".repeat(32),
        input: json!({"to": "ann", "n": 1.5}),
        input_digest: "cc".repeat(32),
        input_schema: json!({"type": "object"}),
        reason: "the policy asks for every `write`".into(),
        expires_at,
        details: Default::default(),
    }
}

fn decision(step: u32, action: ApprovalAction) -> ApprovalDecision {
    ApprovalDecision {
        actor: Actor::Local,
        step,
        action,
        revision: None,
        by: Some("ann".into()),
    }
}

/// A task that waits for leave for steps 2 and 4.
async fn waiting(world: &World, seconds: Option<i64>) -> (SessionId, Lifecycle) {
    let (session, life) = world.running().await;
    let until = seconds.map(|seconds| life.updated_at.plus(seconds * SECOND));
    let append = Append {
        approvals: vec![asked(2, until), asked(4, until)],
        ..Append::new(
            life.seq,
            pair(1),
            Next::Wait(WaitRequest::Approval {
                steps: vec![2, 4],
                until,
            }),
        )
    };
    let life = world
        .apply(life.id, RunCommand::append(life.epoch, append))
        .await
        .unwrap();
    (session, life)
}

async fn last_event(world: &World, life: &Lifecycle, back: u64) -> TaskEvent {
    let seq = world.task(life.id).await.life.seq - back;
    let events = world
        .store
        .events(TENANT, life.id, seq - 1, 1)
        .await
        .unwrap();
    TaskEvent::decode(&events[0].event.body).unwrap()
}

pub(crate) async fn opens_with_the_append_and_is_decided_once(world: &World) {
    let (_, life) = waiting(world, None).await;
    let open = world.store.approval(TENANT, life.id, 2).await.unwrap();
    assert_eq!(open.request, asked(2, None));
    assert_eq!((open.status, open.revision), (ApprovalStatus::Pending, 1));

    let approve = decision(2, ApprovalAction::Approve);
    let decided = world
        .store
        .decide_approval(TENANT, life.id, approve.clone())
        .await
        .unwrap();
    assert_eq!(decided.status, ApprovalStatus::Approved);
    assert_eq!(decided.decided_by.as_deref(), Some("ann"));
    assert_eq!(
        world.store.approval(TENANT, life.id, 2).await.unwrap(),
        decided
    );
    assert_eq!(world.task(life.id).await.life.state, state::pending());
    assert_eq!(
        last_event(world, &life, 1).await,
        TaskEvent::Approved {
            step: 2,
            input: None,
            by: Some("ann".into())
        }
    );
    let again = world
        .store
        .decide_approval(TENANT, life.id, approve.clone())
        .await;
    assert_eq!(
        again.unwrap_err(),
        StoreError::Decided(ApprovalStatus::Approved)
    );

    // The other one can be decided although the task does not wait right now.
    let deny = decision(
        4,
        ApprovalAction::Deny {
            reason: "not on a Friday".into(),
        },
    );
    let decided = world
        .store
        .decide_approval(TENANT, life.id, deny)
        .await
        .unwrap();
    assert_eq!(decided.note.as_deref(), Some("not on a Friday"));
    let none = world
        .store
        .decide_approval(TENANT, life.id, decision(3, ApprovalAction::Approve))
        .await;
    assert_eq!(none.unwrap_err(), StoreError::NoApproval(3));
    let walled = world.store.decide_approval(OTHER, life.id, approve).await;
    assert_eq!(walled.unwrap_err(), StoreError::NotFound);
    let walled = world.store.approval(OTHER, life.id, 2).await;
    assert_eq!(walled.unwrap_err(), StoreError::NoApproval(2));
}

pub(crate) async fn binds_an_edit_to_its_revision(world: &World) {
    let (_, life) = waiting(world, None).await;
    let edit = decision(
        2,
        ApprovalAction::Edit {
            input: json!({"to": "bob"}),
            digest: "dd".repeat(32),
        },
    );
    let edited = world
        .store
        .decide_approval(TENANT, life.id, edit)
        .await
        .unwrap();
    assert_eq!(
        (edited.status, edited.revision),
        (ApprovalStatus::Pending, 2)
    );
    assert_eq!(edited.request.input_digest, "dd".repeat(32));
    assert!(matches!(
        world.task(life.id).await.life.state,
        State::Waiting(_)
    ));
    let approve = |revision| ApprovalDecision {
        revision: Some(revision),
        ..decision(2, ApprovalAction::Approve)
    };
    let stale = world
        .store
        .decide_approval(TENANT, life.id, approve(1))
        .await;
    assert_eq!(
        stale.unwrap_err(),
        StoreError::WrongRevision {
            given: 1,
            current: 2
        }
    );
    world
        .store
        .decide_approval(TENANT, life.id, approve(2))
        .await
        .unwrap();
    assert_eq!(
        last_event(world, &life, 1).await,
        TaskEvent::Approved {
            step: 2,
            input: Some(json!({"to": "bob"})),
            by: Some("ann".into())
        }
    );
}

pub(crate) async fn lapses_in_time_and_with_its_task(world: &World) {
    let (_, life) = waiting(world, Some(60)).await;
    world.clock.advance(59);
    assert_eq!(world.store.wake_due(10).await.unwrap().woken, 0);
    world.clock.advance(2);
    let status = async |id, step| {
        let approval = world.store.approval(TENANT, id, step).await;
        approval.unwrap().status
    };
    assert_eq!(status(life.id, 2).await, ApprovalStatus::Expired);
    let late = world
        .store
        .decide_approval(TENANT, life.id, decision(2, ApprovalAction::Approve))
        .await;
    assert_eq!(
        late.unwrap_err(),
        StoreError::Decided(ApprovalStatus::Expired)
    );
    assert_eq!(world.store.wake_due(10).await.unwrap().woken, 1);
    assert_eq!(world.task(life.id).await.life.state, state::pending());
    assert_eq!(status(life.id, 4).await, ApprovalStatus::Expired);
    world.apply(life.id, TaskAction::Cancel).await.unwrap();

    // One whose time is over before its task ends, and one whose is not.
    let (_, life) = world.running().await;
    let soon = Some(life.updated_at.plus(SECOND));
    let append = Append {
        approvals: vec![asked(2, soon), asked(4, None)],
        ..Append::new(life.seq, pair(1), Next::Continue)
    };
    let life = world
        .apply(life.id, RunCommand::append(life.epoch, append))
        .await
        .unwrap();
    world.clock.advance(5);
    let result = crate::world::json("{}");
    let end = Next::Complete { result };
    world.append(&life, pair(3), end).await.unwrap();
    let ended = [status(life.id, 2).await, status(life.id, 4).await];
    assert_eq!(ended, [ApprovalStatus::Expired, ApprovalStatus::Void]);

    let (_, life) = waiting(world, None).await;
    world.apply(life.id, TaskAction::Cancel).await.unwrap();
    let void = world.store.approval(TENANT, life.id, 4).await.unwrap();
    assert_eq!(void.status, ApprovalStatus::Void);
    let late = world
        .store
        .decide_approval(TENANT, life.id, decision(4, ApprovalAction::Approve))
        .await;
    assert!(late.is_err());
}

pub(crate) async fn lists_by_status_and_task(world: &World) {
    let (_, first) = waiting(world, None).await;
    let (_, second) = waiting(world, None).await;
    world
        .store
        .decide_approval(TENANT, first.id, decision(2, ApprovalAction::Approve))
        .await
        .unwrap();
    let list = |tenant, filter: ApprovalFilter| async move {
        let filter = ApprovalFilter {
            limit: 10,
            ..filter
        };
        let found = world.store.approvals(tenant, filter).await.unwrap();
        found
            .into_iter()
            .map(|(row, approval)| (row, approval.task, approval.request.step))
            .collect::<Vec<_>>()
    };
    let pending = ApprovalFilter {
        status: Some(ApprovalStatus::Pending),
        ..Default::default()
    };
    let open = list(TENANT, pending.clone()).await;
    let keys: Vec<_> = open.iter().map(|(_, task, step)| (*task, *step)).collect();
    assert_eq!(keys, [(second.id, 4), (second.id, 2), (first.id, 4)]);
    let before = Some(open[0].0);
    let rest = list(
        TENANT,
        ApprovalFilter {
            before,
            ..pending.clone()
        },
    )
    .await;
    assert_eq!(rest, open[1..]);
    let task = Some(first.id);
    assert_eq!(
        list(
            TENANT,
            ApprovalFilter {
                task,
                ..Default::default()
            }
        )
        .await
        .len(),
        2
    );
    assert!(list(OTHER, pending).await.is_empty());
}

fn previewed(step: u32, outcome: PreviewOutcome) -> NewApproval {
    let is_pending = outcome == PreviewOutcome::Pending;
    let preview = Preview {
        tool: "look".into(),
        input: json!({"n": 1.5}),
        step: (!is_pending).then_some(9),
        outcome,
    };
    NewApproval {
        details: ApprovalDetails {
            escalation: None,
            preview: Some(preview),
        },
        ..asked(step, None)
    }
}

async fn ask(world: &World, life: &Lifecycle, step: u32, asked: NewApproval) -> Lifecycle {
    let append = Append {
        approvals: vec![asked],
        ..Append::new(life.seq, pair(step), Next::Continue)
    };
    world
        .apply(life.id, RunCommand::append(life.epoch, append))
        .await
        .unwrap()
}

pub(crate) async fn takes_a_preview_once_and_keeps_an_edit(world: &World) {
    let (_, life) = world.running().await;
    let life = ask(world, &life, 1, previewed(2, PreviewOutcome::Pending)).await;
    let found = world.store.approval(TENANT, life.id, 2).await.unwrap();
    assert_eq!(found.request, previewed(2, PreviewOutcome::Pending));

    // A person edits while the preview is under way.
    let (input, digest) = (json!({"to": "bob"}), "dd".repeat(32));
    let edit = ApprovalAction::Edit {
        input: input.clone(),
        digest,
    };
    let edit = decision(2, edit);
    world
        .store
        .decide_approval(TENANT, life.id, edit)
        .await
        .unwrap();
    let life = world.task(life.id).await.life;
    let output = json!({"seen": [1, "two"]});
    let seen = PreviewOutcome::Completed { output };
    let life = ask(world, &life, 3, previewed(2, seen.clone())).await;
    let found = world.store.approval(TENANT, life.id, 2).await.unwrap();
    assert_eq!((&found.request.input, found.revision), (&input, 2));
    let preview = found.request.details.preview.clone().unwrap();
    assert_eq!((preview.step, &preview.outcome), (Some(9), &seen));

    // A repeated append changes nothing, and neither does the beginning of the story.
    let error = ops_core::event::TaskError {
        code: "x".into(),
        message: "y".into(),
    };
    let life = ask(
        world,
        &life,
        5,
        previewed(2, PreviewOutcome::Failed { error }),
    )
    .await;
    let life = ask(world, &life, 7, previewed(2, PreviewOutcome::Pending)).await;
    let life = ask(world, &life, 9, asked(2, None)).await;
    assert_eq!(
        world.store.approval(TENANT, life.id, 2).await.unwrap(),
        found
    );

    // Its decision keeps it, and the list has it as well.
    let approve = ApprovalDecision {
        revision: Some(2),
        ..decision(2, ApprovalAction::Approve)
    };
    let decided = world
        .store
        .decide_approval(TENANT, life.id, approve)
        .await
        .unwrap();
    assert_eq!(decided.request, found.request);
    let filter = ApprovalFilter {
        task: Some(life.id),
        limit: 10,
        ..Default::default()
    };
    let listed = world.store.approvals(TENANT, filter).await.unwrap();
    assert_eq!(listed[0].1, decided);
}

pub(crate) async fn knows_when_it_escalates(world: &World) {
    const AHEAD: i64 = 400_000_000;
    world.clock.advance(AHEAD);
    let (_, life) = world.running().await;
    let at = life.updated_at.plus(60 * SECOND);
    let escalation = Escalation {
        at,
        to: "on-call".into(),
    };
    let request = NewApproval {
        details: ApprovalDetails {
            escalation: Some(escalation.clone()),
            preview: None,
        },
        ..asked(2, None)
    };
    let wait = Next::Wait(WaitRequest::Approval {
        steps: vec![2],
        until: Some(at),
    });
    let append = Append {
        approvals: vec![request],
        ..Append::new(life.seq, pair(1), wait)
    };
    world
        .apply(life.id, RunCommand::append(life.epoch, append))
        .await
        .unwrap();
    let found = world.store.approval(TENANT, life.id, 2).await.unwrap();
    assert_eq!(found.request.details.escalation, Some(escalation));
    assert_eq!(found.escalated(at.plus(-1)), None);
    assert_eq!(found.escalated(at), Some("on-call"));
    assert_eq!(found.standing(at.plus(SECOND)), ApprovalStatus::Pending);

    // A clock that was ahead.
    world.clock.advance(-AHEAD);
    assert_eq!(world.store.correct_clocks(10).await.unwrap(), 1);
    let found = world.store.approval(TENANT, life.id, 2).await.unwrap();
    let right = found
        .request
        .details
        .escalation
        .as_ref()
        .map(|found| found.at);
    assert_eq!(right, Some(at.plus(-AHEAD * SECOND)));

    // One that was decided in time was never escalated.
    let approve = decision(2, ApprovalAction::Approve);
    let decided = world
        .store
        .decide_approval(TENANT, life.id, approve)
        .await
        .unwrap();
    assert_eq!(decided.escalated(at.plus(SECOND)), None);
}
