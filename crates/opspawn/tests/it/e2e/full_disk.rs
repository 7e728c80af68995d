//! A disk that is really full: what is new is refused, nothing that was taken is lost, and all goes
//! on once there is space.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use ops_testkit::{Http, Reply, skip, wait_until};
use serde_json::{Value, json};

use super::{
    tasks,
    test_dir::{TestDir, assert_only, binary},
};

const TIMEOUT: Duration = Duration::from_secs(20);

/// A small file system of its own, unmounted when dropped.
pub(super) struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts one at a path; where that is not allowed, the test is skipped.
    pub(super) fn mount(at: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at);
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self(at.to_owned()));
        }
        skip("a tmpfs cannot be mounted (root is needed)");
        None
    }

    /// Takes all space but so many bytes. Removing the file gives it back.
    fn fill(&self, leave: u64) -> PathBuf {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        let free = stat.f_bavail * stat.f_frsize;
        let path = self.0.join("ballast");
        let ballast = vec![1; usize::try_from(free.saturating_sub(leave)).unwrap()];
        fs::write(&path, ballast).unwrap();
        path
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily, as a process that is just being killed may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// So many words that do not compress.
fn noise(seed: usize, words: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ seed as u64;
    let word = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        format!("{state:016x}")
    };
    (0..words).map(word).collect()
}

/// Submits a task with a goal that does not compress.
async fn submit(http: &Http, n: usize) -> Reply {
    let goal = format!("{n} {}", noise(n, 400));
    let scripted = json!({"provider": "scripted"});
    let input = json!({"prompt": goal, "agent_config": scripted});
    let body = json!({"task_type": "agent_run", "input_data": input});
    http.post("/api/v1/tasks/", &body).await.unwrap()
}

/// Submits until the disk has been full for a while; returns the tasks that were taken.
async fn until_full(http: &Http) -> Vec<String> {
    let mut taken = Vec::new();
    let mut refused = 0;
    for n in 0..400 {
        let reply = submit(http, n).await;
        if reply.status.as_u16() == 201 {
            taken.push(tasks::id(&reply.json().unwrap()));
            continue;
        }
        let problem: Value = reply.json().unwrap();
        assert_eq!(
            (reply.status.as_u16(), &problem["code"]),
            (507, &json!("storage_full")),
            "{problem:#}"
        );
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("no space is left")
                && detail.contains("nothing that was acknowledged is lost")
        );
        assert!(
            problem["fix"].as_str().unwrap().contains("Free space"),
            "{problem:#}"
        );
        refused += 1;
        if refused == 30 {
            assert!(!taken.is_empty(), "the disk was full from the start");
            return taken;
        }
    }
    panic!("the disk was never full: {} tasks", taken.len());
}

/// There is space again: new tasks are taken, and all that was ever taken comes to its end.
async fn goes_on(http: &Http, taken: &[String]) {
    let again = || async { (submit(http, 1_000).await.status.as_u16() == 201).then_some(()) };
    wait_until("a task that is taken", TIMEOUT, again)
        .await
        .unwrap();
    for id in taken {
        assert!(tasks::answer(http, id).await.contains("no LLM has worked"));
    }
    let ready = http.get("/ready").await.unwrap();
    assert_eq!(ready.status.as_u16(), 200, "{}", ready.text());
}

#[tokio::test]
#[ignore = "needs root to mount a file system: run by cargo xtask test"]
async fn new_tasks_are_refused_and_the_old_ones_go_on_once_there_is_space() {
    let test_dir = TestDir::new();
    let Some(disk) = Tmpfs::mount(&test_dir.data(), "size=2m") else {
        return;
    };
    let server = test_dir.server().await;
    let http = server.http();
    let ballast = disk.fill(300 << 10);
    let taken = until_full(http).await;
    for id in &taken {
        assert_eq!(
            tasks::get(http, id).await["task_id"],
            id.as_str(),
            "reading goes on"
        );
    }
    // engine/E7: while every write fails, it is not ready, and says why.
    let ready = http.get("/ready").await.unwrap();
    let problem: Value = ready.json().unwrap();
    assert_eq!(
        (ready.status.as_u16(), &problem["code"]),
        (507, &json!("storage_full")),
        "{problem:#}"
    );
    // More than one that was refused: it has no room either.
    let ran = test_dir
        .cli(&["run", "-", "--detach"])
        .stdin(&noise(7, 4_000))
        .run()
        .await
        .ends(5);
    ran.says(&["no space is left", "Free space"]);
    fs::remove_file(ballast).unwrap();
    // Nobody writes: it finds out by itself.
    let ready = || async { http.get("/ready").await.ok()?.ok().ok() };
    wait_until("that it is ready again", TIMEOUT, ready)
        .await
        .unwrap();
    goes_on(http, &taken).await;
    assert_only(&server, &["the disk is full"]);
}

#[tokio::test]
#[ignore = "needs root to mount a file system: run by cargo xtask test"]
async fn after_a_kill_on_the_full_disk_nothing_that_was_taken_is_lost() {
    let test_dir = TestDir::new();
    let Some(disk) = Tmpfs::mount(&test_dir.data(), "size=2m") else {
        return;
    };
    let mut server = test_dir.server().await;
    let ballast = disk.fill(300 << 10);
    let taken = until_full(server.http()).await;
    server.sigkill().unwrap();
    fs::remove_file(ballast).unwrap();
    let server = test_dir.server().await;
    goes_on(server.http(), &taken).await;
    assert_only(&server, &["the disk is full"]);
}

/// The log is often on the same disk as the data. That a line of it cannot be written must not end
/// anything.
#[tokio::test]
#[ignore = "needs root to mount a file system: run by cargo xtask test"]
async fn a_log_on_the_full_disk_ends_nothing() {
    let test_dir = TestDir::new();
    let Some(disk) = Tmpfs::mount(&test_dir.data(), "size=2m") else {
        return;
    };
    let log = fs::File::create(test_dir.data().join("log")).unwrap();
    let mut command = Command::new(binary());
    command
        .args(["dev", "--listen", "127.0.0.1:0", "--data"])
        .arg(test_dir.data())
        .env_clear()
        .env("HOME", test_dir.join("home"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    let server = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let url = || async {
        let lock = fs::read_to_string(test_dir.data().join("opspawn.lock")).ok()?;
        let lock: Value = serde_json::from_str(lock.lines().next()?).ok()?;
        Some(lock["url"].as_str()?.to_owned())
    };
    let http = Http::new(&wait_until("the server", TIMEOUT, url).await.unwrap());
    let healthy = || async { http.get("/health").await.ok()?.ok().ok() };
    wait_until("health", TIMEOUT, healthy).await.unwrap();

    let ballast = disk.fill(300 << 10);
    let taken = until_full(&http).await;
    // Nothing at all is left for the log, and errors are logged.
    let rest = disk.0.join("rest");
    let _ = fs::write(&rest, vec![1; 2 << 20]);
    for n in 0..10 {
        assert_eq!(submit(&http, 500 + n).await.status.as_u16(), 507);
    }
    fs::remove_file(ballast).unwrap();
    fs::remove_file(rest).unwrap();
    goes_on(&http, &taken).await;
    drop(server);
}
