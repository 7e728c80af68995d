//! tests/X3: what the system is asked to do, counted from outside by strace.

use std::{fs, path::Path, process::Command as Process};

use ops_core::Next;

use super::{disk::skip, open_in};
use crate::world::{TENANT, pair};

const CHILD_DIR: &str = "OPS_STORE_TEST_SYNCS_DIR";
const IDLE_ROUNDS: &str = "OPS_STORE_TEST_IDLE_ROUNDS";
/// Commits of the child, one after the other.
const COMMITS: usize = 40;

/// Not a test of its own: the process that the tests look at.
#[tokio::test]
#[ignore = "started by the tests beside it"]
async fn child_writer() {
    let dir = std::env::var(CHILD_DIR).unwrap();
    let rounds: u32 = std::env::var(IDLE_ROUNDS).unwrap().parse().unwrap();
    let (world, _store) = open_in(dir.as_ref(), |_| {}).unwrap();
    let (session, mut life) = world.running().await;
    for number in 2..COMMITS {
        let step = u32::try_from(number).unwrap();
        life = world
            .append(&life, pair(step), Next::Continue)
            .await
            .unwrap();
    }
    for _ in 0..rounds {
        world.clock.advance(1);
        world.store.heartbeat(session).await.unwrap();
        world.store.expire_sessions().await.unwrap();
        world.store.wake_due(100).await.unwrap();
        world.store.correct_clocks(100).await.unwrap();
        world.store.ready_queues().await.unwrap();
        world.store.due_schedules(10).await.unwrap();
        world.store.counts(TENANT).await.unwrap();
        assert!(world.claim(session, 10).await.is_empty());
        world.store.task(TENANT, life.id).await.unwrap();
    }
    // Not closed: a last checkpoint is none of what is counted.
    std::process::exit(0);
}

/// How often the child syncs and writes its files; none where strace cannot run.
fn count(dir: &Path, rounds: u32) -> Option<(usize, usize)> {
    let trace = dir.join("trace");
    let ran = Process::new("strace")
        .args([
            "-f",
            "-qq",
            "-e",
            "trace=fsync,fdatasync,pwrite64,pwritev,ftruncate",
            "-o",
        ])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "sqlite::syncs::child_writer",
            "--ignored",
            "--nocapture",
        ])
        .env(CHILD_DIR, dir.join("data"))
        .env(IDLE_ROUNDS, rounds.to_string())
        .output()
        .ok()?;
    let trace = fs::read_to_string(trace).ok()?;
    if trace.is_empty() && !ran.status.success() {
        return None;
    }
    assert!(ran.status.success(), "{ran:?}");
    let calls = |names: &[&str]| {
        let is_one = |line: &&str| names.iter().any(|name| line.contains(&format!("{name}(")));
        trace.lines().filter(is_one).count()
    };
    let syncs = calls(&["fsync", "fdatasync"]);
    Some((syncs, calls(&["pwrite64", "pwritev", "ftruncate"])))
}

#[test]
#[ignore = "needs strace: run by cargo xtask test"]
fn every_commit_is_synced_and_an_idle_store_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let count = |name: &str, rounds| {
        let dir = dir.path().join(name);
        fs::create_dir(&dir).unwrap();
        count(&dir, rounds)
    };
    let (Some((syncs, writes)), Some((idle_syncs, idle_writes))) =
        (count("busy", 0), count("idle", 100))
    else {
        skip("every_commit_is_synced_and_an_idle_store_writes_nothing: strace cannot run");
        return;
    };
    println!(
        "{COMMITS} commits: {syncs} syncs, {writes} writes; idle: {idle_syncs}, {idle_writes}"
    );
    assert!(syncs >= COMMITS, "{syncs} syncs of {COMMITS} commits");
    assert!(writes >= COMMITS, "{writes}");
    // A hundred rounds of looks; a checkpoint may come between.
    assert!(idle_syncs < syncs + 10, "{syncs} and {idle_syncs}");
    assert!(idle_writes < writes + 50, "{writes} and {idle_writes}");
}
