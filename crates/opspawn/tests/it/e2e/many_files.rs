//! Thousands of files that a task begins with are written before its first step. Cancel, the task's time
//! and SIGTERM do not wait for them.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::{
    tasks,
    test_dir::{TestDir, assert_calm},
};

/// A task with as many files as it may have, one in a folder of its own.
fn many(limits: &Value) -> Value {
    let files: Map<String, Value> = (0..10_000)
        .map(|number| (format!("{number}/part.txt"), "text".into()))
        .collect();
    json!({"task_type": "agent_run", "limits": limits, "input_data": {
        "prompt": "count", "files": files, "agent_config": {"provider": "scripted"},
    }})
}

#[tokio::test]
async fn files_of_the_input_hold_up_neither_cancel_nor_timeout_nor_shutdown() {
    let test_dir = TestDir::new();
    let mut server = test_dir.server().await;
    let http = server.http().clone();
    let cancelled = tasks::submit(&http, &many(&json!({}))).await;
    tasks::in_state(&http, &cancelled, &["running"]).await;
    let late = tasks::submit(&http, &many(&json!({"timeout": 0.3}))).await;

    let begun = Instant::now();
    let path = format!("/api/v1/tasks/{cancelled}/cancel");
    http.post(&path, &json!({})).await.unwrap().ok().unwrap();
    tasks::in_state(&http, &cancelled, &["cancelled"]).await;
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    let task = tasks::ended(&http, &late).await;
    assert_eq!(task["error"]["code"], "timeout", "{task:#}");
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );

    let stopped = tasks::submit(&http, &many(&json!({}))).await;
    tasks::in_state(&http, &stopped, &["running"]).await;
    let begun = Instant::now();
    let status = server.stop(Duration::from_secs(30)).await.unwrap();
    assert!(status.success(), "{status}");
    assert!(
        begun.elapsed() < Duration::from_secs(12),
        "{:?}",
        begun.elapsed()
    );
    assert_calm(&server);
    // And it goes on where it was.
    let server = test_dir.server().await;
    let task = tasks::get(server.http(), &stopped).await;
    assert!(
        ["pending", "running", "completed"].contains(&task["state"].as_str().unwrap()),
        "{task:#}"
    );
    let mut more = many(&json!({}));
    more["input_data"]["files"]["one/more.txt"] = "text".into();
    let refused = server.http().post("/api/v1/tasks/", &more).await.unwrap();
    assert_eq!(refused.status.as_u16(), 422);
}
