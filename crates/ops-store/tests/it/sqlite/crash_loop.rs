//! A task that kills the process does not take its neighbours along.

use ops_core::Next;

use super::open_in;
use crate::world::{pair, state};

/// Each life of the process claims what it gets. The killer kills it as soon as it runs; a life
/// without the killer lasts long enough for its tasks to record a step.
#[tokio::test]
async fn a_task_that_kills_the_process_dies_alone() {
    for killer in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let (world, store) = open_in(dir.path(), |_| {}).unwrap();
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(world.submit().await);
        }
        store.close();
        let killer = ids[killer];
        let mut lives = 0;
        loop {
            let (world, store) = open_in(dir.path(), |_| {}).unwrap();
            let session = world.session().await;
            loop {
                let claimed = world.claim(session, 10).await;
                if claimed.is_empty() || claimed.iter().any(|record| record.task.id == killer) {
                    break;
                }
                for record in claimed {
                    world
                        .append(&record.life, pair(1), Next::Continue)
                        .await
                        .unwrap();
                }
            }
            store.close();
            drop((world, store));
            lives += 1;
            let (world, store) = open_in(dir.path(), |_| {}).unwrap();
            let dead = world.task(killer).await;
            for id in ids.iter().filter(|id| **id != killer) {
                let life = world.task(*id).await.life;
                assert_eq!(life.state, state::pending(), "after {lives} lives");
                assert!(life.lease_losses < 4, "after {lives} lives: {life:?}");
            }
            store.close();
            if dead.life.state.name().is_terminal() {
                assert_eq!(dead.life.state, state::failed(true));
                assert_eq!(dead.life.error().unwrap().code, "worker_lost");
                break;
            }
            assert!(lives < 20);
        }
    }
}
