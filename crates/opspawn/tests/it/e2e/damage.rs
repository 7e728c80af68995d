//! security/S7 and security/S8 as a client meets them: bits that flip in the data folder while no server runs.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use super::{tasks, test_dir::TestDir};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Flips a bit of the byte at a place.
fn flip(file: &Path, at: u64) {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(file)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// Where a text stands in a file, the first of its places.
fn find(file: &Path, text: &str) -> u64 {
    let bytes = fs::read(file).unwrap();
    let found = bytes
        .windows(text.len())
        .position(|window| window == text.as_bytes());
    found.expect("the text is in the file") as u64
}

fn database(test_dir: &TestDir) -> PathBuf {
    test_dir.data().join("opspawn.db")
}

fn scripted(goal: &str) -> Value {
    json!({"task_type": "agent_run", "input_data": {
        "prompt": goal, "agent_config": {"provider": "scripted"},
    }})
}

#[tokio::test]
async fn a_damaged_task_is_an_error_and_every_list_goes_on() {
    let test_dir = TestDir::new();
    let mut server = test_dir.server().await;
    let mut ids = Vec::new();
    for goal in ["an apple", "a quince", "a pear"] {
        let id = tasks::submit(server.http(), &scripted(goal)).await;
        tasks::ended(server.http(), &id).await;
        ids.push(id);
    }
    assert!(server.stop(TIMEOUT).await.unwrap().success());
    let wal = test_dir.data().join("opspawn.db-wal");
    assert!(!wal.exists(), "a clean stop leaves no log behind");
    test_dir.cli(&["doctor"]).run().await.ends(0);
    // The input of the second task, which stands in its request; the page stays well formed.
    flip(&database(&test_dir), find(&database(&test_dir), "a quince"));

    let mut server = test_dir.server().await;
    let http = server.http().clone();
    let list: Value = http
        .get("/api/v1/tasks/")
        .await
        .unwrap()
        .ok()
        .unwrap()
        .json()
        .unwrap();
    let listed: Vec<&str> = list["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| task["task_id"].as_str().unwrap())
        .collect();
    let (good, damaged) = ([ids[2].as_str(), ids[0].as_str()], &ids[1]);
    if list["damaged"].is_null() {
        // The text stands in an event as well, and that was the first place: the log is what is damaged.
        let log = http
            .get(&format!("/api/v1/tasks/{damaged}/events"))
            .await
            .unwrap();
        assert_eq!(log.status.as_u16(), 500, "{}", log.text());
    } else {
        assert_eq!(
            (listed.as_slice(), &list["damaged"]),
            (good.as_slice(), &json!([damaged]))
        );
        assert_eq!(list["total"], 3);
        let ls = test_dir.cli(&["task", "ls"]).run().await.ends(0);
        ls.says(&[damaged, "is damaged and left out"]);
        let task = http.get(&format!("/api/v1/tasks/{damaged}")).await.unwrap();
        let problem: Value = task.json().unwrap();
        assert_eq!(
            (task.status.as_u16(), &problem["code"]),
            (500, &json!("storage_damaged"))
        );
    }
    for id in good {
        assert!(tasks::answer(&http, id).await.contains("no LLM has worked"));
    }
    assert!(server.stop(TIMEOUT).await.unwrap().success());
    let ran = test_dir.cli(&["doctor"]).run().await.ends(1);
    assert!(ran.stdout.contains("not as they were written"), "{ran:#?}");
}

#[tokio::test]
async fn a_damaged_log_is_told_until_its_copy_is_taken_away() {
    let test_dir = TestDir::new();
    let mut server = test_dir.server().await;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(tasks::agent(server.http(), &format!("number {n}")).await);
    }
    tasks::ended(server.http(), &ids[19]).await;
    server.sigkill().unwrap();
    let wal = test_dir.data().join("opspawn.db-wal");
    let length = fs::metadata(&wal).unwrap().len();
    flip(&wal, length / 2);
    let ran = test_dir.cli(&["doctor"]).run().await.ends(1);
    assert!(
        ran.stdout.contains("commits behind them are lost"),
        "{ran:#?}"
    );

    let server = test_dir.server().await;
    let ready: Value = server
        .http()
        .get("/ready")
        .await
        .unwrap()
        .ok()
        .unwrap()
        .json()
        .unwrap();
    let warning = ready["warnings"][0].as_str().unwrap();
    assert!(warning.contains("commits of it are lost"), "{ready:#}");
    let alarms = server.alarms();
    assert!(
        alarms
            .iter()
            .any(|line| line.contains("write-ahead log is damaged")),
        "{alarms:#?}"
    );
    let copies = || {
        let entries = fs::read_dir(test_dir.data()).unwrap();
        let names = entries.map(|entry| entry.unwrap().path());
        names
            .filter(|path| {
                path.file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with("opspawn-damaged-")
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(fs::metadata(&copies()[0]).unwrap().len(), length);
    fs::remove_file(&copies()[0]).unwrap();
    let ready: Value = server
        .http()
        .get("/ready")
        .await
        .unwrap()
        .ok()
        .unwrap()
        .json()
        .unwrap();
    assert!(ready["warnings"].is_null(), "{ready:#}");
}
