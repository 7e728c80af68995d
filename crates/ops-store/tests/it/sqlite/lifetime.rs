//! Starts, stops and crashes.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command as Process, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use ops_core::{
    Micros, Next, TaskAction, TaskId,
    ports::{ClaimRequest, Clock, Notice, Observer, StoreError},
};

use ops_store::sqlite::Serves;

use super::open_in;
use crate::world::{TENANT, TestClock, World, pair, state};

const CHILD_DIR: &str = "OPS_STORE_TEST_CHILD_DIR";

/// Not a test of its own: the process that [`a_killed_process_loses_nothing`] kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by a_killed_process_loses_nothing"]
async fn child_writer() {
    let dir = std::env::var(CHILD_DIR).unwrap();
    let (world, _store) = open_in(dir.as_ref(), |_| {}).unwrap();
    let world = Arc::new(world);
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let world = world.clone();
        writers.spawn(async move {
            let session = world.session().await;
            loop {
                world.submit().await;
                for record in world.claim(session, 1).await {
                    let mut life = record.life;
                    for number in 0..3 {
                        life = world
                            .append(&life, pair(number), Next::Continue)
                            .await
                            .unwrap();
                        println!("\nacked {} {}", life.id, life.seq);
                    }
                }
            }
        });
    }
    writers.join_all().await;
}

#[tokio::test]
async fn a_killed_process_loses_nothing() {
    for round in 1..=3 {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Process::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "sqlite::lifetime::child_writer",
                "--ignored",
                "--nocapture",
            ])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acked = std::collections::HashMap::<TaskId, u64>::new();
        let mut seen = 0;
        for line in lines {
            let line = line.unwrap();
            let words: Vec<&str> = line.split_whitespace().collect();
            if let ["acked", id, seq] = words[..]
                && let (Ok(id), Ok(seq)) = (id.parse(), seq.parse())
            {
                acked.insert(id, seq);
                seen += 1;
                if seen == 200 * round {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert!(acked.len() > 50, "{}", acked.len());

        let (world, _) = open_in(dir.path(), |_| {}).unwrap();
        for (id, seq) in &acked {
            let record = world.task(*id).await;
            assert!(record.life.seq >= *seq);
            // Its lease was taken back by the opening.
            assert_eq!(
                (&record.life.state, record.life.lease_losses),
                (&state::pending(), 1)
            );
            let events = world.events(*id).await;
            assert!(events.iter().map(|event| event.seq).eq(1..=record.life.seq));
        }
        let counts = world.store.counts(TENANT).await.unwrap();
        let session = world.session().await;
        let mut claimed = 0;
        loop {
            match world.claim(session, 1_000).await.len() {
                0 => break,
                some => claimed += some as u64,
            }
        }
        assert_eq!(counts.values().sum::<u64>(), claimed);
    }
}

/// The files as a crash leaves them, byte by byte.
#[tokio::test]
async fn a_copy_of_the_files_recovers() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (world, _store) = open_in(dir.path(), |_| {}).unwrap();
    let (_, life) = world.running().await;
    let life = world.append(&life, pair(1), Next::Continue).await.unwrap();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_name().to_str().unwrap().ends_with("-shm") {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    let (recovered, _) = open_in(copy.path(), |_| {}).unwrap();
    assert_eq!(
        recovered.events(life.id).await[..life.seq as usize],
        world.events(life.id).await
    );
}

#[tokio::test]
async fn opening_voids_the_sessions_before() {
    let dir = tempfile::tempdir().unwrap();
    let (world, store) = open_in(dir.path(), |_| {}).unwrap();
    let (session, running) = world.running().await;
    let (_, cancelling) = world.running().await;
    world
        .apply(cancelling.id, TaskAction::Cancel)
        .await
        .unwrap();
    store.close();

    let (world, _store) = open_in(dir.path(), |_| {}).unwrap();
    let after = world.task(running.id).await.life;
    assert_eq!(
        (after.state, after.lease_losses, after.attempt),
        (state::pending(), 1, 1)
    );
    assert_eq!(
        world.task(cancelling.id).await.life.state,
        state::cancelled()
    );
    assert_eq!(
        world.store.heartbeat(session).await.unwrap_err(),
        StoreError::SessionOver
    );
    assert!(
        world
            .append(&running, pair(1), Next::Continue)
            .await
            .is_err()
    );
    let seen = world.seen.take();
    assert_eq!(seen.len(), 2);
    assert!(
        seen.iter()
            .any(|notice| notice.ready.as_deref() == Some("default"))
    );
}

#[tokio::test]
async fn a_closed_store_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let (world, store) = open_in(dir.path(), |_| {}).unwrap();
    let id = world.submit().await;
    store.close();
    store.close();
    let closed = |answer: StoreError| matches!(answer, StoreError::Unavailable(_));
    assert!(closed(
        world.store.submit(world.new_task()).await.unwrap_err()
    ));
    assert!(closed(world.store.task(TENANT, id).await.unwrap_err()));
    assert!(closed(
        world.apply(id, TaskAction::Cancel).await.unwrap_err()
    ));
    assert!(store.publish(Some("http://x"), Serves::Server).is_err());
}

