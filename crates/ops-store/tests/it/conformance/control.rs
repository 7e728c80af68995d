use ops_core::{
    Next, Rejection, RunCommand, TaskAction, WaitRequest,
    event::{Resolution, StepStatus, TaskEvent},
    ports::{StoreError, TaskFilter},
    task::{StateName, TaskLimits},
};

use serde_json::json;

use crate::world::{TENANT, World, pair, state, step};

pub(crate) async fn cancels_in_each_state(world: &World) {
    let pending = world.submit().await;
    assert_eq!(
        world
            .apply(pending, TaskAction::Cancel)
            .await
            .unwrap()
            .state,
        state::cancelled()
    );

    let mut delayed = world.new_task();
    delayed.task.run_at = Some(delayed.task.created_at.plus(60_000_000));
    let scheduled = world.submit_new(delayed).await;
    assert_eq!(
        world
            .apply(scheduled, TaskAction::Cancel)
            .await
            .unwrap()
            .state,
        state::cancelled()
    );
    assert_eq!(world.store.wake_due(1).await.unwrap().next, None);

    let (_, life) = world.running().await;
    world
        .append(
            &life,
            Vec::new(),
            Next::Wait(WaitRequest::InDoubt { steps: vec![1] }),
        )
        .await
        .unwrap();
    assert_eq!(
        world
            .apply(life.id, TaskAction::Cancel)
            .await
            .unwrap()
            .state,
        state::cancelled()
    );

    let (session, life) = world.running().await;
    let cancelling = world.apply(life.id, TaskAction::Cancel).await.unwrap();
    assert_eq!(cancelling.state, state::cancelling(session));
    let refused = world.apply(life.id, TaskAction::Cancel).await.unwrap_err();
    assert_eq!(refused, StoreError::Rejected(Rejection::Cancelling));
    let refused = world
        .append(&cancelling, pair(1), Next::Continue)
        .await
        .unwrap_err();
    assert_eq!(refused, StoreError::Rejected(Rejection::Cancelling));
    let outcome = vec![step(1, StepStatus::Completed)];
    let after = world
        .append(&cancelling, outcome, Next::Cancelled)
        .await
        .unwrap();
    assert_eq!(
        (&after.state, after.completed_at),
        (&state::cancelled(), Some(after.updated_at))
    );

    // A lease that ends confirms the cancel.
    let (session, life) = world.running().await;
    world.apply(life.id, TaskAction::Cancel).await.unwrap();
    world.store.close_session(session).await.unwrap();
    assert_eq!(world.task(life.id).await.life.state, state::cancelled());
}

pub(crate) async fn resolves_what_is_in_doubt(world: &World) {
    let in_doubt = || TaskFilter {
        in_doubt: true,
        limit: 10,
        ..Default::default()
    };
    let (session, life) = world.running().await;
    let wait = Next::Wait(WaitRequest::InDoubt { steps: vec![2, 5] });
    let after = world.append(&life, pair(1), wait).await.unwrap();
    assert_eq!(
        after.state,
        state::waiting(json!({"on": "in_doubt", "steps": [2, 5]}))
    );
    assert_eq!(world.task(life.id).await.life, after);
    assert_eq!(
        world.store.tasks(TENANT, in_doubt()).await.unwrap().len(),
        1
    );

    let resolve = |step, resolution| TaskAction::Resolve {
        step,
        resolution,
        by: Some("ann".into()),
    };
    let refused = world
        .apply(life.id, resolve(9, Resolution::Retry))
        .await
        .unwrap_err();
    assert_eq!(refused, StoreError::Rejected(Rejection::NotInDoubt(9)));
    let done = Resolution::Done {
        output: "x".repeat(20_000).into(),
    };
    let after = world
        .apply(life.id, resolve(2, done.clone()))
        .await
        .unwrap();
    assert_eq!(
        after.state,
        state::waiting(json!({"on": "in_doubt", "steps": [5]}))
    );
    let after = world
        .apply(life.id, resolve(5, Resolution::Retry))
        .await
        .unwrap();
    assert_eq!(after.state, state::pending());
    assert_eq!(
        world.store.tasks(TENANT, in_doubt()).await.unwrap().len(),
        0
    );

    let events = world.events(life.id).await;
    let resolved = events
        .iter()
        .find(|event| event.event.kind == "step.resolved")
        .unwrap();
    let body = TaskEvent::decode(&resolved.event.body).unwrap();
    assert_eq!(
        body,
        TaskEvent::Resolved {
            step: 2,
            resolution: done,
            by: Some("ann".into()),
        }
    );
    assert_eq!(
        world.claim(session, 1).await[0].life.seq,
        events.len() as u64 + 1
    );
}

