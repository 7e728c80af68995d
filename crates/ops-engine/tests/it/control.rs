use ops_core::{
    Append, Code, NewApproval, Next, TaskAction, WaitRequest, ports::ApprovalFilter,
    task::TaskLimits,
};
use ops_engine::StepDecision;
use serde_json::json;

use crate::world::{TENANT, World, called, model};

#[tokio::test]
async fn a_cancel_ends_what_nobody_holds_and_asks_who_holds_the_rest() {
    let world = World::new();
    let (engine, caller) = (&world.engine, &world.caller);
    let ready = world.submit().await;
    let cancelled = engine.cancel(caller, ready).await.unwrap();
    assert_eq!(cancelled.life.state.name().as_str(), "cancelled");
    engine.cancel(caller, ready).await.unwrap();

    let held = world.running().await;
    engine.cancel(caller, held.id).await.unwrap();
    assert_eq!(world.state(held.id).await, "cancelling");
    engine.cancel(caller, held.id).await.unwrap();
    let asked = engine.life(TENANT, held.id).await.unwrap();
    world.record(&asked, Vec::new(), Next::Cancelled).await;
    assert_eq!(world.state(held.id).await, "cancelled");

    let done = world.running().await;
    world.complete(&done).await;
    let refused = engine.cancel(caller, done.id).await.unwrap_err();
    assert_eq!(refused.code, Code::TaskFinal);
}

#[tokio::test]
async fn children_are_cancelled_with_their_parent() {
    let world = World::new();
    let parent = world.running().await;
    let child = world.child(2);
    let append = Append {
        children: vec![child.clone()],
        ..Append::new(parent.seq, model(1), Next::Continue)
    };
    world.append(&parent, append).await;
    assert_eq!(world.state(child.id).await, "pending");
    world.engine.cancel(&world.caller, parent.id).await.unwrap();
    assert_eq!(world.state(child.id).await, "cancelled");
}

#[tokio::test]
async fn a_paused_task_is_not_taken_and_goes_on_when_it_is_resumed() {
    let world = World::new();
    let (engine, caller) = (&world.engine, &world.caller);
    let id = world.submit().await;
    engine.pause(caller, id).await.unwrap();
    engine.pause(caller, id).await.unwrap();
    assert!(world.claim().await.is_empty());
    engine.resume(caller, id).await.unwrap();
    assert_eq!(world.claim().await[0].task.id, id);
    assert_eq!(
        world.kinds(id).await,
        [
            "task.submitted",
            "task.paused",
            "task.resumed",
            "task.leased"
        ]
    );
}

#[tokio::test]
async fn limits_are_laid_over_those_of_the_task() {
    let world = World::new();
    let mut request = world.request();
    request.limits.max_tokens = Some(1_000);
    let id = world.submit_as(request).await;
    let limits = TaskLimits {
        max_steps: Some(7),
        ..TaskLimits::default()
    };
    let limited = world.engine.limit(&world.caller, id, limits).await.unwrap();
    let limits = limited.task.limits;
    assert_eq!(
        (limits.max_steps, limits.max_tokens),
        (Some(7), Some(1_000))
    );
    let nothing = TaskLimits::default();
    let refused = world.engine.limit(&world.caller, id, nothing).await;
    assert_eq!(refused.unwrap_err().code, Code::InvalidBody);
}

/// A task that waits for approval of step 2.
async fn asking(world: &World) -> ops_core::Lifecycle {
    let life = world.running().await;
    let mut events = model(1);
    events.push(called(2));
    let wait = WaitRequest::Approval {
        steps: vec![2],
        until: None,
    };
    let append = Append {
        approvals: vec![NewApproval {
            step: 2,
            tool: "send_mail".into(),
            tool_digest: "aa".repeat(32),
            agent_digest: "bb".repeat(32),
            input: json!({"to": "ann"}),
            input_digest: "cc".repeat(32),
            input_schema: json!({"type": "object", "properties": {"to": {"type": "string"}}}),
            reason: "the policy asks".into(),
            expires_at: None,
            details: Default::default(),
        }],
        ..Append::new(life.seq, events, Next::Wait(wait))
    };
    world.append(&life, append).await
}

