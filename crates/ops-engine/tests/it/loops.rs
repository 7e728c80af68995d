use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use ops_core::{
    Next, WaitRequest,
    ports::{Queue as _, Retention},
    time::SECOND,
};

use crate::world::{TENANT, World};

#[tokio::test]
async fn what_is_due_is_moved_on_at_its_time() {
    let world = World::new();
    let mut request = world.request();
    let start = ops_core::ports::Clock::now(&*world.clock).plus(30 * SECOND);
    request.run_at = Some(start);
    let delayed = world.submit_as(request).await;
    assert_eq!(world.state(delayed).await, "scheduled");
    let life = world.running().await;
    let until = life.updated_at.plus(20 * SECOND);
    let wait = Next::Wait(WaitRequest::Timer { until });
    world.record(&life, Vec::new(), wait).await;
    world.pass(25);
    world
        .until("the timer", || async {
            world.state(life.id).await == "pending"
        })
        .await;
    assert_eq!(world.state(delayed).await, "scheduled");
    world.pass(5);
    world
        .until("the start", || async {
            world.state(delayed).await == "pending"
        })
        .await;
}

#[tokio::test]
async fn a_task_whose_worker_is_gone_is_ready_again() {
    let world = World::new();
    let life = world.running().await;
    world.pass(11);
    world
        .until("the lease is lost", || async {
            world.state(life.id).await == "pending"
        })
        .await;
    let kinds = world.kinds(life.id).await;
    assert_eq!(kinds.last().unwrap(), "task.lease_lost");
    assert_eq!(world.claim().await[0].life.epoch, life.epoch + 1);
}

#[tokio::test]
async fn queues_with_ready_tasks_are_rung_again() {
    let world = World::new();
    world.submit().await;
    // The wake-up of the submit is taken, and nobody claims.
    world.queue.wait("default").await;
    let rung = Arc::new(AtomicBool::new(false));
    let (queue, external_pending) = (Arc::clone(&world.queue), Arc::clone(&rung));
    tokio::spawn(async move {
        queue.wait("default").await;
        external_pending.store(true, SeqCst);
    });
    world
        .until("the sweeper rings", || async { rung.load(SeqCst) })
        .await;
}

#[tokio::test]
async fn what_was_kept_long_enough_is_deleted() {
    let keep = Retention {
        completed: Some(60 * SECOND),
        ..Retention::default()
    };
    let world = World::keeping(keep);
    let old = world.running().await;
    world.complete(&old).await;
    world.pass(30);
    let late = world.running().await;
    world.complete(&late).await;
    // The newest task of a store stays.
    world.submit().await;
    world.pass(40);
    world
        .until("the old one is gone", || world_lacks(&world, old.id))
        .await;
    assert!(!world_lacks(&world, late.id).await);
}

async fn world_lacks(world: &World, task: ops_core::TaskId) -> bool {
    world.engine.task(TENANT, task).await.is_err()
}
