use ops_core::{
    Append, Next, Rejection, RunCommand,
    event::{StepStatus, Usage},
    ports::{Snapshot, StoreError},
    task::StateName,
};

use crate::world::{TENANT, World, append, json, pair, state, step};

pub(crate) async fn writes_events_usage_and_losses(world: &World) {
    let (session, life) = world.running().await;
    world.store.close_session(session).await.unwrap();
    let again = world.session().await;
    let life_again = world.claim(again, 1).await.remove(0).life;
    assert_eq!(
        (life_again.epoch, life_again.lease_losses),
        (life.epoch + 1, 1)
    );

    let after = world
        .append(&life_again, pair(1), Next::Continue)
        .await
        .unwrap();
    assert_eq!(after.seq, life_again.seq + 2);
    assert_eq!(after.lease_losses, 0);
    assert!(after.run_started);
    let used = Usage {
        input_tokens: 20,
        output_tokens: 4,
        cost_micros: 14,
    };
    assert_eq!(after.usage, used);
    assert_eq!(world.task(life.id).await.life, after);
    let events = world.events(life.id).await;
    let written: Vec<_> = events[4..]
        .iter()
        .map(|event| event.event.clone())
        .collect();
    assert_eq!(written, pair(1));
}

pub(crate) async fn refuses_a_stale_epoch(world: &World) {
    let (session, life) = world.running().await;
    world.store.close_session(session).await.unwrap();
    let fresh = world.session().await;
    let current = world.claim(fresh, 1).await.remove(0).life;
    let before = world.events(life.id).await;

    let refused = world
        .append(&life, pair(1), Next::Continue)
        .await
        .unwrap_err();
    let stale = Rejection::StaleEpoch {
        given: life.epoch,
        current: current.epoch,
    };
    assert_eq!(refused, StoreError::Rejected(stale));
    let complete = Next::Complete {
        result: crate::world::json("{}"),
    };
    assert!(world.append(&life, Vec::new(), complete).await.is_err());
    assert!(
        world
            .apply(life.id, RunCommand::release(life.epoch))
            .await
            .is_err()
    );
    assert_eq!(world.events(life.id).await, before);
    assert_eq!(world.task(life.id).await.life, current);
}

/// tests/X12: what a worker without a lease tries to write is refused and counted.
pub(crate) async fn counts_stale_writes(world: &World) {
    let stale = || world.store.stats().work.stale_writes;
    let (session, life) = world.running().await;
    assert_eq!(stale(), 0);
    world.store.close_session(session).await.unwrap();
    // Nobody holds it, then somebody else does, and then it has ended.
    let late = append(&life, pair(1), Next::Continue);
    assert!(world.apply(life.id, late.clone()).await.is_err());
    assert_eq!(stale(), 1);
    let session = world.session().await;
    let held = world.claim(session, 1).await.remove(0).life;
    assert!(world.apply(life.id, late.clone()).await.is_err());
    let release = RunCommand::release(life.epoch);
    assert!(world.apply(life.id, release).await.is_err());
    assert_eq!(stale(), 3);
    let snapshot = Snapshot {
        seq: 2,
        version: 1,
        body: b"{}".to_vec(),
    };
    let kept = world
        .store
        .put_snapshot(TENANT, life.id, life.epoch, snapshot);
    assert!(kept.await.is_err());
    assert_eq!(stale(), 4);
    // One that does not know the last event holds its lease all the same.
    let mut behind = held.clone();
    behind.seq -= 1;
    let behind = append(&behind, pair(1), Next::Continue);
    assert!(world.apply(life.id, behind).await.is_err());
    assert_eq!(stale(), 4);
    let complete = Next::Complete { result: json("{}") };
    world.append(&held, pair(1), complete).await.unwrap();
    assert!(world.apply(life.id, late).await.is_err());
    assert_eq!(stale(), 5);
}