#[tokio::test]
async fn an_approval_wakes_its_task_once() {
    let world = World::new();
    let (engine, caller) = (&world.engine, &world.caller);
    let life = asking(&world).await;
    let page = engine.approvals(
        TENANT,
        ApprovalFilter {
            limit: 10,
            ..ApprovalFilter::default()
        },
    );
    let page = page.await.unwrap();
    assert_eq!((page.approvals.len(), page.next), (1, None));
    assert_eq!(page.approvals[0].task, life.id);

    let decide_approval = async |decision, revision| {
        let by = Some("ann".to_owned());
        engine
            .decide_approval(caller, life.id, 2, decision, revision, by)
            .await
    };
    let wrong = StepDecision::Edit {
        input: json!({"to": 7}),
    };
    let refused = decide_approval(wrong, None).await.unwrap_err();
    assert_eq!(
        refused.code,
        Code::InvalidBody,
        "it does not fit the schema"
    );
    let edit = StepDecision::Edit {
        input: json!({"to": "bob"}),
    };
    assert_eq!(decide_approval(edit, Some(1)).await.unwrap().revision, 2);
    let late = decide_approval(StepDecision::Approve, Some(1))
        .await
        .unwrap_err();
    assert_eq!(late.code, Code::ApprovalChanged);
    assert_eq!(world.state(life.id).await, "waiting");
    decide_approval(StepDecision::Approve, Some(2))
        .await
        .unwrap();
    assert_eq!(world.state(life.id).await, "pending");
    let again = decide_approval(StepDecision::Approve, None)
        .await
        .unwrap_err();
    assert_eq!(again.code, Code::ApprovalDecided);
    let kinds = world.kinds(life.id).await;
    assert_eq!(
        kinds[kinds.len() - 3..],
        ["step.edited", "step.approved", "task.woken"]
    );
}

#[tokio::test]
async fn a_step_in_doubt_waits_for_a_decision() {
    let world = World::new();
    let (engine, caller) = (&world.engine, &world.caller);
    let life = world.running().await;
    let wait = Next::Wait(WaitRequest::InDoubt { steps: vec![2] });
    let mut events = model(1);
    events.push(called(2));
    world.record(&life, events, wait).await;
    let page = engine.reconciliations(TENANT, None, 10).await.unwrap();
    let steps: Vec<_> = page
        .steps
        .iter()
        .map(|(task, step)| (*task, step.number))
        .collect();
    assert_eq!(steps, [(life.id, Some(2))]);
    let retry = ops_core::event::Resolution::Retry;
    let other = engine
        .resolve(caller, life.id, 3, retry.clone(), None)
        .await;
    assert_eq!(other.unwrap_err().code, Code::NotInDoubt);
    engine
        .resolve(caller, life.id, 2, retry, None)
        .await
        .unwrap();
    assert_eq!(world.state(life.id).await, "pending");
    assert!(
        engine
            .reconciliations(TENANT, None, 10)
            .await
            .unwrap()
            .steps
            .is_empty()
    );
}

#[tokio::test]
async fn a_signal_wakes_who_waits_for_it() {
    let world = World::new();
    let life = world.running().await;
    let wait = WaitRequest::Signal {
        names: vec!["paid".into()],
        until: None,
    };
    world.record(&life, Vec::new(), Next::Wait(wait)).await;
    let signal = async |name: &str| {
        let name = name.to_owned();
        world
            .engine
            .signal(&world.caller, life.id, name, json!(1))
            .await
            .unwrap();
        world.state(life.id).await
    };
    assert_eq!(signal("other").await, "waiting");
    assert_eq!(signal("paid").await, "pending");
    // What a store is asked by an actor is what its log says.
    let command = TaskAction::Pause.by(ops_core::Actor::Machine);
    let store: &dyn ops_core::ports::TaskStore = &*world.store;
    store.command(TENANT, life.id, command).await.unwrap();
    let last = world.log(life.id).await.pop().unwrap();
    let actor = ops_core::event::TaskEvent::actor(&last.event.body);
    assert_eq!(actor, Some(ops_core::Actor::Machine));
}