#[tokio::test]
async fn an_idle_store_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (world, store) = open_in(dir.path(), |_| {}).unwrap();
    let (session, life) = world.running().await;
    let mut delayed = world.new_task();
    delayed.task.run_at = Some(delayed.task.created_at.plus(3_600_000_000));
    world.submit_new(delayed).await;
    let files = || {
        let mut files: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| !entry.file_name().to_str().unwrap().ends_with("-shm"))
            .map(|entry| {
                let metadata = entry.metadata().unwrap();
                (
                    entry.file_name(),
                    metadata.len(),
                    metadata.modified().unwrap(),
                )
            })
            .collect();
        files.sort();
        files
    };
    let (before, written) = (store.stats(), files());
    assert!(before.transactions >= 3 && before.fsyncs >= before.transactions);
    for _ in 0..50 {
        world.clock.advance(1);
        world.store.heartbeat(session).await.unwrap();
        world.store.expire_sessions().await.unwrap();
        world.store.wake_due(100).await.unwrap();
        world.store.ready_queues().await.unwrap();
        world.store.counts(TENANT).await.unwrap();
        assert!(world.claim(session, 10).await.is_empty());
        world.task(life.id).await;
    }
    let after = store.stats();
    assert_eq!(
        (after.transactions, after.fsyncs),
        (before.transactions, before.fsyncs)
    );
    assert_eq!(files(), written);
}

#[tokio::test]
async fn a_claim_that_nobody_waits_for_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let (world, _store) = open_in(dir.path(), |options| {
        options.commit_delay = Some(Duration::from_millis(30))
    })
    .unwrap();
    let id = world.submit().await;
    let session = world.session().await;
    let request = ClaimRequest {
        session,
        queue: "default".into(),
        max: 1,
        rate: None,
        after: None,
    };
    let claim = world.store.claim(request);
    assert!(
        tokio::time::timeout(Duration::from_millis(5), claim)
            .await
            .is_err()
    );
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let kinds = world.kinds(id).await;
        if kinds == ["task.submitted", "task.leased", "task.released"] {
            assert_eq!(world.claim(session, 1).await[0].life.epoch, 2);
            return;
        }
    }
    panic!("{:?}", world.kinds(id).await);
}

/// A clock that breaks when it is told to.
struct BrokenClock(Arc<TestClock>, AtomicBool);

impl Clock for BrokenClock {
    fn now(&self) -> Micros {
        assert!(!self.1.load(Relaxed), "the clock is broken");
        self.0.now()
    }

    fn boot_micros(&self) -> i64 {
        self.0.boot_micros()
    }
}

#[tokio::test]
async fn a_panic_in_the_writer_fails_its_group_only() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(BrokenClock(TestClock::new(), AtomicBool::new(false)));
    let (world, store) = open_in(dir.path(), |options| options.clock = clock.clone()).unwrap();
    let world: World = world;
    let id = world.submit().await;
    clock.1.store(true, Relaxed);
    let failed = world.store.submit(world.new_task()).await.unwrap_err();
    assert!(matches!(failed, StoreError::Unavailable(_)), "{failed}");
    clock.1.store(false, Relaxed);
    assert_eq!(
        world.apply(id, TaskAction::Cancel).await.unwrap().state,
        state::cancelled()
    );
    assert_eq!(store.stats().rollbacks, 1);
}

/// tests/X1: a session whose leases could not be taken back is over all the same, and the next look ends it.
#[tokio::test]
async fn a_session_that_could_not_be_ended_is_ended_by_the_next_look() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(BrokenClock(TestClock::new(), AtomicBool::new(false)));
    let (world, _store) = open_in(dir.path(), |options| options.clock = clock.clone()).unwrap();
    let (session, life) = world.running().await;
    clock.0.advance(60);
    clock.1.store(true, Relaxed);
    assert!(world.store.expire_sessions().await.is_err());
    clock.1.store(false, Relaxed);
    // It holds the lease still, and a heartbeat does not revive it.
    assert_eq!(
        world.task(life.id).await.life.state,
        state::running(session)
    );
    for _ in 0..2 {
        let over = world.store.heartbeat(session).await.unwrap_err();
        assert_eq!(over, StoreError::SessionOver);
    }
    assert!(world.store.open_session(session).await.is_err());
    assert_eq!(world.store.expire_sessions().await.unwrap(), 1);
    assert_eq!(world.task(life.id).await.life.state, state::pending());
    assert_eq!(world.store.expire_sessions().await.unwrap(), 0);
}

struct Panics;

impl Observer for Panics {
    fn committed(&self, _: &[Notice]) {
        panic!("a defect of the observer");
    }
}

#[tokio::test]
async fn an_observer_that_panics_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (world, _store) =
        open_in(dir.path(), |options| options.observer = Arc::new(Panics)).unwrap();
    for _ in 0..3 {
        world.submit().await;
    }
    assert_eq!(
        world
            .store
            .counts(TENANT)
            .await
            .unwrap()
            .values()
            .sum::<u64>(),
        3
    );
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn crash_points_stand_on_both_sides_of_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (world, store) = open_in(dir.path(), |_| {}).unwrap();
    for (point, stored) in [("submit.before_commit", 0), ("submit.after_commit", 1)] {
        fail::cfg(point, "1*panic").unwrap();
        assert!(
            world.store.submit(world.new_task()).await.is_err(),
            "{point}"
        );
        let counts = world.store.counts(TENANT).await.unwrap();
        assert_eq!(counts.values().sum::<u64>(), stored, "{point}");
        fail::remove(point);
    }
    store.close();
    assert_eq!(store.stats().rollbacks, 2);
}
