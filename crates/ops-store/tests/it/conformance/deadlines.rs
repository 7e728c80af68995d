//! engine/E5: `limits.timeout` is kept while no worker holds the task.

use ops_core::{
    Append, Lifecycle, Next, RunCommand, TaskAction, TaskId, WaitRequest,
    ports::NewTask,
    task::{OnExhausted, StateName, TaskLimits},
    time::SECOND,
};

use crate::world::{World, append, error, pair, state};

/// A task that may take two seconds.
fn short(world: &World) -> NewTask {
    let mut new = world.new_task();
    new.task.limits.timeout_micros = Some(2 * SECOND);
    new
}

fn fail() -> Next {
    Next::Fail {
        error: error("model_unreachable"),
        retryable: true,
    }
}

/// Looks for what is due, and says how the task ended; none if it did not.
async fn end(world: &World, task: TaskId) -> Option<(StateName, String)> {
    world.store.wake_due(10).await.unwrap();
    let record = world.task(task).await;
    let error = record.life.error().map(|error| error.code.clone());
    let name = record.life.state.name();
    name.is_terminal()
        .then(|| (name, error.unwrap_or_default()))
}

fn timeout() -> Option<(StateName, String)> {
    Some((StateName::Failed, "timeout".to_owned()))
}

pub(crate) async fn ends_a_task_that_waits_for_its_next_attempt(world: &World) {
    let mut new = short(world);
    new.task.concurrency_key = Some("k".into());
    new.retry.initial_micros = 8 * SECOND;
    let (session, life) = world.running_new(new).await;
    let mut behind = world.new_task();
    behind.task.concurrency_key = Some("k".into());
    let behind = world.submit_new(behind).await;
    assert!(world.claim(session, 10).await.is_empty());
    let started = life.started_at.unwrap();
    let after = world.append(&life, pair(1), fail()).await.unwrap();
    assert_eq!(after.state.name(), StateName::Scheduled);
    world.clock.advance(1);
    let due = world.store.wake_due(10).await.unwrap();
    assert_eq!((due.woken, due.next), (0, Some(started.plus(2 * SECOND))));
    world.clock.advance(1);
    let due = world.store.wake_due(10).await.unwrap();
    assert_eq!((due.woken, due.next), (1, None));
    assert_eq!(end(world, life.id).await, timeout());
    // Its key is free again.
    assert_eq!(world.claim(session, 10).await[0].task.id, behind);
}

pub(crate) async fn ends_what_nobody_decides_or_takes_up(world: &World) {
    let (_, life) = world.running_new(short(world)).await;
    let doubt = Next::Wait(WaitRequest::InDoubt { steps: vec![3] });
    world.append(&life, pair(1), doubt).await.unwrap();
    let in_doubt = life.id;
    // Given back by its worker, and nobody else asks.
    let (_, life) = world.running_new(short(world)).await;
    let release = RunCommand::release(life.epoch);
    world.apply(life.id, release).await.unwrap();
    // Its wait is over, likewise.
    let woken = {
        let (_, life) = world.claim_another(short(world)).await;
        let until = life.updated_at.plus(SECOND);
        let wait = Next::Wait(WaitRequest::Timer { until });
        world.append(&life, pair(1), wait).await.unwrap();
        life.id
    };
    world.clock.advance(1);
    for task in [in_doubt, life.id, woken] {
        assert_eq!(end(world, task).await, None);
    }
    world.clock.advance(1);
    for task in [in_doubt, life.id, woken] {
        assert_eq!(end(world, task).await, timeout());
    }
    let message = world
        .task(in_doubt)
        .await
        .life
        .error()
        .unwrap()
        .message
        .clone();
    assert!(message.contains("step 3"), "{message}");
}

pub(crate) async fn leaves_alone_what_is_held_or_paused(world: &World) {
    let (session, held) = world.running_new(short(world)).await;
    let (_, paused) = world.running_new(short(world)).await;
    world
        .append(
            &paused,
            pair(1),
            Next::Wait(WaitRequest::InDoubt { steps: vec![1] }),
        )
        .await
        .unwrap();
    world.apply(paused.id, TaskAction::Pause).await.unwrap();
    // A run whose policy is to wait looks at its deadline by itself.
    let mut new = short(world);
    new.task.limits.on_exhausted = Some(OnExhausted::Wait);
    let (_, patient) = world.running_new(new).await;
    world.append(&patient, pair(1), fail()).await.unwrap();
    let patient = patient.id;
    let fresh = world.submit_new(short(world)).await;
    world.clock.advance(60);
    for task in [held.id, paused.id, patient, fresh] {
        assert_eq!(end(world, task).await, None, "{task}");
    }
    assert_eq!(
        world.task(held.id).await.life.state,
        state::running(session)
    );
    // A person may give it more time before it goes on; if none did, it ends.
    let more = TaskLimits {
        timeout_micros: Some(61 * SECOND),
        ..TaskLimits::default()
    };
    world
        .apply(paused.id, TaskAction::Limit(more))
        .await
        .unwrap();
    world.apply(paused.id, TaskAction::Resume).await.unwrap();
    assert_eq!(end(world, paused.id).await, None);
    world.clock.advance(1);
    assert_eq!(end(world, paused.id).await, timeout());
}

