use ops_core::{Next, TaskAction, ports::StoreError};

use crate::world::{TENANT, World, error, pair, state};

pub(crate) async fn lists_what_is_cancelled(world: &World) {
    let (session, life) = world.running().await;
    world.submit().await;
    world.claim(session, 1).await;
    assert!(
        world
            .store
            .heartbeat(session)
            .await
            .unwrap()
            .cancel
            .is_empty()
    );
    let cancelling = world.apply(life.id, TaskAction::Cancel).await.unwrap();
    for _ in 0..2 {
        let reply = world.store.heartbeat(session).await.unwrap();
        assert_eq!(reply.cancel, [(TENANT, life.id)]);
    }
    world
        .append(&cancelling, Vec::new(), Next::Cancelled)
        .await
        .unwrap();
    assert!(
        world
            .store
            .heartbeat(session)
            .await
            .unwrap()
            .cancel
            .is_empty()
    );
}

pub(crate) async fn takes_leases_back_on_expiry(world: &World) {
    let (session, life) = world.running().await;
    world.clock.advance(9);
    assert_eq!(world.store.expire_sessions().await.unwrap(), 0);
    world.clock.advance(3);
    assert_eq!(world.store.expire_sessions().await.unwrap(), 1);
    assert_eq!(world.store.expire_sessions().await.unwrap(), 0);
    assert_eq!(
        world.store.heartbeat(session).await.unwrap_err(),
        StoreError::SessionOver
    );
    let lost = world.task(life.id).await.life;
    assert_eq!(
        (lost.state, lost.attempt, lost.lease_losses),
        (state::pending(), 1, 1)
    );
    assert_eq!(world.kinds(life.id).await[2..], ["task.lease_lost"]);
    assert!(world.append(&life, pair(1), Next::Continue).await.is_err());
}

pub(crate) async fn lives_by_heartbeats(world: &World) {
    let (session, life) = world.running().await;
    for _ in 0..5 {
        world.clock.advance(8);
        world.store.heartbeat(session).await.unwrap();
        assert_eq!(world.store.expire_sessions().await.unwrap(), 0);
    }
    assert_eq!(world.task(life.id).await.life, life);
}

pub(crate) async fn closes(world: &World) {
    let (session, life) = world.running().await;
    let other = world.session().await;
    world.store.close_session(session).await.unwrap();
    world.store.close_session(session).await.unwrap();
    assert_eq!(
        world.store.heartbeat(session).await.unwrap_err(),
        StoreError::SessionOver
    );
    assert_eq!(world.task(life.id).await.life.state, state::pending());
    world.store.heartbeat(other).await.unwrap();
}

pub(crate) async fn dead_letters_a_task_that_kills_workers(world: &World) {
    let id = world.submit().await;
    for loss in 1..=5 {
        let session = world.session().await;
        let life = world.claim(session, 1).await.remove(0).life;
        assert_eq!((life.id, life.attempt, life.epoch), (id, 1, loss));
        world.store.close_session(session).await.unwrap();
    }
    let dead = world.task(id).await;
    assert_eq!(dead.life.state, state::failed(true));
    assert_eq!(dead.life.error().unwrap().code, "worker_lost");
    assert_ne!(error("worker_lost").message, "");
    let last = world.kinds(id).await;
    assert_eq!(last[last.len() - 2..], ["task.lease_lost", "task.failed"]);
}

pub(crate) async fn runs_one_suspect_at_a_time(world: &World) {
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(world.submit().await);
    }
    for _ in 0..2 {
        let session = world.session().await;
        assert_eq!(world.claim(session, 10).await.len(), 3);
        world.store.close_session(session).await.unwrap();
    }
    ids.push(world.submit().await);
    // What is above suspicion goes first, even before what is older.
    let session = world.session().await;
    let claimed = world.claim(session, 10).await;
    let order: Vec<_> = claimed.iter().map(|record| record.task.id).collect();
    assert_eq!(order, [ids[3], ids[0]]);
    let other = world.session().await;
    assert!(world.claim(other, 10).await.is_empty());
    // An outcome clears it, and says that the queue has work again.
    world.seen.take();
    let first = &claimed[1].life;
    world.append(first, pair(1), Next::Continue).await.unwrap();
    let second = world.claim(other, 10).await;
    assert_eq!(second.len(), 1);
    assert_eq!(second[0].task.id, ids[1]);
    assert_eq!(world.seen.take()[0].ready.as_deref(), Some("default"));
    // So does the end of its lease, whatever that is.
    world.store.close_session(other).await.unwrap();
    let session = world.session().await;
    let next = world.claim(session, 10).await;
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].life.lease_losses, 3);
}