pub(crate) async fn refuses_a_wrong_seq(world: &World) {
    let (_, life) = world.running().await;
    for expected_seq in [0, life.seq - 1, life.seq + 1, u64::MAX] {
        let append = Append::new(expected_seq, pair(1), Next::Continue);
        let refused = world
            .apply(life.id, RunCommand::append(life.epoch, append))
            .await
            .unwrap_err();
        let wrong = Rejection::WrongSeq {
            given: expected_seq,
            current: life.seq,
        };
        assert_eq!(refused, StoreError::Rejected(wrong));
    }
    assert_eq!(world.task(life.id).await.life, life);
}

pub(crate) async fn refuses_before_and_after_the_lease(world: &World) {
    let id = world.submit().await;
    let mut life = world.task(id).await.life;
    let refused = world
        .append(&life, pair(1), Next::Continue)
        .await
        .unwrap_err();
    assert_eq!(
        refused,
        StoreError::Rejected(Rejection::WrongState(StateName::Pending))
    );
    let session = world.session().await;
    life = world.claim(session, 1).await.remove(0).life;
    let released = world
        .apply(id, RunCommand::release(life.epoch))
        .await
        .unwrap();
    assert_eq!(released.state, state::pending());
    life.seq = released.seq;
    assert!(world.append(&life, pair(1), Next::Continue).await.is_err());
}

pub(crate) async fn fails_no_neighbour(world: &World) {
    let session = world.session().await;
    for _ in 0..64 {
        world.submit().await;
    }
    let claimed = world.claim(session, 64).await;
    assert_eq!(claimed.len(), 64);
    let mut calls = tokio::task::JoinSet::new();
    for (index, record) in claimed.iter().enumerate() {
        let (store, life) = (world.store.clone(), record.life.clone());
        calls.spawn(async move {
            let mut command = append(&life, pair(1), Next::Continue);
            if index % 8 == 0 {
                command.epoch -= 1;
            }
            let done = store
                .record(crate::world::TENANT, life.id, command, Vec::new())
                .await;
            (index, life, done)
        });
    }
    for (index, life, done) in calls.join_all().await {
        let events = world.events(life.id).await.len() as u64;
        if index % 8 == 0 {
            let stale = Rejection::StaleEpoch {
                given: 0,
                current: 1,
            };
            assert_eq!(done.unwrap_err(), StoreError::Rejected(stale));
            assert_eq!(events, life.seq);
        } else {
            assert_eq!(done.unwrap().seq, life.seq + 2);
            assert_eq!(events, life.seq + 2);
        }
    }
}

pub(crate) async fn counts_no_gap_under_concurrency(world: &World) {
    const RUNS: usize = 16;
    const STEPS: u32 = 20;
    let session = world.session().await;
    for _ in 0..RUNS {
        world.submit().await;
    }
    let claimed = world.claim(session, 100).await;
    assert_eq!(claimed.len(), RUNS);
    let mut calls = tokio::task::JoinSet::new();
    for record in &claimed {
        // Two writers of one lease: one of them wins each number.
        for _ in 0..2 {
            let (store, mut life) = (world.store.clone(), record.life.clone());
            calls.spawn(async move {
                let mut won = 0;
                for number in 0..STEPS {
                    let mut event = step(number, StepStatus::Completed);
                    let mark = format!("{:?}", tokio::task::id());
                    event.body = [&*event.body, mark.as_bytes()].concat().into();
                    let command = append(&life, vec![event], Next::Continue);
                    let tenant = crate::world::TENANT;
                    match store.record(tenant, life.id, command, Vec::new()).await {
                        Ok(after) => {
                            life = after;
                            won += 1;
                        }
                        Err(StoreError::Rejected(Rejection::WrongSeq { current, .. })) => {
                            life.seq = current;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                won
            });
        }
    }
    let won: usize = calls.join_all().await.into_iter().sum();
    let mut written = 0;
    for record in &claimed {
        let events = world.events(record.task.id).await;
        let numbers: Vec<u64> = events.iter().map(|event| event.seq).collect();
        assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
        assert_eq!(
            world.task(record.task.id).await.life.seq,
            events.len() as u64
        );
        written += events.len() - 2;
    }
    assert_eq!(written, won);
    assert!(won >= RUNS * STEPS as usize, "{won}");
}
