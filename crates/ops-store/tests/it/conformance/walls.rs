use ops_core::{
    Next, RunCommand, TaskAction,
    event::Resolution,
    ports::{Snapshot, StoreError, TaskFilter},
};

use crate::world::{AnyCommand, OTHER, World, append, pair};

/// Every verb that takes an id answers another tenant as if there were nothing.
pub(crate) async fn hide_every_verb(world: &World) {
    let (_, life) = world.running().await;
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
        store
            .put_snapshot(OTHER, id, life.epoch, snapshot)
            .await
            .unwrap_err(),
        hidden
    );
    assert_eq!(store.log(OTHER, id, 0, 10).await.unwrap_err(), hidden);
    for asked in [
        AnyCommand::from(append(&life, pair(1), Next::Continue)),
        RunCommand::release(life.epoch).into(),
        TaskAction::Cancel.into(),
        TaskAction::Pause.into(),
        TaskAction::Resolve {
            step: 1,
            resolution: Resolution::Retry,
            by: None,
        }
        .into(),
    ] {
        let refused = world.apply_with(OTHER, id, asked, Vec::new()).await;
        assert_eq!(refused.unwrap_err(), hidden);
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
