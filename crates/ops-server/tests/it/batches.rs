//! Submitting several tasks at once.

use ops_core::ports::TaskStore as _;
use serde_json::{Value, json};

use crate::harness::App;

async fn batch(app: &App, tasks: Value) -> Value {
    let reply = app
        .post("/api/v1/tasks:batch", &json!({"tasks": tasks}))
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

#[tokio::test]
async fn one_bad_entry_fails_no_other() {
    let app = App::start().await;
    let tasks = json!([
        {"task_type": "echo", "input_data": {"n": 1}},
        {"task_type": "ecko"},
        {"task_type": "echo", "priority": 12},
        "text",
        {"task_type": "echo", "input_data": {"n": 2}},
    ]);
    let answer = batch(&app, tasks).await;
    assert_eq!(
        (&answer["accepted"], &answer["refused"]),
        (&json!(2), &json!(3))
    );
    let results = answer["results"].as_array().unwrap();
    for (index, status, code) in [
        (1, 422, "unknown_task_type"),
        (2, 422, "invalid_body"),
        (3, 422, "invalid_body"),
    ] {
        assert_eq!(results[index]["status"], status);
        assert_eq!(results[index]["error"]["code"], code);
        assert_eq!(results[index]["task"], Value::Null);
    }
    assert_eq!(
        results[2]["error"]["errors"][0]["loc"],
        json!(["body", "priority"])
    );
    for (index, n) in [(0, 1), (4, 2)] {
        assert_eq!(results[index]["status"], 201);
        let id = results[index]["task"]["task_id"].as_str().unwrap();
        assert_eq!(app.task(id).await["input_data"], json!({"n": n}));
    }
    assert_eq!(app.get("/api/v1/tasks").await.json()["total"], 2);
}

#[tokio::test]
async fn a_batch_that_is_sent_again_makes_nothing_new() {
    let app = App::start().await;
    let tasks = json!([
        {"task_type": "echo", "request_id": "a"},
        {"task_type": "echo", "request_id": "b"},
        {"task_type": "echo", "request_id": "a"},
        {"task_type": "echo", "request_id": "a", "priority": 3},
    ]);
    let first = batch(&app, tasks.clone()).await;
    let again = batch(&app, tasks).await;
    let at = |answer: &Value, index: usize| answer["results"][index].clone();
    assert_eq!(at(&first, 0)["replayed"], false);
    assert_eq!(at(&first, 2)["replayed"], true);
    assert_eq!(
        at(&first, 2)["task"]["task_id"],
        at(&first, 0)["task"]["task_id"]
    );
    for index in 0..2 {
        assert_eq!(at(&again, index)["replayed"], true);
        assert_eq!(at(&again, index)["task"], at(&first, index)["task"]);
    }
    assert_eq!(at(&again, 3)["error"]["code"], "idempotency_mismatch");
    assert_eq!(app.get("/api/v1/tasks").await.json()["total"], 2);
}

#[tokio::test]
async fn a_batch_is_one_commit() {
    let app = App::start().await;
    let before = app.store.stats();
    let tasks = vec![json!({"task_type": "echo"}); 500];
    assert_eq!(batch(&app, json!(tasks)).await["accepted"], 500);
    let after = app.store.stats();
    assert_eq!(after.events - before.events, 500);
    assert_eq!(after.transactions - before.transactions, 1);
}

#[tokio::test]
async fn a_database_that_takes_none_is_the_answer_to_the_batch() {
    let app = App::start().await;
    app.store.close();
    let body = json!({"tasks": [{"task_type": "echo"}, {"task_type": "no"}]});
    let reply = app.post("/api/v1/tasks:batch", &body).await;
    reply.problem(503, "storage_unavailable");
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert!(app.store.counts(ops_core::TenantId::DEFAULT).await.is_err());
}