pub(crate) async fn wakes_timers_when_due(world: &World) {
    let mut ids = Vec::new();
    let now = world.new_task().task.created_at;
    for seconds in [30, 10, 20] {
        let (_, life) = world.running().await;
        let until = now.plus(seconds * 1_000_000);
        let next = Next::Wait(WaitRequest::Timer { until });
        let after = world.append(&life, Vec::new(), next).await.unwrap();
        assert_eq!(
            after.state,
            state::waiting(json!({"on": "timer", "until": until}))
        );
        ids.push(life.id);
    }
    let due = world.store.wake_due(10).await.unwrap();
    assert_eq!((due.woken, due.next), (0, Some(now.plus(10_000_000))));
    world.clock.advance(25);
    let due = world.store.wake_due(1).await.unwrap();
    assert_eq!((due.woken, due.next), (1, Some(now.plus(20_000_000))));
    let due = world.store.wake_due(10).await.unwrap();
    assert_eq!((due.woken, due.next), (1, Some(now.plus(30_000_000))));
    let states: Vec<_> = [world.task(ids[0]).await, world.task(ids[1]).await]
        .map(|record| record.life.state.name())
        .into();
    assert_eq!(states, [StateName::Waiting, StateName::Pending]);
    assert_eq!(
        world.kinds(ids[1]).await[2..],
        ["task.waiting", "task.woken"]
    );
}

pub(crate) async fn releases_a_task(world: &World) {
    let (session, life) = world.running().await;
    let release = RunCommand::release(life.epoch);
    let after = world.apply(life.id, release.clone()).await.unwrap();
    assert_eq!(
        (after.state, after.attempt, after.lease_losses),
        (state::pending(), 1, 0)
    );
    assert!(world.apply(life.id, release).await.is_err());
    let again = world.claim(session, 1).await.remove(0).life;
    assert_eq!((again.epoch, again.attempt), (2, 1));
}

pub(crate) async fn does_not_run_while_paused(world: &World) {
    let pending = world.submit().await;
    let paused = world.apply(pending, TaskAction::Pause).await.unwrap();
    assert_eq!(paused.state, state::paused());
    assert_eq!(world.task(pending).await.life, paused);
    let session = world.session().await;
    assert!(world.claim(session, 10).await.is_empty());
    let counts = world.store.counts(TENANT).await.unwrap();
    assert_eq!(counts.get(&StateName::Paused), Some(&1));
    let filter = TaskFilter {
        states: vec![StateName::Paused],
        limit: 10,
        ..Default::default()
    };
    let listed = world.store.tasks(TENANT, filter).await.unwrap();
    assert_eq!(listed[0].task.id, pending);

    world.apply(pending, TaskAction::Resume).await.unwrap();
    let life = world.claim(session, 10).await[0].life.clone();
    let running = world.apply(pending, TaskAction::Pause).await.unwrap();
    assert_eq!(running.state, state::running(session));
    // What its worker does meanwhile is recorded; then it gives the task back.
    let mut known = life;
    known.seq = running.seq;
    let after = world.append(&known, pair(1), Next::Continue).await.unwrap();
    let epoch = after.epoch;
    let released = world.apply(pending, RunCommand::release(epoch)).await;
    assert_eq!(released.unwrap().state, state::paused());
    assert!(world.claim(session, 10).await.is_empty());
    assert_eq!(
        world
            .apply(pending, TaskAction::Cancel)
            .await
            .unwrap()
            .state,
        state::cancelled()
    );
}

pub(crate) async fn tells_the_session_at_once(world: &World) {
    let (session, life) = world.running().await;
    let store = std::sync::Arc::clone(&world.store);
    let waiting = tokio::spawn(async move { store.interrupted(session).await });
    world.apply(life.id, TaskAction::Pause).await.unwrap();
    waiting.await.unwrap();
    let reply = world.store.heartbeat(session).await.unwrap();
    assert_eq!(reply.pause, [(TENANT, life.id)]);
    world.apply(life.id, TaskAction::Resume).await.unwrap();
    let reply = world.store.heartbeat(session).await.unwrap();
    assert!(reply.pause.is_empty() && reply.cancel.is_empty());

    world.apply(life.id, TaskAction::Pause).await.unwrap();
    world.apply(life.id, TaskAction::Cancel).await.unwrap();
    world.store.interrupted(session).await;
    let reply = world.store.heartbeat(session).await.unwrap();
    assert_eq!(
        (reply.cancel, reply.pause),
        (vec![(TENANT, life.id)], vec![])
    );
}

pub(crate) async fn lays_limits_over_those_that_were_asked_for(world: &World) {
    let mut new = world.new_task();
    new.task.limits = TaskLimits {
        max_steps: Some(3),
        max_tokens: Some(100),
        ..TaskLimits::default()
    };
    let id = world.submit_new(new).await;
    let plain = world.submit().await;
    let raised = TaskLimits {
        max_tokens: Some(900),
        max_cost_micros: Some(5),
        ..TaskLimits::default()
    };
    for task in [id, plain] {
        world.apply(task, TaskAction::Limit(raised)).await.unwrap();
    }
    let limits = world.task(id).await.task.limits;
    assert_eq!(
        limits,
        TaskLimits {
            max_steps: Some(3),
            ..raised
        }
    );
    assert_eq!(world.task(plain).await.task.limits, raised);
    assert_eq!(
        world.events(id).await.last().unwrap().event.kind,
        "task.limited"
    );

    world.apply(id, TaskAction::Cancel).await.unwrap();
    let refused = world
        .apply(id, TaskAction::Limit(TaskLimits::default()))
        .await
        .unwrap_err();
    assert_eq!(
        refused,
        StoreError::Rejected(Rejection::Terminal(StateName::Cancelled))
    );
    assert_eq!(world.task(id).await.task.limits, limits);
}
