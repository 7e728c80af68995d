//! The same request twice makes one task.

use serde_json::json;

use crate::{
    client::{Reply, request},
    harness::App,
};

async fn post(app: &App, key: &str, body: &str) -> Reply {
    let headers = [("idempotency-key", key)];
    request(app.addr, "POST", "/api/v1/tasks", &headers, body.as_bytes()).await
}

#[tokio::test]
async fn the_same_key_and_body_give_the_same_task_and_say_so() {
    let app = App::start().await;
    let first = post(
        &app,
        "k1",
        r#"{"task_type":"echo","input_data":{"a":1,"b":2}}"#,
    )
    .await;
    assert_eq!(first.status, 201);
    assert_eq!(first.header("idempotency-replayed"), None);
    let again = post(
        &app,
        "k1",
        r#"{ "input_data":{"b":2,"a":1}, "task_type":"echo" }"#,
    )
    .await;
    assert_eq!(again.status, 201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.json()["task_id"], first.json()["task_id"]);
    let other = post(
        &app,
        "k2",
        r#"{"task_type":"echo","input_data":{"a":1,"b":2}}"#,
    )
    .await;
    assert_ne!(other.json()["task_id"], first.json()["task_id"]);
}

#[tokio::test]
async fn the_same_key_with_another_body_gives_422() {
    let app = App::start().await;
    post(&app, "k", r#"{"task_type":"echo"}"#).await;
    let reply = post(&app, "k", r#"{"task_type":"echo","priority":1}"#).await;
    reply.problem(422, "idempotency_mismatch");
}

#[tokio::test]
async fn the_key_may_be_in_the_body() {
    let app = App::start().await;
    let body = json!({"task_type": "echo", "request_id": "k"});
    let first = app.submit(&body).await;
    assert_eq!(app.submit(&body).await, first);
    let header = post(&app, "k", r#"{"task_type":"echo"}"#).await;
    assert_eq!(
        header.json()["task_id"],
        first,
        "the key is the same, and so is the rest"
    );
    let both = post(&app, "k", &body.to_string()).await;
    assert_eq!(both.json()["task_id"], first);
    let differ = post(&app, "other", &body.to_string()).await;
    let problem = differ.problem(422, "invalid_body");
    assert_eq!(
        problem["errors"][0]["loc"],
        json!(["header", "Idempotency-Key"])
    );
}

#[tokio::test]
async fn a_key_that_is_too_long_gives_422() {
    let app = App::start().await;
    let reply = post(&app, &"k".repeat(256), r#"{"task_type":"echo"}"#).await;
    let problem = reply.problem(422, "invalid_body");
    assert_eq!(
        problem["errors"][0]["loc"],
        json!(["header", "Idempotency-Key"])
    );
}

#[tokio::test]
async fn in_parallel_one_task_is_made() {
    let app = App::start().await;
    let posts = (0..64).map(|_| post(&app, "same", r#"{"task_type":"echo"}"#));
    let replies = futures_util::future::join_all(posts).await;
    let first = replies[0].json()["task_id"].clone();
    let mut made = 0;
    for reply in &replies {
        assert_eq!(reply.status, 201);
        assert_eq!(reply.json()["task_id"], first);
        made += usize::from(reply.header("idempotency-replayed").is_none());
    }
    assert_eq!(made, 1);
    assert_eq!(app.get("/api/v1/tasks").await.json()["total"], 1);
}

#[tokio::test]
async fn a_retry_and_a_rerun_with_the_same_key_make_one_task() {
    let app = App::start().await;
    let (one, other) = (cancelled(&app).await, cancelled(&app).await);
    let send = async |id: &str, verb: &str, key: &str| {
        let path = format!("/api/v1/tasks/{id}/{verb}");
        let headers = [("idempotency-key", key)];
        request(app.addr, "POST", &path, &headers, b"{}").await
    };
    for verb in ["retry", "rerun"] {
        let first = send(&one, verb, verb).await;
        assert_eq!(first.status, 201);
        assert_eq!(first.header("idempotency-replayed"), None);
        assert_eq!(first.json()["retry_of"], one);
        let again = send(&one, verb, verb).await;
        assert_eq!(again.status, 201);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.json()["task_id"], first.json()["task_id"]);
        let new = send(&one, verb, &format!("{verb} 2")).await;
        assert_ne!(new.json()["task_id"], first.json()["task_id"]);
        send(&other, verb, verb)
            .await
            .problem(422, "idempotency_mismatch");
        let problem = send(&one, verb, &"k".repeat(256)).await;
        let problem = problem.problem(422, "invalid_body");
        assert_eq!(
            problem["errors"][0]["loc"],
            json!(["header", "Idempotency-Key"])
        );
    }
    send(&one, "rerun", "retry")
        .await
        .problem(422, "idempotency_mismatch");
}

/// A database of an older release holds digests of requests as they were written.
#[tokio::test]
async fn a_key_of_an_older_release_finds_its_task() {
    use ops_core::ports::{
        ClaimRequest, Idempotency, IdempotencyKey, NewTask, RunStore as _, TaskStore as _,
    };
    let app = App::start().await;
    // Any stored task shows what a new one looks like.
    app.echo().await;
    let request_of = ClaimRequest {
        session: app.session(),
        queue: "default".into(),
        max: 1,
        rate: None,
        after: None,
    };
    let claimed = app.store.claim(request_of).await.unwrap().tasks.remove(0);
    let mut task = claimed.task;
    task.id = ops_core::TaskId::new(ops_core::Micros(1), [9; 10]);
    task.priority = 3;
    // SHA-256 of {"priority":3,"task_type":"echo"}.
    let digest = [
        171, 135, 200, 232, 142, 191, 56, 226, 113, 159, 104, 218, 213, 135, 215, 71, 182, 126, 10,
        82, 210, 158, 25, 74, 240, 234, 49, 100, 203, 126, 165, 171,
    ];
    let stored = NewTask {
        actor: ops_core::Actor::Local,
        retry: claimed.life.retry,
        idempotency: Some(Idempotency {
            key: IdempotencyKey::Client("old".into()),
            digest,
        }),
        fork: None,
        task,
    };
    let id = stored.task.id.to_string();
    app.store.submit(stored).await.unwrap();

    let same = r#"{ "priority": 3, "task_type": "echo", "name": null }"#;
    let found = post(&app, "old", same).await;
    assert_eq!(found.status, 201, "{}", found.text());
    assert_eq!(found.header("idempotency-replayed"), Some("true"));
    assert_eq!(found.json()["task_id"], id);
    let batch = json!({"tasks": [
        {"task_type": "echo", "priority": 3, "request_id": "old"},
        {"task_type": "echo", "request_id": "old"},
        {"task_type": "echo", "request_id": "new"},
    ]});
    let answer = app.post("/api/v1/tasks:batch", &batch).await.json();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results[0]["task"]["task_id"], id);
    assert_eq!(results[1]["error"]["code"], "idempotency_mismatch");
    assert_eq!(results[2]["replayed"], false);
    post(&app, "old", r#"{"task_type":"echo"}"#)
        .await
        .problem(422, "idempotency_mismatch");
}

#[tokio::test]
async fn requests_that_mean_the_same_are_the_same_however_they_are_written() {
    let app = App::start().await;
    let first = post(
        &app,
        "k",
        r#"{"task_type":"agent_run","input_data":{"prompt":"p"},"limits":{"timeout":"5m"}}"#,
    )
    .await;
    assert_eq!(first.status, 201, "{}", first.text());
    for same in [
        r#"{"prompt":"p","limits":{"timeout":300}}"#,
        r#"{"prompt":"p","limits":{"timeout":300},"priority":0,"labels":{},"queue":"default"}"#,
    ] {
        let again = post(&app, "k", same).await;
        assert_eq!(again.json()["task_id"], first.json()["task_id"], "{same}");
    }
}

/// engine/E8
#[tokio::test]
async fn a_clients_key_does_not_block_a_redrive() {
    let app = App::start().await;
    let dead = crate::operations::cases::dead(&app).await;
    let key = format!("opspawn:redrive:{dead}");
    post(&app, &key, r#"{"task_type":"echo"}"#).await;
    let path = format!("/api/v1/dead-letters/{dead}/redrive");
    let redriven = app.post(&path, &json!({})).await;
    assert_eq!(redriven.status, 201, "{}", redriven.text());
    assert_eq!(redriven.json()["retry_of"], dead);
    let again = app.post(&path, &json!({})).await.json();
    assert_eq!(again["task_id"], redriven.json()["task_id"]);
    // What a key of the engine's begins with, no client can write.
    let forged = json!({"task_type": "echo", "request_id": format!("\u{1}redrive:{dead}")});
    let problem = app.post("/api/v1/tasks", &forged).await;
    let problem = problem.problem(422, "invalid_body");
    assert_eq!(problem["errors"][0]["loc"], json!(["body", "request_id"]));
}

async fn cancelled(app: &App) -> String {
    let id = app.echo().await;
    let path = format!("/api/v1/tasks/{id}/cancel");
    let headers = [];
    request(app.addr, "POST", &path, &headers, b"").await;
    id
}
