//! Many writers at once.

use std::time::Duration;

use ops_core::Next;
use ops_store::Durability;

use super::open_in;
use crate::world::{TENANT, append, pair};

/// 64 runs, each of which appends `steps` pairs.
async fn drive(world: &crate::world::World, steps: u32) {
    let session = world.session().await;
    for _ in 0..64 {
        world.submit().await;
    }
    let mut runs = tokio::task::JoinSet::new();
    for record in world.claim(session, 64).await {
        let (store, mut life) = (world.store.clone(), record.life);
        runs.spawn(async move {
            for number in 0..steps {
                let command = append(&life, pair(number), Next::Continue);
                life = store
                    .record(TENANT, life.id, command, Vec::new())
                    .await
                    .unwrap();
            }
            life
        });
    }
    for life in runs.join_all().await {
        assert_eq!(life.seq, 2 + u64::from(2 * steps));
        assert_eq!(world.task(life.id).await.life, life);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_commits_are_shared_by_everybody_who_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (world, store) = open_in(dir.path(), |options| {
        options.commit_delay = Some(Duration::from_millis(5));
        options.durability = Durability::Off;
    })
    .unwrap();
    drive(&world, 5).await;
    let stats = store.stats();
    // 64 submits and a claim one by one, then five rounds of 64.
    let groups = stats.transactions - 65;
    assert!((5..=40).contains(&groups), "{stats:?}");
    assert!(stats.largest_batch > 16, "{stats:?}");
    assert_eq!(stats.events, 64 * 12);
    assert!(
        stats.commit_delay_micros > 0 && stats.commits.sum_micros > 5_000 * groups,
        "{stats:?}"
    );
    assert_eq!(stats.fsyncs, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wal_is_checkpointed_and_stays_small() {
    let dir = tempfile::tempdir().unwrap();
    let (world, store) =
        open_in(dir.path(), |options| options.durability = Durability::Off).unwrap();
    drive(&world, 300).await;
    let stats = store.stats();
    assert!(stats.checkpoints > 0, "{stats:?}");
    let wal = std::fs::metadata(dir.path().join("opspawn.db-wal"))
        .unwrap()
        .len();
    assert!(wal < 64 << 20, "{wal}");
}
