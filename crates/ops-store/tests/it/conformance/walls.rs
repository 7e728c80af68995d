use ops_core::{
    Command, Next,
    event::Resolution,
    ports::{Snapshot, StoreError, TaskFilter},
};

use crate::world::{OTHER, World, append, pair};

/// Every verb that takes an id answers another tenant as if there were nothing.
pub(crate) async fn hide_every_verb(world: &World) {
    let (session, life) = world.running().await;
    let id = life.id;
    let store = &world.store;
    let hidden = StoreError::NotFound;
    assert_eq!(store.task(OTHER, id).await.unwrap_err(), hidden);
    assert_eq!(store.events(OTHER, id, 0, 10).await.unwrap_err(), hidden);
    assert_eq!(store.life(OTHER, id).await.unwrap_err(), hidden);
    assert_eq!(store.turn_start(OTHER, id, 2).await.unwrap_err(), hidden);
    assert_eq!(store.snapshot(OTHER, id).await.unwrap_err(), hidden);
    let snapshot = Snapshot {
        seq: 1,
        version: 1,
        body: vec![1],
    };
    assert_eq!(
        store.put_snapshot(OTHER, id, snapshot).await.unwrap_err(),
        hidden
    );
    for command in [
        append(&life, pair(1), Next::Continue),
        Command::Claim { session },
        Command::Release { epoch: life.epoch },
        Command::LoseLease,
        Command::Wake,
        Command::Cancel,
        Command::Resolve {
            step: 1,
            resolution: Resolution::Retry,
        },
    ] {
        assert_eq!(
            store
                .apply(OTHER, id, command, Vec::new())
                .await
                .unwrap_err(),
            hidden
        );
    }
    let all = TaskFilter {
        limit: 10,
        ..Default::default()
    };
    assert!(store.tasks(OTHER, all.clone()).await.unwrap().is_empty());
    for status in [
        ops_core::task::Status::Running,
        ops_core::task::Status::Pending,
    ] {
        let filter = TaskFilter {
            status: Some(status),
            ..all.clone()
        };
        assert!(store.tasks(OTHER, filter).await.unwrap().is_empty());
    }
    assert!(store.counts(OTHER).await.unwrap().is_empty());
    assert_eq!(world.task(id).await.life, life);
    assert_eq!(world.events(id).await.len(), 2);
}
