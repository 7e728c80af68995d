use std::collections::BTreeSet;

use ops_core::{
    SessionId,
    ports::{ClaimRequest, Claimed, Clock as _, More, StoreError},
    rate::Rate,
    rules::claim::{AGED_AFTER, serves_aged},
    task::StateName,
    time::SECOND,
};

use crate::world::{OTHER, TENANT, World, state};

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
        assert_eq!(record.life.state, state::running(session));
        assert_eq!((record.life.epoch, record.life.seq), (1, 2));
        assert_eq!(record.life.started_at, Some(record.life.updated_at));
        assert_eq!(*record, world.task(record.task.id).await);
    }
    assert_eq!(world.kinds(ids[0]).await, ["task.submitted", "task.leased"]);
}

/// Case: engine, ageing of low priorities.
pub(crate) async fn takes_aged_tasks_first_in_their_slices(world: &World) {
    let with = |priority| {
        let mut new = world.new_task();
        new.task.priority = priority;
        world.submit_new(new)
    };
    let until = |aged: bool| {
        while serves_aged(world.clock.now()) != aged {
            world.clock.advance(1);
        }
    };
    let (low, middle, high) = (with(0).await, with(3).await, with(9).await);
    let session = world.session().await;
    let next = async || world.claim(session, 1).await.remove(0).task.id;
    // Nothing is aged yet.
    until(true);
    assert_eq!(next().await, high);
    world.clock.advance(AGED_AFTER / SECOND);
    let high = with(9).await;
    until(false);
    assert_eq!(next().await, high, "a slice of the priorities");
    let high = with(9).await;
    until(true);
    assert_eq!(next().await, low, "the oldest first");
    let claimed = world.claim(session, 2).await;
    let order: Vec<_> = claimed.iter().map(|record| record.task.id).collect();
    assert_eq!(
        order,
        [middle, high],
        "a task that is not aged goes by its priority"
    );
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
        rate: None,
        after: None,
    };
    assert_eq!(
        world.store.claim(request).await.unwrap().tasks[0].task.id,
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
                rate: None,
                after: None,
            };
            store.claim(request).await.unwrap().tasks
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
        rate: None,
        after: None,
    };
    assert_eq!(
        world.store.claim(request).await.unwrap_err(),
        StoreError::SessionOver
    );
}

/// Claims from the default queue: two tasks at once, and then one each second.
async fn paced(world: &World, session: SessionId) -> Claimed {
    let request = ClaimRequest {
        session,
        queue: "default".into(),
        max: 10,
        rate: Rate::new(1, SECOND, 2),
        after: None,
    };
    world.store.claim(request).await.unwrap()
}

pub(crate) async fn keeps_to_the_rate_of_the_queue(world: &World) {
    for _ in 0..5 {
        world.submit().await;
    }
    let session = world.session().await;
    let now = world.clock.now();
    let first = paced(world, session).await;
    assert_eq!(first.tasks.len(), 2);
    assert_eq!(first.more, More::At(now.plus(SECOND)));
    // The rate is one for all workers.
    let other = world.session().await;
    let none = paced(world, other).await;
    assert_eq!((none.tasks.len(), none.more), (0, first.more));
    world.clock.advance(1);
    let third = paced(world, other).await;
    assert_eq!(third.tasks.len(), 1);
    assert_eq!(third.more, More::At(now.plus(2 * SECOND)));
    // What was not used is there later, up to the burst.
    world.clock.advance(10);
    let rest = paced(world, session).await;
    assert_eq!(rest.tasks.len(), 2);
    world.clock.advance(1);
    let none = paced(world, session).await;
    assert_eq!((none.tasks.len(), none.more), (0, More::Rung));
    // Another queue has a rate of its own.
    let mut elsewhere = world.new_task();
    elsewhere.task.queue = "other".into();
    world.submit_new(elsewhere).await;
    let request = ClaimRequest {
        session,
        queue: "other".into(),
        max: 1,
        rate: Rate::new(1, SECOND, 1),
        after: None,
    };
    assert_eq!(world.store.claim(request).await.unwrap().tasks.len(), 1);
}

pub(crate) async fn blocks_a_long_backlog_in_pieces(world: &World) {
    for _ in 0..1_000 {
        let mut new = world.new_task();
        new.task.concurrency_key = Some("one".into());
        world.submit_new(new).await;
    }
    let behind = world.submit().await;
    let session = world.session().await;
    let request = || ClaimRequest {
        session,
        queue: "default".into(),
        max: 10,
        rate: None,
        after: None,
    };
    let blocked = async || {
        let counts = world.store.counts(TENANT).await.unwrap();
        counts.get(&StateName::Waiting).copied().unwrap_or(0)
    };
    let first = world.store.claim(request()).await.unwrap();
    assert_eq!((first.tasks.len(), first.more), (1, More::Now));
    assert!(blocked().await < 500, "one claim blocks them all");
    for _ in 0..10 {
        let claimed = world.store.claim(request()).await.unwrap();
        if let Some(record) = claimed.tasks.first() {
            assert_eq!(record.task.id, behind);
            assert_eq!(blocked().await, 999);
            return;
        }
        assert_eq!(claimed.more, More::Now);
    }
    panic!("the task behind the others is not reached");
}

pub(crate) async fn takes_turns_among_tenants(world: &World) {
    let submit = |tenant, priority| {
        let mut new = world.new_task();
        new.task.tenant = tenant;
        new.task.priority = priority;
        world.store.submit(new)
    };
    for _ in 0..20 {
        submit(TENANT, 9).await.unwrap();
    }
    for _ in 0..5 {
        submit(OTHER, 0).await.unwrap();
    }
    let session = world.session().await;
    let claim = |max, after| {
        let request = ClaimRequest {
            session,
            queue: "default".into(),
            max,
            rate: None,
            after,
        };
        let claimed = world.store.claim(request);
        async move {
            let tasks = claimed.await.unwrap().tasks;
            tasks
                .iter()
                .map(|task| task.task.tenant)
                .collect::<Vec<_>>()
        }
    };
    // One task at a time, and several.
    assert_eq!(claim(1, None).await, [TENANT]);
    assert_eq!(claim(1, Some(TENANT)).await, [OTHER]);
    assert_eq!(claim(1, Some(OTHER)).await, [TENANT]);
    assert_eq!(claim(4, Some(TENANT)).await, [OTHER, TENANT, OTHER, TENANT]);
    // The other tenant has two tasks left: its share goes to those who have more.
    let rest = claim(9, Some(TENANT)).await;
    assert_eq!(rest[..4], [OTHER, TENANT, OTHER, TENANT]);
    assert_eq!(rest[4..], [TENANT; 5]);
    assert_eq!(claim(20, Some(TENANT)).await, [TENANT; 9]);
    assert_eq!(claim(20, Some(TENANT)).await, []);
}
