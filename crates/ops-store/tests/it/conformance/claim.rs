use std::collections::BTreeSet;

use ops_core::{
    State,
    ports::{ClaimRequest, StoreError},
};

use crate::world::World;

pub(crate) async fn takes_priority_then_age(world: &World) {
    let mut ids = Vec::new();
    for priority in [5, 0, 9, 5, 9] {
        let mut new = world.new_task();
        new.task.priority = priority;
        ids.push(world.submit_new(new).await);
    }
    let session = world.session().await;
    let claimed = world.claim(session, 10).await;
    let order: Vec<_> = claimed.iter().map(|record| record.task.id).collect();
    assert_eq!(order, [ids[2], ids[4], ids[0], ids[3], ids[1]]);
    for record in &claimed {
        assert_eq!(record.life.state, State::Running { session });
        assert_eq!((record.life.epoch, record.life.seq), (1, 2));
        assert_eq!(record.life.started_at, Some(record.life.updated_at));
        assert_eq!(*record, world.task(record.task.id).await);
    }
    assert_eq!(world.kinds(ids[0]).await, ["task.submitted", "task.leased"]);
}

pub(crate) async fn keeps_to_the_queue_and_the_number(world: &World) {
    let mut elsewhere = world.new_task();
    elsewhere.task.queue = "other".into();
    let elsewhere = world.submit_new(elsewhere).await;
    for _ in 0..3 {
        world.submit().await;
    }
    let session = world.session().await;
    assert_eq!(world.claim(session, 0).await.len(), 0);
    assert_eq!(world.claim(session, 2).await.len(), 2);
    assert_eq!(world.claim(session, 2).await.len(), 1);
    assert_eq!(world.claim(session, 2).await.len(), 0);
    let request = ClaimRequest {
        session,
        queue: "other".into(),
        max: 5,
    };
    assert_eq!(
        world.store.claim(request).await.unwrap()[0].task.id,
        elsewhere
    );
}

pub(crate) async fn never_shares_a_task(world: &World) {
    for _ in 0..100 {
        world.submit().await;
    }
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let (store, session) = (world.store.clone(), world.session().await);
        calls.spawn(async move {
            let request = ClaimRequest {
                session,
                queue: "default".into(),
                max: 5,
            };
            store.claim(request).await.unwrap()
        });
    }
    let claimed: Vec<_> = calls.join_all().await.into_iter().flatten().collect();
    assert_eq!(claimed.len(), 100);
    let ids: BTreeSet<_> = claimed.iter().map(|record| record.task.id).collect();
    assert_eq!(ids.len(), 100);
}

pub(crate) async fn needs_a_session_that_lives(world: &World) {
    world.submit().await;
    let session = world.session().await;
    world.store.close_session(session).await.unwrap();
    let request = ClaimRequest {
        session,
        queue: "default".into(),
        max: 1,
    };
    assert_eq!(
        world.store.claim(request).await.unwrap_err(),
        StoreError::SessionOver
    );
}
