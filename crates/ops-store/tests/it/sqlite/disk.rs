//! A disk that is full: refused clearly, nothing lost, and usable again.

use std::{fs, path::Path, process::Command as Process};

use ops_core::{
    TaskAction,
    ports::{Progress, Retention, StoreError},
};

use super::open_in;
use crate::world::{TENANT, World, big_json};

/// Submits until the disk is full; gives back what was acknowledged.
async fn fill(world: &World) -> Vec<ops_core::TaskId> {
    let mut stored = Vec::new();
    for _ in 0..100_000 {
        let mut new = world.new_task();
        new.task.input = big_json(6_000);
        match world.store.submit(new).await {
            Ok(done) => stored.push(done.record.task.id),
            Err(StoreError::Full(message)) => {
                assert!(
                    message.contains("nothing that was acknowledged is lost"),
                    "{message}"
                );
                return stored;
            }
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the disk never filled");
}

async fn has_exactly(world: &World, stored: &[ops_core::TaskId]) {
    let counted: u64 = world.store.counts(TENANT).await.unwrap().values().sum();
    assert_eq!(counted, stored.len() as u64);
    for id in stored {
        assert_eq!(world.task(*id).await.life.seq, 1);
        assert_eq!(world.events(*id).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_database_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (world, store) = open_in(dir.path(), |options| options.max_pages = Some(120)).unwrap();
    assert_eq!(world.store.health().failure, None);
    let stored = fill(&world).await;
    // engine/E7: it is said as long as writes fail, whoever asks.
    for _ in 0..2 {
        let failure = world.store.health().failure;
        assert!(matches!(failure, Some(StoreError::Full(_))), "{failure:?}");
    }
    assert!(stored.len() > 5, "{}", stored.len());
    has_exactly(&world, &stored).await;
    // A whole group fails together, and each of it is told.
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (store, mut new) = (world.store.clone(), world.new_task());
        new.task.input = big_json(6_000);
        calls.spawn(async move { store.submit(new).await });
    }
    for answer in calls.join_all().await {
        assert!(matches!(answer, Err(StoreError::Full(_))), "{answer:?}");
    }
    has_exactly(&world, &stored).await;
    assert!(store.stats().rollbacks > 0);
    drop((world, store));
    let (world, _) = open_in(dir.path(), |_| {}).unwrap();
    has_exactly(&world, &stored).await;
    world.submit().await;
}

/// Adds a line to the list that `cargo xtask test` prints; without one, a test must not pass that did
/// nothing.
pub(super) fn skip(line: &str) {
    use std::io::Write as _;
    let list = std::env::var_os("OPSPAWN_TEST_SKIPS").unwrap_or_else(|| panic!("{line}"));
    let mut list = fs::OpenOptions::new().append(true).open(list).unwrap();
    writeln!(list, "{line}").unwrap();
}

/// A small file system of its own, if this process may make one.
struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    fn mount(at: &'a Path, size: &str) -> Option<Self> {
        let done = Process::new("mount")
            .args(["-t", "tmpfs", "-o", size, "tmpfs"])
            .arg(at)
            .output()
            .is_ok_and(|output| output.status.success());
        done.then_some(Self(at))
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _ = Process::new("umount").arg("-l").arg(self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root to mount a file system: run by cargo xtask test"]
async fn a_full_disk_works_again_once_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mounted) = Tmpfs::mount(dir.path(), "size=3m") else {
        skip("a_full_disk_works_again_once_there_is_space: a tmpfs cannot be mounted");
        return;
    };
    let ballast = dir.path().join("ballast");
    fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    let data = dir.path().join("data");
    let (world, store) = open_in(&data, |_| {}).unwrap();
    let mut stored = fill(&world).await;
    assert!(stored.len() > 5, "{}", stored.len());
    has_exactly(&world, &stored).await;

    fs::remove_file(&ballast).unwrap();
    // engine/E7: the store finds out by itself that there is space again.
    for _ in 0..100 {
        if world.store.health().failure.is_none() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(world.store.health().failure, None);
    for _ in 0..5 {
        stored.push(world.submit().await);
    }
    has_exactly(&world, &stored).await;
    stored.extend(fill(&world).await);
    drop((world, store));

    // A start on a full disk says so, or works.
    match open_in(&data, |_| {}) {
        Ok((world, _)) => has_exactly(&world, &stored).await,
        Err(error) => assert!(error.to_string().contains("no space"), "{error}"),
    }
    drop(mounted);
}

/// A deletion is a write as well. On a full disk every deletion failed, and nothing but a person made space.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root to mount a file system: run by cargo xtask test"]
async fn retention_makes_space_on_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mounted) = Tmpfs::mount(dir.path(), "size=32m") else {
        skip("retention_makes_space_on_a_full_disk: a tmpfs cannot be mounted");
        return;
    };
    let data = dir.path().join("data");
    let (world, store) = open_in(&data, |_| {}).unwrap();
    for _ in 0..100 {
        let mut new = world.new_task();
        new.task.input = big_json(6_000);
        let id = world.submit_new(new).await;
        world.apply(id, TaskAction::Cancel).await.unwrap();
    }
    // The space is set aside once the store has nothing to do.
    let reserve = data.join("opspawn.reserve");
    for _ in 0..600 {
        if reserve.exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(reserve.exists(), "no space was set aside");

    let mut kept = fill(&world).await;
    let ballast = dir.path().join("ballast");
    let free = |path: &Path| {
        let stat = rustix::fs::statvfs(path).unwrap();
        usize::try_from(stat.f_bavail * stat.f_frsize).unwrap()
    };
    fs::write(&ballast, vec![1; free(dir.path())]).unwrap();
    assert_eq!(free(dir.path()), 0);
    // The WAL may have been emptied since: tasks fit into its file until that is full as well.
    kept.extend(fill(&world).await);

    world.clock.advance(10);
    let cancelled = Retention {
        cancelled: Some(0),
        ..Retention::default()
    };
    let (mut deleted, mut batch) = (0, 64);
    loop {
        // As retention does: the space that is left may do for fewer tasks.
        let marked = match world.store.mark_deleted(cancelled, batch).await {
            Err(StoreError::Full(_)) if batch > 1 => {
                batch /= 4;
                continue;
            }
            marked => marked.unwrap(),
        };
        if marked.tasks.is_empty() {
            break;
        }
        deleted += marked.tasks.values().sum::<u64>();
        let tombstones = world.store.tombstones(100).await.unwrap();
        while world.store.purge(tombstones.clone()).await.unwrap() == Progress::More {}
    }
    while world.store.sweep_blobs().await.unwrap() == Progress::More {}
    assert_eq!(deleted, 100);
    has_exactly(&world, &kept).await;

    // The room of the deleted tasks is there for new ones, and the disk is as full as before.
    // The WAL is short of space: a task that is refused once it is full finds it empty the next time.
    let (mut stored, mut refused) = (0, 0);
    while stored < 40 {
        let mut new = world.new_task();
        new.task.input = big_json(6_000);
        match world.store.submit(new).await {
            Ok(_) => stored += 1,
            Err(StoreError::Full(_)) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(refused <= stored + 20, "{stored} stored, {refused} refused");
    }
    assert_eq!(world.store.health().failure, None);
    drop((world, store));
    drop(mounted);
}
