use ops_core::{
    Actor, Append, ApprovalStatus, Lifecycle, Micros, NewApproval, Next, RunCommand, SessionId,
    State, TaskAction, WaitRequest,
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
    }
}

fn verdict(step: u32, action: ApprovalAction) -> ApprovalDecision {
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
    assert_eq!(open.asked, asked(2, None));
    assert_eq!((open.status, open.revision), (ApprovalStatus::Pending, 1));

    let approve = verdict(2, ApprovalAction::Approve);
    let judged = world
        .store
        .judge(TENANT, life.id, approve.clone())
        .await
        .unwrap();
    assert_eq!(judged.status, ApprovalStatus::Approved);
    assert_eq!(judged.decided_by.as_deref(), Some("ann"));
    assert_eq!(
        world.store.approval(TENANT, life.id, 2).await.unwrap(),
        judged
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
    let again = world.store.judge(TENANT, life.id, approve.clone()).await;
    assert_eq!(
        again.unwrap_err(),
        StoreError::Decided(ApprovalStatus::Approved)
    );

    // The other one can be decided although the task does not wait right now.
    let deny = verdict(
        4,
        ApprovalAction::Deny {
            reason: "not on a Friday".into(),
        },
    );
    let judged = world.store.judge(TENANT, life.id, deny).await.unwrap();
    assert_eq!(judged.note.as_deref(), Some("not on a Friday"));
    let none = world
        .store
        .judge(TENANT, life.id, verdict(3, ApprovalAction::Approve))
        .await;
    assert_eq!(none.unwrap_err(), StoreError::NoApproval(3));
    let walled = world.store.judge(OTHER, life.id, approve).await;
    assert_eq!(walled.unwrap_err(), StoreError::NotFound);
    let walled = world.store.approval(OTHER, life.id, 2).await;
    assert_eq!(walled.unwrap_err(), StoreError::NoApproval(2));
}

pub(crate) async fn binds_an_edit_to_its_revision(world: &World) {
    let (_, life) = waiting(world, None).await;
    let edit = verdict(
        2,
        ApprovalAction::Edit {
            input: json!({"to": "bob"}),
            digest: "dd".repeat(32),
        },
    );
    let edited = world.store.judge(TENANT, life.id, edit).await.unwrap();
    assert_eq!(
        (edited.status, edited.revision),
        (ApprovalStatus::Pending, 2)
    );
    assert_eq!(edited.asked.input_digest, "dd".repeat(32));
    assert!(matches!(
        world.task(life.id).await.life.state,
        State::Waiting(_)
    ));
    let approve = |revision| ApprovalDecision {
        revision: Some(revision),
        ..verdict(2, ApprovalAction::Approve)
    };
    let stale = world.store.judge(TENANT, life.id, approve(1)).await;
    assert_eq!(
        stale.unwrap_err(),
        StoreError::WrongRevision {
            given: 1,
            current: 2
        }
    );
    world
        .store
        .judge(TENANT, life.id, approve(2))
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
        .judge(TENANT, life.id, verdict(2, ApprovalAction::Approve))
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
        .judge(TENANT, life.id, verdict(4, ApprovalAction::Approve))
        .await;
    assert!(late.is_err());
}

pub(crate) async fn lists_by_status_and_task(world: &World) {
    let (_, first) = waiting(world, None).await;
    let (_, second) = waiting(world, None).await;
    world
        .store
        .judge(TENANT, first.id, verdict(2, ApprovalAction::Approve))
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
            .map(|(row, approval)| (row, approval.task, approval.asked.step))
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
