//! `[queues.NAME]`: queues with limits of their own.

use std::time::Duration;

use ops_testkit::Reply;
use serde_json::{Value, json};

use super::{
    tasks,
    test_dir::{TestDir, assert_calm},
};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Milliseconds in the minute of a time like `2025-04-12T10:00:00.000Z`.
fn millis(time: &Value) -> i64 {
    let text = time.as_str().unwrap();
    let clock = &text[11..23];
    let part = |range: std::ops::Range<usize>| clock.get(range).unwrap().parse::<i64>().unwrap();
    ((part(0..2) * 60 + part(3..5)) * 60 + part(6..8)) * 1_000 + part(9..12)
}

#[tokio::test]
async fn a_queue_keeps_its_rate_and_holds_up_no_other() {
    let test_dir = TestDir::new();
    std::fs::create_dir_all(test_dir.data()).unwrap();
    std::fs::write(
        test_dir.data().join("opspawn.toml"),
        "[queues.slow]\nrate = \"4/s\"\n",
    )
    .unwrap();
    let server = test_dir.server().await;
    let on = |queue: &str| {
        json!({"task_type": "agent_run", "queue": queue, "input_data": {"prompt": "x",
            "agent_config": {"planner": "placeholder"}}})
    };
    let mut slow = Vec::new();
    for _ in 0..5 {
        slow.push(tasks::submit(server.http(), &on("slow")).await);
    }
    let other = tasks::submit(server.http(), &on("default")).await;
    let other = tasks::ended(server.http(), &other).await;
    let mut started = Vec::new();
    for id in &slow {
        let task = tasks::ended(server.http(), id).await;
        assert_eq!(task["queue"], "slow");
        started.push(millis(&task["started_at"]));
    }
    for pair in started.windows(2) {
        // Shown to the millisecond.
        assert!(pair[1] - pair[0] >= 249, "{started:?}");
    }
    assert!(millis(&other["started_at"]) < started[4], "{other}");
    let reply: Reply = server
        .http()
        .post("/api/v1/tasks", &on("quick"))
        .await
        .unwrap();
    assert_eq!(reply.status.as_u16(), 422);
    let problem: Value = reply.json().unwrap();
    assert_eq!(problem["code"], "unknown_queue");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("`default`, `slow`"), "{detail}");
    assert_calm(&server);
}

#[tokio::test]
async fn tasks_in_a_queue_that_was_taken_away_say_so() {
    let test_dir = TestDir::new();
    std::fs::create_dir_all(test_dir.data()).unwrap();
    let file = test_dir.data().join("opspawn.toml");
    std::fs::write(&file, "[queues.slow]\nrate = \"1/h\"\n").unwrap();
    let mut server = test_dir.server().await;
    let task = json!({"task_type": "agent_run", "queue": "slow", "input_data": {"prompt": "x",
        "agent_config": {"planner": "placeholder"}}});
    let first = tasks::submit(server.http(), &task).await;
    tasks::ended(server.http(), &first).await;
    let left = tasks::submit(server.http(), &task).await;
    assert!(server.stop(TIMEOUT).await.unwrap().success());
    let doctor = async || {
        let ran = test_dir.bare_cli(&["doctor", "--data", "data"]).run().await;
        ran.ends(0).stdout
    };
    assert!(!doctor().await.contains("queues"));

    std::fs::write(&file, "").unwrap();
    let found = doctor().await;
    assert!(
        found.contains("tasks wait in `slow`, which no worker serves"),
        "{found}"
    );
    let server = test_dir.server().await;
    let found: Value = tasks::get(server.http(), &left).await;
    assert_eq!(found["state"], "pending");
    assert_eq!(found["state_detail"]["on"], "queue");
    assert!(doctor().await.contains("tasks wait in `slow`"));
}
