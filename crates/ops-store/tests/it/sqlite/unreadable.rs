//! A task that cannot be read holds up nobody else.

use std::path::Path;

use ops_core::{TaskId, ports::StoreError};
use rusqlite::Connection;

use super::{open_in, without_sums};
use crate::world::{World, big_json, state};

/// Makes a row unreadable, as a damaged page or a newer release would.
fn damage(dir: &Path, set: &str, id: TaskId) {
    let conn = Connection::open(dir.join(ops_store::sqlite::DATABASE_FILE)).unwrap();
    let changed = conn
        .execute(
            &format!("UPDATE tasks SET {set} WHERE task_id = ?"),
            [id.as_bytes()],
        )
        .unwrap();
    assert_eq!(changed, 1);
}

async fn is_unreadable(world: &World, id: TaskId) -> bool {
    matches!(
        world.store.task(crate::world::TENANT, id).await,
        Err(StoreError::Unreadable(_))
    )
}

#[tokio::test]
async fn opening_takes_the_other_leases_back() {
    let dir = tempfile::tempdir().unwrap();
    drop(without_sums(dir.path()));
    let (world, store) = open_in(dir.path(), |_| {}).unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(world.running().await.1.id);
    }
    store.close();
    damage(dir.path(), "attempt = 'x', lease_losses = 4", ids[0]);

    let (world, _store) = open_in(dir.path(), |_| {}).unwrap();
    assert!(is_unreadable(&world, ids[0]).await);
    for id in &ids[1..] {
        assert_eq!(world.task(*id).await.life.state, state::pending());
    }
    // Its lease, which nobody holds any more, holds no suspect up either.
    damage(dir.path(), "lease_losses = 2, sum = NULL", ids[1]);
    let session = world.session().await;
    assert_eq!(world.claim(session, 10).await.len(), 2);
}

#[tokio::test]
async fn what_is_damaged_is_told_from_what_a_newer_release_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let conn = without_sums(dir.path());
    let (world, _store) = open_in(dir.path(), |_| {}).unwrap();
    let (_, life) = world.running().await;
    let read = async |set: &str| {
        let set = format!("UPDATE events SET sum = NULL, {set} WHERE seq = 2");
        conn.execute(&set, ()).unwrap();
        let events = world.store.events(crate::world::TENANT, life.id, 0, 10);
        events.await.unwrap_err()
    };
    let newer = "step = 1, step_kind = 'dream', step_status = 'started', effect = 'pure'";
    let error = read(newer).await;
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(error.to_string().contains("`dream`"), "{error}");
    // The value that it names is nowhere.
    let gone = "step = NULL, body = NULL, body_digest = zeroblob(32)";
    let error = read(gone).await;
    assert!(matches!(error, StoreError::Unreadable(_)), "{error}");
}

#[tokio::test]
async fn a_session_ends_with_the_other_leases() {
    let dir = tempfile::tempdir().unwrap();
    let (world, _store) = open_in(dir.path(), |_| {}).unwrap();
    for _ in 0..3 {
        world.submit().await;
    }
    let session = world.session().await;
    let claimed = world.claim(session, 3).await;
    damage(dir.path(), "retry_max_micros = 'x'", claimed[0].task.id);
    world.store.close_session(session).await.unwrap();
    for record in &claimed[1..] {
        assert_eq!(
            world.task(record.task.id).await.life.state,
            state::pending()
        );
    }
}

#[tokio::test]
async fn a_claim_goes_past_it() {
    let dir = tempfile::tempdir().unwrap();
    let (world, _store) = open_in(dir.path(), |_| {}).unwrap();
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(world.submit().await);
    }
    damage(dir.path(), "attempt = 'x'", ids[0]);
    damage(dir.path(), "error = '{'", ids[2]);
    let session = world.session().await;
    for id in [ids[1], ids[3]] {
        let claimed = world.claim(session, 1).await;
        assert_eq!(claimed.len(), 1);
        assert_eq!(claimed[0].task.id, id);
    }
    assert!(world.claim(session, 1).await.is_empty());
}

#[tokio::test]
async fn timers_go_past_it() {
    let dir = tempfile::tempdir().unwrap();
    let (world, _store) = open_in(dir.path(), |_| {}).unwrap();
    let mut tasks = Vec::new();
    // The first two are due at the same instant.
    for seconds in [10, 10, 20, 30, 3_600] {
        let mut new = world.new_task();
        let base = new.task.created_at.0 / 1_000_000 * 1_000_000;
        new.task.run_at = Some(ops_core::Micros(base).plus(seconds * 1_000_000));
        let run_at = new.task.run_at;
        tasks.push((world.submit_new(new).await, run_at));
    }
    damage(dir.path(), "attempt = 'x'", tasks[0].0);
    damage(dir.path(), "attempt = 'x'", tasks[2].0);
    world.clock.advance(60);
    let due = world.store.wake_due(1).await.unwrap();
    assert_eq!((due.woken, due.next), (1, tasks[2].1));
    let due = world.store.wake_due(1).await.unwrap();
    assert_eq!((due.woken, due.next), (1, tasks[4].1));
    // What is left is no reason to ask again at once.
    let due = world.store.wake_due(10).await.unwrap();
    assert_eq!((due.woken, due.next), (0, tasks[4].1));
    for (id, _) in [tasks[1], tasks[3]] {
        assert_eq!(world.task(id).await.life.state, state::pending());
    }
}

#[tokio::test]
async fn an_input_that_is_gone_ends_its_task_only() {
    let dir = tempfile::tempdir().unwrap();
    let (world, _store) = open_in(dir.path(), |_| {}).unwrap();
    let mut ids = Vec::new();
    for n in 0..4 {
        let mut new = world.new_task();
        new.task.input = big_json(20_000 + 100 * n);
        ids.push(world.submit_new(new).await);
    }
    let conn = Connection::open(dir.path().join(ops_store::sqlite::DATABASE_FILE)).unwrap();
    let of_task = "WHERE digest = (SELECT input_digest FROM task_requests \
                   JOIN tasks USING (task_row) WHERE task_id = ?)";
    for (verb, id) in [
        ("DELETE FROM blobs", ids[0]),
        ("UPDATE blobs SET bytes = x'00', codec = 1", ids[2]),
    ] {
        let changed = conn.execute(&format!("{verb} {of_task}"), [id.as_bytes()]);
        assert_eq!(changed.unwrap(), 1);
    }
    let session = world.session().await;
    // The first in the queue is ended, and the claim goes on to the next.
    let claimed = world.claim(session, 1).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].task.id, ids[1]);
    let claimed = world.claim(session, 10).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].task.id, ids[3]);
    for id in [ids[0], ids[2]] {
        assert_eq!(
            world.kinds(id).await,
            ["task.submitted", "task.leased", "task.failed"]
        );
        let (state, error): (String, String) = conn
            .query_row(
                "SELECT state, error FROM tasks WHERE task_id = ?",
                [id.as_bytes()],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .unwrap();
        assert_eq!(state, "failed");
        assert!(error.contains("input_unreadable"), "{error}");
        assert!(error.contains("backup"), "{error}");
    }
}