pub(crate) async fn keeps_to_the_limits_in_force(world: &World) {
    let of = |life: &Lifecycle, limits| {
        let limits = Some(Box::new(limits));
        RunCommand::append(
            life.epoch,
            Append {
                limits,
                ..Append::new(life.seq, pair(1), fail())
            },
        )
    };
    // The limit is one of the agent, of which only the run knows.
    let mut new = world.new_task();
    new.retry.initial_micros = 60 * SECOND;
    let (_, life) = world.running_new(new).await;
    let limits = TaskLimits {
        timeout_micros: Some(3 * SECOND),
        on_exhausted: Some(OnExhausted::Fail),
        ..TaskLimits::default()
    };
    assert_eq!(world.task(life.id).await.in_force, None);
    world.apply(life.id, of(&life, limits)).await.unwrap();
    let record = world.task(life.id).await;
    // What was asked stays apart: a retry begins with that.
    assert_eq!(
        (record.in_force, record.task.limits),
        (Some(limits), TaskLimits::default())
    );
    let more = TaskLimits {
        max_steps: Some(7),
        ..TaskLimits::default()
    };
    world.apply(life.id, TaskAction::Limit(more)).await.unwrap();
    let record = world.task(life.id).await;
    let laid = TaskLimits {
        max_steps: Some(7),
        ..limits
    };
    assert_eq!((record.in_force, record.task.limits), (Some(laid), more));
    // Its policy is to wait.
    let (_, patient) = world.running_new(short(world)).await;
    let limits = TaskLimits {
        on_exhausted: Some(OnExhausted::Wait),
        ..limits
    };
    world.apply(patient.id, of(&patient, limits)).await.unwrap();
    // An append that says nothing of limits leaves them.
    let (_, quiet) = world.running_new(short(world)).await;
    world
        .apply(quiet.id, append(&quiet, pair(1), fail()))
        .await
        .unwrap();
    world.clock.advance(2);
    assert_eq!(end(world, quiet.id).await, timeout());
    assert_eq!(end(world, life.id).await, None);
    world.clock.advance(1);
    assert_eq!(end(world, life.id).await, timeout());
    assert_eq!(end(world, patient.id).await, None);
}

pub(crate) async fn ends_what_does_not_start_in_time(world: &World) {
    let old = |key: Option<&str>| {
        let mut new = world.new_task();
        new.task.limits.queue_timeout_micros = Some(2 * SECOND);
        new.task.concurrency_key = key.map(str::to_owned);
        new
    };
    let mut holder = world.new_task();
    holder.task.concurrency_key = Some("k".into());
    let (session, _) = world.running_new(holder).await;
    let blocked = world.submit_new(old(Some("k"))).await;
    assert!(world.claim(session, 10).await.is_empty());
    let begun = world.submit_new(old(None)).await;
    assert_eq!(world.claim(session, 10).await[0].task.id, begun);
    let paused = world.submit_new(old(None)).await;
    world.apply(paused, TaskAction::Pause).await.unwrap();
    let pending = world.submit_new(old(None)).await;
    let mut delayed = old(None);
    delayed.task.run_at = Some(delayed.task.created_at.plus(SECOND));
    let delayed = world.submit_new(delayed).await;
    let notices = world.seen.take();
    assert!(
        notices
            .iter()
            .any(|notice| notice.due.is_some() && notice.hint.task == pending)
    );
    world.clock.advance(2);
    let late = || Some((StateName::Failed, "queue_timeout".to_owned()));
    for task in [blocked, pending] {
        assert_eq!(end(world, task).await, late());
    }
    for task in [begun, paused, delayed] {
        assert_eq!(end(world, task).await, None);
    }
    world.clock.advance(1);
    assert_eq!(end(world, delayed).await, late());
}
