//! A tree of tasks has a total, however it branches (a spawn bomb made 4,146 tasks in six seconds).

use ops_core::{
    Append, Lifecycle, Next, Rejection, RunCommand, TaskId,
    ports::{StoreError, TaskFilter},
};

use super::open_in;
use crate::world::{TENANT, World, pair};

async fn spawn(world: &World, life: &Lifecycle, children: usize) -> Result<Lifecycle, StoreError> {
    let append = Append {
        children: (0..children).map(|_| world.child(2)).collect(),
        ..Append::new(life.seq, pair(1), Next::Continue)
    };
    world
        .apply(life.id, RunCommand::append(life.epoch, append))
        .await
}

async fn total(world: &World) -> u64 {
    world
        .store
        .count(TENANT, TaskFilter::default())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_tree_has_as_many_tasks_as_it_may_have() {
    let dir = tempfile::tempdir().unwrap();
    let (world, store) = open_in(dir.path(), |options| options.max_tree_tasks = 6).unwrap();
    // Another tree is another tree.
    world.running().await;
    let (session, root) = world.running().await;
    let root = spawn(&world, &root, 3).await.unwrap();
    let children = world.claim(session, 3).await;
    let child = spawn(&world, &children[0].life, 1).await.unwrap();
    // Five: of two more neither is begun, wherever in the tree they are asked for, and nothing is recorded.
    for life in [&root, &child, &children[1].life] {
        let Err(StoreError::Rejected(Rejection::Tree {
            tasks,
            limit,
            requested,
            ..
        })) = spawn(&world, life, 2).await
        else {
            panic!("it was let in");
        };
        assert_eq!((tasks, limit, requested), (5, 6, 2));
    }
    let before = world.task(child.id).await.life.seq;
    assert_eq!(before, child.seq);
    assert_eq!(total(&world).await, 6);
    spawn(&world, &child, 1).await.unwrap();
    let refused = spawn(&world, &root, 1).await.unwrap_err();
    assert!(
        refused.to_string().contains("limits.tree_tasks"),
        "{refused}"
    );
    assert_eq!(total(&world).await, 7);
    store.close();
}

#[tokio::test]
async fn a_bomb_ends_at_the_total() {
    let dir = tempfile::tempdir().unwrap();
    let (world, store) = open_in(dir.path(), |options| {
        options.max_tree_tasks = 200;
        options.durability = ops_store::Durability::Off;
    })
    .unwrap();
    let session = world.session().await;
    let _: TaskId = world.submit().await;
    let mut refused = 0;
    loop {
        let claimed = world.claim(session, 50).await;
        if claimed.is_empty() {
            break;
        }
        for record in claimed {
            match spawn(&world, &record.life, 12).await {
                Ok(_) | Err(StoreError::Rejected(Rejection::Child { .. })) => {}
                Err(StoreError::Rejected(Rejection::Tree { .. })) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(
        total(&world).await <= 200 && refused > 0,
        "{} tasks",
        total(&world).await
    );
    store.close();
}
