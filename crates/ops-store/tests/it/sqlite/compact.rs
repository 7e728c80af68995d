//! A database that gives the room of deleted tasks back to the disk.

use std::{fs, path::Path};

use ops_core::{
    TaskAction,
    ports::{Progress, Retention},
};
use ops_store::sqlite::{BackupError, DATABASE_FILE, compact};

use super::open_in;
use crate::world::{World, big_json};

fn log_of(dir: &Path) -> std::path::PathBuf {
    dir.join(format!("{DATABASE_FILE}-wal"))
}

/// Cancels tasks, deletes them, and leaves one; gives back its id.
async fn with_room(dir: &Path) -> ops_core::TaskId {
    let (world, store) = open_in(dir, |_| {}).unwrap();
    for _ in 0..200 {
        let mut new = world.new_task();
        new.task.input = big_json(6_000);
        let id = world.submit_new(new).await;
        world.apply(id, TaskAction::Cancel).await.unwrap();
    }
    let mut kept = world.new_task();
    kept.task.input = big_json(20_000);
    let kept = world.submit_new(kept).await;
    delete(&world).await;
    drop((world, store));
    kept
}

async fn delete(world: &World) {
    let all = Retention {
        cancelled: Some(0),
        ..Retention::default()
    };
    world.clock.advance(10);
    while !world
        .store
        .mark_deleted(all, 100)
        .await
        .unwrap()
        .tasks
        .is_empty()
    {}
    loop {
        let tombstones = world.store.tombstones(100).await.unwrap();
        if tombstones.is_empty() {
            break;
        }
        while world.store.purge(tombstones.clone()).await.unwrap() == Progress::More {}
    }
    while world.store.sweep_blobs().await.unwrap() == Progress::More {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_database_is_small_and_has_what_it_had() {
    let dir = tempfile::tempdir().unwrap();
    let kept = with_room(dir.path()).await;
    let database = dir.path().join(DATABASE_FILE);
    let large = fs::metadata(&database).unwrap().len();
    let made = compact(dir.path()).unwrap();
    assert_eq!(made.before, large);
    assert_eq!(made.after, fs::metadata(&database).unwrap().len());
    assert!(made.after * 3 < made.before, "{made:?}");
    let (world, store) = open_in(dir.path(), |_| {}).unwrap();
    assert_eq!(world.task(kept).await.task.input, big_json(20_000));
    assert_eq!(world.events(kept).await.len(), 1);
    world.submit().await;
    // A server has the folder.
    assert!(matches!(compact(dir.path()), Err(BackupError::Open(_))));
    drop((world, store));
    compact(dir.path()).unwrap();
    let names = fs::read_dir(dir.path()).unwrap().flatten();
    let names: Vec<_> = names.map(|entry| entry.file_name()).collect();
    let unfinished = names
        .iter()
        .any(|name| name.to_string_lossy().contains("unfinished"));
    assert!(!unfinished, "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_read_or_was_not_stopped_is_not_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let kept = with_room(dir.path()).await;
    let database = dir.path().join(DATABASE_FILE);
    let before = fs::metadata(&database).unwrap().len();
    let reader = rusqlite::Connection::open(&database).unwrap();
    let count = |sql: &str| reader.query_row(sql, (), |row| row.get::<_, i64>(0));
    assert!(count("SELECT count(*) FROM tasks").unwrap() > 0);
    let refused = compact(dir.path());
    assert!(
        matches!(refused, Err(BackupError::InUse { .. })),
        "{refused:?}"
    );
    drop(reader);
    fs::write(log_of(dir.path()), "what a killed server left").unwrap();
    let refused = compact(dir.path());
    assert!(
        matches!(refused, Err(BackupError::NotStopped { .. })),
        "{refused:?}"
    );
    fs::remove_file(log_of(dir.path())).unwrap();
    assert_eq!(fs::metadata(&database).unwrap().len(), before);
    let (world, _store) = open_in(dir.path(), |_| {}).unwrap();
    assert_eq!(world.task(kept).await.life.seq, 1);
    let empty = tempfile::tempdir().unwrap();
    let refused = compact(empty.path());
    assert!(matches!(refused, Err(BackupError::NoDatabase { .. })));
}
