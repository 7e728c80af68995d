//! A disk that is full: refused clearly, nothing lost, and usable again.

use std::{fs, path::Path, process::Command as Process};

use ops_core::ports::StoreError;

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
    // E7: it is said as long as writes fail, whoever asks.
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
    fn mount(at: &'a Path) -> Option<Self> {
        let done = Process::new("mount")
            .args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"])
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
    let Some(mounted) = Tmpfs::mount(dir.path()) else {
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
    // E7: the store finds out by itself that there is space again.
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
