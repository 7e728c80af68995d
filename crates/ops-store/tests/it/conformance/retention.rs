use ops_core::{
    Actor, Append, Next, RunCommand, TaskAction, TaskId,
    event::StepStatus,
    ports::{Blob, Idempotency, Progress, Retention, Snapshot, StoreError},
    task::StateName,
    time::SECOND,
};

use crate::world::{OTHER, TENANT, World, append, big_json, fork_of, json, pair, state, step};

const DAY: i64 = 24 * 3_600;

/// Completed tasks are kept for a day.
fn a_day() -> Retention {
    Retention {
        completed: Some(DAY * SECOND),
        ..Retention::default()
    }
}

async fn completed(world: &World) -> TaskId {
    let (_, life) = world.running().await;
    let result = json(r#"{"answer":1}"#);
    world
        .append(&life, pair(1), Next::Complete { result })
        .await
        .unwrap();
    life.id
}

/// Deletes everything that has been kept long enough; says how many pieces that took.
async fn delete(world: &World, keep: Retention) -> u32 {
    let store = &world.store;
    let mut pieces = 0;
    while !store.mark_deleted(keep, 2).await.unwrap().tasks.is_empty() {}
    loop {
        let tombstones = store.tombstones(3).await.unwrap();
        if tombstones.is_empty() {
            break;
        }
        while store.purge(tombstones.clone()).await.unwrap() == Progress::More {
            pieces += 1;
        }
    }
    while store.sweep_blobs().await.unwrap() == Progress::More {
        pieces += 1;
    }
    pieces
}

async fn is_gone(world: &World, task: TaskId) -> bool {
    world.store.task(TENANT, task).await.is_err()
}

pub(crate) async fn deletes_what_was_kept_long_enough(world: &World) {
    let old = completed(world).await;
    world.clock.advance(DAY);
    // It was asked for long ago, but has just ended.
    let (_, late) = world.running().await;
    world.clock.advance(DAY);
    let result = json("{}");
    world
        .append(&late, Vec::new(), Next::Complete { result })
        .await
        .unwrap();
    let cancelled = world.submit().await;
    world.apply(cancelled, TaskAction::Cancel).await.unwrap();
    let waiting = world.submit().await;

    let store = &world.store;
    assert_eq!(
        store.expired(Retention::default()).await.unwrap(),
        Default::default()
    );
    let expired = store.expired(a_day()).await.unwrap();
    assert_eq!(expired.tasks, [(StateName::Completed, 1)].into());
    assert_eq!(expired.events, world.events(old).await.len() as u64);
    assert_eq!(store.mark_deleted(a_day(), 10).await.unwrap(), expired);
    assert!(
        is_gone(world, old).await,
        "at once, before its log is purged"
    );
    assert_eq!(store.tombstones(10).await.unwrap(), [(TENANT, old)]);
    delete(world, a_day()).await;
    assert!(store.tombstones(10).await.unwrap().is_empty());
    assert_eq!(
        store.events(TENANT, old, 0, 10).await.unwrap_err(),
        StoreError::NotFound
    );
    let counts = store.counts(TENANT).await.unwrap();
    let left = [
        (StateName::Pending, 1),
        (StateName::Completed, 1),
        (StateName::Cancelled, 1),
    ];
    assert_eq!(counts, left.into());

    // A task that waits is never old.
    world.clock.advance(100 * DAY);
    let all = Retention {
        completed: Some(0),
        failed: Some(0),
        cancelled: Some(0),
    };
    delete(world, all).await;
    assert!(is_gone(world, late.id).await && is_gone(world, cancelled).await);
    assert_eq!(world.task(waiting).await.life.state, state::pending());
}

pub(crate) async fn keeps_the_newest_row(world: &World) {
    // Its number would be given to the next task, with what is left of this one.
    let only = completed(world).await;
    world.clock.advance(2 * DAY);
    delete(world, a_day()).await;
    assert!(!is_gone(world, only).await);
    let next = world.submit().await;
    delete(world, a_day()).await;
    assert!(is_gone(world, only).await);
    assert_eq!(world.kinds(next).await, ["task.submitted"]);
    let after = world.submit().await;
    assert_eq!(world.kinds(after).await, ["task.submitted"]);
}

pub(crate) async fn deletes_long_logs_in_pieces(world: &World) {
    let (_, mut life) = world.running().await;
    for number in 1..=30 {
        let events = (0..100).flat_map(|n| pair(number * 100 + n)).collect();
        life = world.append(&life, events, Next::Continue).await.unwrap();
    }
    let result = json("{}");
    world
        .append(&life, Vec::new(), Next::Complete { result })
        .await
        .unwrap();
    let other = completed(world).await;
    world.submit().await;
    world.clock.advance(2 * DAY);
    assert!(
        delete(world, a_day()).await >= 6,
        "6,000 events are no single piece"
    );
    assert!(is_gone(world, life.id).await && is_gone(world, other).await);
}

pub(crate) async fn keeps_values_that_are_shared(world: &World) {
    let (shared, own, large) = (big_json(20_000), big_json(30_000), big_json(3 << 20));
    let digest_of = |json: &ops_core::Json| {
        use sha2::Digest as _;
        let digest = sha2::Sha256::digest(json.as_str().as_bytes());
        digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let make = async |input: &ops_core::Json, blobs: &[&ops_core::Json]| {
        let mut new = world.new_task();
        new.task.input = input.clone();
        let (_, life) = world.running_new(new).await;
        let mut event = step(1, StepStatus::Completed);
        event.blobs = blobs.iter().map(|blob| digest_of(blob)).collect();
        let bytes = blobs.iter().map(|blob| Blob {
            digest: digest_of(blob),
            bytes: blob.as_str().as_bytes().to_vec().into(),
        });
        let command = append(
            &life,
            vec![event],
            Next::Complete {
                result: shared.clone(),
            },
        );
        let applied = world.apply_with(TENANT, life.id, command, bytes.collect());
        applied.await.unwrap();
        life.id
    };
    let first = make(&own, &[&shared, &large]).await;
    let snapshot = Snapshot {
        seq: 1,
        version: 1,
        body: vec![1],
    };
    world
        .store
        .put_snapshot(TENANT, first, 1, snapshot)
        .await
        .unwrap();
    world.clock.advance(2 * DAY);
    let second = make(&shared, &[]).await;
    let blob = async |json: &ops_core::Json| {
        let digest = digest_of(json);
        world.store.blob(TENANT, &digest, 0, u64::MAX).await
    };
    delete(world, a_day()).await;
    assert!(is_gone(world, first).await);
    let record = world.task(second).await;
    assert_eq!(
        (record.task.input, record.result),
        (shared.clone(), Some(shared.clone()))
    );
    assert_eq!(blob(&shared).await.unwrap(), shared.as_str().as_bytes());
    for gone in [&own, &large] {
        assert_eq!(blob(gone).await.unwrap_err(), StoreError::NotFound);
    }
    // Halfway through, the value is wanted again: it is there as a whole.
    let third = make(&own, &[&large]).await;
    // The newest row, of a state that is kept, and nothing that a worker would take.
    let newest = world.submit().await;
    world.apply(newest, TaskAction::Cancel).await.unwrap();
    world.clock.advance(2 * DAY);
    world.store.mark_deleted(a_day(), 10).await.unwrap();
    let tombstones = world.store.tombstones(10).await.unwrap();
    assert_eq!(tombstones.len(), 2);
    while world.store.purge(tombstones.clone()).await.unwrap() == Progress::More {}
    assert_eq!(world.store.sweep_blobs().await.unwrap(), Progress::More);
    let fourth = make(&large, &[&own]).await;
    delete(world, a_day()).await;
    assert!(is_gone(world, third).await);
    assert_eq!(world.task(fourth).await.task.input, large);
    assert_eq!(blob(&own).await.unwrap(), own.as_str().as_bytes());
}

pub(crate) async fn keeps_what_forks_and_parents_refer_to(world: &World) {
    let end = async |life: &ops_core::Lifecycle, result: ops_core::Json| {
        let done = Next::Complete { result };
        world.append(life, Vec::new(), done).await.unwrap()
    };
    // A child whose parent goes on, and whose result is too large for its parent's log.
    let (session, parent) = world.running().await;
    let child = world.child(1);
    let spawn = Append {
        children: vec![child.clone()],
        ..Append::new(parent.seq, pair(1), Next::Continue)
    };
    let spawn = RunCommand::append(parent.epoch, spawn);
    let parent = world.apply(parent.id, spawn).await.unwrap();
    let claimed = world.claim(session, 1).await.remove(0).life;
    let result = big_json(50_000);
    end(&claimed, result.clone()).await;

    // A task with a large event, of which another one is a fork.
    let (_, life) = world.running().await;
    let mut large = step(1, StepStatus::Completed);
    let body = format!(
        r#"{{"v":1,"type":"x","large":{}}}"#,
        big_json(20_000).as_str()
    );
    large.body = body.clone().into();
    let life = world
        .append(&life, vec![large], Next::Continue)
        .await
        .unwrap();
    end(&life, json("{}")).await;
    let mut fork = world.new_task();
    fork.fork = Some(fork_of(life.id, 2, life.seq));
    let fork = world.submit_new(fork).await;

    world.clock.advance(2 * DAY);
    delete(world, a_day()).await;
    assert!(is_gone(world, life.id).await);
    assert!(!is_gone(world, child.id).await, "its parent goes on");
    let copied = world.events(fork).await;
    assert!(
        copied
            .iter()
            .any(|stored| stored.event.body == body.as_bytes())
    );

    // Once the parent has ended, the child goes; what the parent's log refers to stays with it.
    let parent = world.task(parent.id).await.life;
    let all = Retention {
        completed: Some(0),
        ..Retention::default()
    };
    end(&parent, json("{}")).await;
    world.clock.advance(1);
    world.store.mark_deleted(all, 1).await.unwrap();
    delete(world, Retention::default()).await;
    let (gone, left) = match is_gone(world, child.id).await {
        true => (child.id, parent.id),
        false => (parent.id, child.id),
    };
    assert!(is_gone(world, gone).await);
    for stored in world.events(left).await {
        for digest in &stored.event.blobs {
            let blob = world.store.blob(TENANT, digest, 0, u64::MAX).await.unwrap();
            assert_eq!(blob, result.as_str().as_bytes());
        }
    }
    if left == child.id {
        assert_eq!(world.task(left).await.result, Some(result));
    }
}

pub(crate) async fn frees_the_idempotency_key(world: &World) {
    let mut new = world.new_task();
    new.idempotency = Some(Idempotency {
        key: ops_core::ports::IdempotencyKey::Client("once".into()),
        digest: [1; 32],
    });
    let (_, life) = world.running_new(new.clone()).await;
    let result = json("{}");
    world
        .append(&life, Vec::new(), Next::Complete { result })
        .await
        .unwrap();
    world.submit().await;
    world.clock.advance(2 * DAY);
    delete(world, a_day()).await;
    new.task.id = world.new_task().task.id;
    new.idempotency.as_mut().unwrap().digest = [2; 32];
    assert!(!world.store.submit(new).await.unwrap().existing);
}

pub(crate) async fn deletes_for_every_tenant(world: &World) {
    let mut theirs = world.new_task();
    theirs.task.tenant = OTHER;
    let id = world.submit_new(theirs).await;
    world
        .store
        .command(OTHER, id, TaskAction::Cancel.by(Actor::Local))
        .await
        .unwrap();
    let mine = completed(world).await;
    world.submit().await;
    world.clock.advance(2 * DAY);
    let keep = Retention {
        cancelled: Some(DAY * SECOND),
        ..a_day()
    };
    let expired = world.store.expired(keep).await.unwrap();
    assert_eq!(expired.tasks.values().sum::<u64>(), 2);
    delete(world, keep).await;
    assert!(is_gone(world, mine).await);
    assert_eq!(
        world.store.task(OTHER, id).await.unwrap_err(),
        StoreError::NotFound
    );
    assert!(world.store.counts(OTHER).await.unwrap().is_empty());
}
