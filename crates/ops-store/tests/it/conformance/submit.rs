use std::collections::BTreeSet;

use ops_core::{
    Micros,
    ports::{Idempotency, IdempotencyKey, StoreError},
    retry::RetryPolicy,
    task::{OnExhausted, StateName, TaskLimits},
};

use crate::world::{OTHER, TENANT, World, json, state};

pub(crate) async fn stores_the_task_and_its_first_event(world: &World) {
    let new = world.new_task();
    let submitted = world.store.submit(new.clone()).await.unwrap();
    assert!(!submitted.existing);
    assert_eq!(submitted.record.task, new.task);
    assert_eq!(submitted.record.life.state, state::pending());
    assert_eq!(
        (submitted.record.life.seq, submitted.record.life.attempt),
        (1, 1)
    );
    assert_eq!(world.task(new.task.id).await, submitted.record);
    let events = world.events(new.task.id).await;
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0].seq, events[0].event.kind.as_str()),
        (1, "task.submitted")
    );
    assert_eq!(events[0].at, submitted.record.life.updated_at);
}

pub(crate) async fn keeps_every_field(world: &World) {
    let mut new = world.new_task();
    let older = world.submit().await;
    new.task.name = Some("a name, ünïcode".into());
    new.task.agent_id = Some("researcher".into());
    new.task.input = json(r#"{ "b" : 1.50, "a": [null, "é"] }"#);
    new.task.labels = [("team".into(), "a".into()), ("env".into(), "b".into())].into();
    new.task.limits = TaskLimits {
        max_steps: Some(3),
        max_tokens: Some(u64::from(u32::MAX) * 2),
        max_cost_micros: Some(9),
        timeout_micros: Some(7_000_000),
        queue_timeout_micros: Some(8_000_000),
        on_exhausted: Some(OnExhausted::Wait),
    };
    new.task.priority = 9;
    new.task.queue = "other".into();
    new.task.retry_of = Some(older);
    new.task.run_at = Some(Micros(5));
    new.retry = RetryPolicy {
        max_attempts: 7,
        initial_micros: 11,
        max_micros: 13,
        max_lease_losses: 2,
    };
    let submitted = world.store.submit(new.clone()).await.unwrap().record;
    assert_eq!(submitted.task, new.task);
    assert_eq!(submitted.life.retry, new.retry);
    let read = world.task(new.task.id).await;
    assert_eq!(read, submitted);
    assert_eq!(
        read.task.input.as_str(),
        r#"{ "b" : 1.50, "a": [null, "é"] }"#
    );
}

pub(crate) async fn delays_until_run_at(world: &World) {
    let mut new = world.new_task();
    let start = new.task.created_at.plus(60_000_000);
    new.task.run_at = Some(start);
    let id = world.submit_new(new).await;
    assert_eq!(world.task(id).await.life.state, state::scheduled(start));
    let session = world.session().await;
    assert!(world.claim(session, 1).await.is_empty());
    let due = world.store.wake_due(10).await.unwrap();
    assert_eq!((due.woken, due.next), (0, Some(start)));
    world.clock.advance(61);
    let due = world.store.wake_due(10).await.unwrap();
    assert_eq!((due.woken, due.next), (1, None));
    assert_eq!(world.claim(session, 1).await[0].task.id, id);
}

fn key(digest: u8) -> Option<Idempotency> {
    Some(Idempotency {
        key: IdempotencyKey::Client("once".into()),
        digest: [digest; 32],
    })
}

pub(crate) async fn finds_the_task_of_a_key(world: &World) {
    let mut first = world.new_task();
    first.idempotency = key(1);
    let id = world.submit_new(first.clone()).await;

    let mut again = world.new_task();
    again.idempotency = key(1);
    let found = world.store.submit(again.clone()).await.unwrap();
    assert!(found.existing);
    assert_eq!(found.record, world.task(id).await);
    let missing = world.store.task(TENANT, again.task.id).await;
    assert_eq!(missing.unwrap_err(), StoreError::NotFound);

    again.idempotency = key(2);
    let refused = world.store.submit(again.clone()).await;
    assert_eq!(refused.unwrap_err(), StoreError::IdempotencyMismatch);

    let mut elsewhere = world.new_task();
    elsewhere.task.tenant = OTHER;
    elsewhere.idempotency = key(2);
    assert!(!world.store.submit(elsewhere).await.unwrap().existing);
}

/// engine/E8
pub(crate) async fn keeps_the_engines_keys_apart_from_those_of_clients(world: &World) {
    let dead = world.submit().await;
    let with = |key| {
        let mut new = world.new_task();
        let digest = [0; 32];
        new.idempotency = Some(Idempotency { key, digest });
        new
    };
    let mut ids = BTreeSet::new();
    for text in [format!("opspawn:redrive:{dead}"), format!("redrive:{dead}")] {
        ids.insert(world.submit_new(with(IdempotencyKey::Client(text))).await);
    }
    let redrive = || with(IdempotencyKey::Redrive(dead));
    let first = world.store.submit(redrive()).await.unwrap();
    assert!(!first.existing);
    ids.insert(first.record.task.id);
    assert_eq!(ids.len(), 3);
    let again = world.store.submit(redrive()).await.unwrap();
    assert!(again.existing);
    assert_eq!(again.record.task.id, first.record.task.id);
}

pub(crate) async fn makes_one_task_of_one_key_in_parallel(world: &World) {
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let mut new = world.new_task();
        new.idempotency = key(1);
        let store = world.store.clone();
        calls.spawn(async move { store.submit(new).await.unwrap() });
    }
    let answers = calls.join_all().await;
    let ids: BTreeSet<_> = answers.iter().map(|answer| answer.record.task.id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(answers.iter().filter(|answer| !answer.existing).count(), 1);
    let counts = world.store.counts(TENANT).await.unwrap();
    assert_eq!(counts, [(StateName::Pending, 1)].into());
}

pub(crate) async fn refuses_an_id_that_is_taken(world: &World) {
    let new = world.new_task();
    world.submit_new(new.clone()).await;
    assert!(matches!(
        world.store.submit(new.clone()).await,
        Err(StoreError::Unavailable(_))
    ));
    assert_eq!(world.kinds(new.task.id).await, ["task.submitted"]);
}
