use ops_core::{
    Append, Lifecycle, Next, Rejection, RunCommand, State, TaskAction, WaitRequest,
    event::StepStatus, ports::StoreError, task::StateName,
};

use crate::world::{AnyCommand, TENANT, World, append, big_json, error, json, pair, state, step};

pub(crate) async fn completes(world: &World) {
    let (_, life) = world.running().await;
    let result = json(r#"{"answer": 42}"#);
    let next = Next::Complete {
        result: result.clone(),
    };
    let after = world.append(&life, pair(1), next).await.unwrap();
    assert_eq!(after.state, state::completed());
    assert_eq!(after.completed_at, Some(after.updated_at));
    let read = world.task(life.id).await;
    assert_eq!((read.life, read.result), (after, Some(result)));
    let kinds = world.kinds(life.id).await;
    assert_eq!(
        kinds[2..],
        ["tool.started", "tool.completed", "task.completed"]
    );
}

pub(crate) async fn fails_for_good(world: &World) {
    let (_, life) = world.running().await;
    let next = Next::Fail {
        error: error("run_failed"),
        retryable: false,
    };
    let after = world.append(&life, Vec::new(), next).await.unwrap();
    assert_eq!(after.state, state::failed(false));
    let read = world.task(life.id).await;
    assert_eq!(read.life, after);
    assert_eq!(
        (read.life.error(), read.result),
        (Some(&error("run_failed")), None)
    );
}

pub(crate) async fn retries_then_gives_up(world: &World) {
    let mut new = world.new_task();
    new.retry.max_attempts = 2;
    let (session, life) = world.running_new(new).await;
    let fail = || Next::Fail {
        error: error("flaky"),
        retryable: true,
    };
    let after = world.append(&life, Vec::new(), fail()).await.unwrap();
    let State::Scheduled { until, .. } = after.state else {
        panic!("{after:?}")
    };
    let read = world.task(life.id).await.life;
    assert_eq!((read.attempt, read.error()), (2, None));
    assert_eq!(read.failure, Some(error("flaky")));
    assert!(until > after.updated_at);
    assert_eq!(world.store.wake_due(10).await.unwrap().woken, 0);
    world.clock.advance(5);
    assert_eq!(world.store.wake_due(10).await.unwrap().woken, 1);
    let life = world.claim(session, 1).await.remove(0).life;
    assert_eq!((life.attempt, life.epoch), (2, 2));
    let after = world.append(&life, Vec::new(), fail()).await.unwrap();
    assert_eq!(after.state, state::failed(true));
    let read = world.task(life.id).await.life;
    assert_eq!(read.error(), Some(&error("flaky")));
    assert_eq!(read, after);
}

/// Case: engine, last failure while a task waits for its next attempt.
pub(crate) async fn tells_a_failure_until_it_completes(world: &World) {
    let mut new = world.new_task();
    new.retry.max_attempts = 2;
    let (session, life) = world.running_new(new).await;
    let next = Next::Fail {
        error: error("flaky"),
        retryable: true,
    };
    world.append(&life, Vec::new(), next).await.unwrap();
    let told = async || {
        let read = world.task(life.id).await.life;
        assert_eq!(read.error(), None);
        read.failure
    };
    assert_eq!(told().await, Some(error("flaky")));
    world.clock.advance(5);
    world.store.wake_due(10).await.unwrap();
    assert_eq!(told().await, Some(error("flaky")), "pending");
    let life = world.claim(session, 1).await.remove(0).life;
    assert_eq!(life.failure, Some(error("flaky")));
    assert_eq!(told().await, Some(error("flaky")), "running");
    let life = world.append(&life, pair(1), Next::Continue).await.unwrap();
    assert_eq!(told().await, Some(error("flaky")), "after a step");
    let result = json(r#"{"answer": 42}"#);
    let next = Next::Complete { result };
    world.append(&life, Vec::new(), next).await.unwrap();
    assert_eq!(told().await, None);
}

pub(crate) async fn ends_once(world: &World) {
    let (session, life) = world.running().await;
    let complete = |text: &str| Next::Complete { result: json(text) };
    let after = world
        .append(&life, Vec::new(), complete("1"))
        .await
        .unwrap();
    let terminal = || StoreError::Rejected(Rejection::Terminal(StateName::Completed));
    for asked in [
        AnyCommand::from(append(&after, Vec::new(), complete("2"))),
        TaskAction::Cancel.into(),
        TaskAction::Pause.into(),
        RunCommand::release(life.epoch).into(),
    ] {
        assert_eq!(world.apply(life.id, asked).await.unwrap_err(), terminal());
    }
    // Neither its session's end nor the clock changes it.
    world.store.close_session(session).await.unwrap();
    assert_eq!(world.store.wake_due(10).await.unwrap().woken, 0);
    assert_eq!(world.task(life.id).await.life, after);
    assert_eq!(world.task(life.id).await.result, Some(json("1")));
}

/// Applies twice and expects the same answer, with nothing written the second time.
async fn twice(world: &World, life: &Lifecycle, command: RunCommand) -> Lifecycle {
    let first = world.apply(life.id, command.clone()).await.unwrap();
    let events = world.events(life.id).await;
    let second = world.apply(life.id, command).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(world.events(life.id).await, events);
    first
}

pub(crate) async fn repeats_a_lost_acknowledgement(world: &World) {
    let (_, life) = world.running().await;
    let mut events = pair(1);
    events[1].body = big_json(100_000).as_str().to_owned().into();
    let first = append(&life, events, Next::Continue);
    let after = twice(world, &life, first.clone()).await;
    let later = twice(world, &after, append(&after, pair(2), Next::Continue)).await;
    // Also when the log has gone on since.
    assert_eq!(world.apply(life.id, first).await.unwrap(), later);
    assert_eq!(world.events(life.id).await.len() as u64, later.seq);
}

pub(crate) async fn repeats_every_end(world: &World) {
    let timer = WaitRequest::Timer {
        until: world.new_task().task.created_at.plus(1_000_000_000),
    };
    for next in [
        Next::Complete {
            result: json(r#"{"small":1}"#),
        },
        Next::Complete {
            result: big_json(50_000),
        },
        Next::Fail {
            error: error("final"),
            retryable: false,
        },
        Next::Fail {
            error: error("again"),
            retryable: true,
        },
        Next::Wait(timer),
        Next::Wait(WaitRequest::InDoubt { steps: vec![1] }),
    ] {
        let (_, life) = world.running().await;
        twice(world, &life, append(&life, pair(1), next.clone())).await;
        let (_, life) = world.running().await;
        twice(world, &life, append(&life, Vec::new(), next)).await;
    }
    let (_, life) = world.running().await;
    let life = world.apply(life.id, TaskAction::Cancel).await.unwrap();
    twice(world, &life, append(&life, Vec::new(), Next::Cancelled)).await;
}

pub(crate) async fn repeats_after_another_lease(world: &World) {
    let (session, life) = world.running().await;
    let command = append(&life, pair(1), Next::Continue);
    world.apply(life.id, command.clone()).await.unwrap();
    world.store.close_session(session).await.unwrap();
    let session = world.session().await;
    let current = world.claim(session, 1).await.remove(0).life;
    assert_eq!(world.apply(life.id, command).await.unwrap(), current);
}

pub(crate) async fn takes_nothing_else_for_a_repetition(world: &World) {
    let (session, life) = world.running().await;
    let after = world.append(&life, pair(1), Next::Continue).await.unwrap();
    let mut other_body = pair(1);
    other_body[1].body = [&*other_body[1].body, b" "].concat().into();
    let mut other_kind = pair(1);
    other_kind[0].kind = "tool.other".into();
    let mut other_step = pair(1);
    other_step[0] = step(2, StepStatus::Started);
    let mut more = pair(1);
    more.push(step(2, StepStatus::Started));
    for events in [other_body, other_kind, other_step, more, Vec::new()] {
        assert!(world.append(&life, events, Next::Continue).await.is_err());
    }
    let complete = Next::Complete { result: json("1") };
    assert!(
        world
            .append(&life, pair(1), complete.clone())
            .await
            .is_err()
    );
    // The same words under an epoch that did not write them.
    world.store.close_session(session).await.unwrap();
    let session = world.session().await;
    let current = world.claim(session, 1).await.remove(0).life;
    let stolen = Append::new(life.seq, pair(1), Next::Continue);
    let stolen = RunCommand::append(current.epoch, stolen);
    assert!(world.apply(life.id, stolen).await.is_err());
    // Another result than the one that ended the task.
    let end = append(&current, Vec::new(), complete);
    world.apply(life.id, end).await.unwrap();
    let other = Next::Complete { result: json("2") };
    assert!(world.append(&current, Vec::new(), other).await.is_err());
    assert_eq!(
        world.store.task(TENANT, life.id).await.unwrap().result,
        Some(json("1"))
    );
    assert!(after.seq < world.task(life.id).await.life.seq);
}
