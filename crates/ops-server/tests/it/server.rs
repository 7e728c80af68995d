//! The server's description of itself.

use ops_core::{
    Task, TaskId, TenantId,
    event::StepStatus,
    ports::{NewTask, TaskStore as _},
};
use serde_json::{Value, json};

use crate::{
    client::{Events, TIMEOUT, request},
    harness::{App, event},
};

#[tokio::test]
async fn health_asks_nothing_of_the_database() {
    let app = App::start().await;
    app.store.close();
    assert_eq!(app.get("/health").await.status, 200);
    assert_eq!(app.get("/api/v1/health").await.json()["status"], "ok");
}

#[tokio::test]
async fn a_database_that_cannot_be_used_gives_503_and_when_to_come_back() {
    let app = App::start().await;
    app.store.close();
    for path in ["/api/v1/tasks", "/ready"] {
        let reply = app.get(path).await;
        reply.problem(503, "storage_unavailable");
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    let reply = app
        .post("/api/v1/tasks", &json!({"task_type": "echo"}))
        .await;
    reply.problem(503, "storage_unavailable");
}

#[tokio::test]
async fn ready_tells_about_its_parts() {
    let app = App::start().await;
    assert!(app.store.counts(ops_core::TenantId::DEFAULT).await.is_ok());
    let reply = app.get("/ready").await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.json(),
        json!({"status": "ready", "parts": {"storage": "ok"}})
    );
}

#[tokio::test]
async fn info_holds_what_the_command_line_shows() {
    let app = App::start().await;
    assert_eq!(
        app.get("/api/v1/info").await.json(),
        json!({
            "version": "0.1.0", "mode": "dev", "storage": "sqlite", "durability": "ephemeral",
            "model": {"provider": "scripted", "name": "scripted", "is_llm": false},
            "notice": "the scripted model is not an LLM"
        })
    );
}

/// The value of a sample.
fn sample(text: &str, name: &str) -> f64 {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("no {name} in {text}"));
    value.parse().unwrap()
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let app = App::start().await;
    for _ in 0..3 {
        app.echo().await;
    }
    app.complete_next(&json!({})).await;
    let task = app.claim().await.task.id;
    let call = event(1, StepStatus::Completed, json!({"name": "send"}));
    app.append(task, vec![call], ops_core::Next::Continue).await;
    for path in ["/api/v1/tasks/x", "/api/v1/tasks/y/", "/nope", "/nope/2"] {
        app.get(path).await;
    }
    request(app.addr, "BREW", "/health", &[], b"").await;
    let stream = Events::open(app.addr, &format!("/api/v1/tasks/{task}/events"), &[]).await;
    let reply = app.get("/metrics").await;
    assert_eq!(reply.status, 200);
    let text = reply.text();
    for (name, value) in [
        ("opspawn_tasks{state=\"pending\"}", 1.0),
        ("opspawn_tasks{state=\"completed\"}", 1.0),
        ("opspawn_tasks{state=\"failed\"}", 0.0),
        ("opspawn_submits_total", 3.0),
        ("opspawn_steps_total", 1.0),
        ("opspawn_tool_calls_total{outcome=\"completed\"}", 1.0),
        ("opspawn_model_calls_total{outcome=\"failed\"}", 0.0),
        ("opspawn_input_tokens_total", 3.0),
        ("opspawn_cost_usd_total", 0.0015),
        ("opspawn_queue_wait_seconds_count", 2.0),
        ("opspawn_queue_wait_seconds_bucket{le=\"+Inf\"}", 2.0),
        ("opspawn_followers", 1.0),
        (
            "opspawn_http_requests_total{method=\"GET\",route=\"/api/v1/tasks/{task_id}\",status=\"404\"}",
            2.0,
        ),
        (
            "opspawn_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"}",
            2.0,
        ),
        (
            "opspawn_http_requests_total{method=\"other\",route=\"/health\",status=\"405\"}",
            1.0,
        ),
    ] {
        let found = sample(&text, name);
        assert!((found - value).abs() < 1e-9, "{name}: {found}");
    }
    for name in [
        "opspawn_store_transactions_total",
        "opspawn_store_commit_seconds_count",
        "process_cpu_seconds_total",
    ] {
        assert!(sample(&text, name) > 0.0, "{name}");
    }
    drop(stream);
    let begun = std::time::Instant::now();
    while sample(&app.get("/metrics").await.text(), "opspawn_followers") > 0.0 {
        assert!(
            begun.elapsed() < TIMEOUT,
            "the follower that left is still counted"
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    app.store.close();
    let text = app.get("/metrics").await.text();
    assert!(!text.contains("opspawn_tasks{") && text.contains("opspawn_submits_total 3"));
}

#[tokio::test]
async fn the_page_shows_every_operation_and_asks_nothing_of_anybody_else() {
    let app = App::start().await;
    let document = app.get("/openapi.json").await.json();
    let reply = app.get("/docs").await;
    let page = reply.text();
    for methods in document["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(page.contains(&format!("<section id=\"{id}\">")), "{id}");
        }
    }
    for name in document["components"]["schemas"]
        .as_object()
        .unwrap()
        .keys()
    {
        assert!(page.contains(&format!("id=\"shape-{name}\"")), "{name}");
    }
    let policy = reply.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'self';"),
        "{policy}"
    );
    for stranger in ["<script", "http://", "https://", "style=", "onclick="] {
        assert!(!page.contains(stranger), "{stranger}");
    }
    assert_eq!(
        app.get("/docs.css").await.header("content-type"),
        Some("text/css; charset=utf-8")
    );
}

#[tokio::test]
async fn a_task_in_a_queue_that_nobody_serves_says_so() {
    let app = App::start().await;
    let served: TaskId = app.echo().await.parse().unwrap();
    let record = app.store.task(TenantId::DEFAULT, served).await.unwrap();
    let id = TaskId::new(record.task.created_at, [200; 10]);
    let task = Task {
        id,
        queue: "gone".into(),
        ..record.task
    };
    // As one that was accepted while the queue was configured.
    let left = NewTask {
        task,
        actor: ops_core::Actor::Local,
        retry: record.life.retry,
        idempotency: None,
        fork: None,
    };
    app.store.submit(left).await.unwrap();
    let detail = app.task(&id.to_string()).await["state_detail"].clone();
    assert_eq!(detail["on"], "queue");
    let message = detail["message"].as_str().unwrap();
    assert!(message.contains("no worker serves the queue `gone`"));
    let list = app.get("/api/v1/tasks").await.json();
    let details = [&list["tasks"][0], &list["tasks"][1]].map(|task| &task["state_detail"]);
    assert!(details.contains(&&detail) && details.contains(&&Value::Null));
    let ready = app.get("/ready").await;
    assert_eq!(ready.status, 200);
    assert_eq!(
        ready.json()["warnings"],
        json!(["tasks wait in the queue `gone`, which no worker serves"])
    );
}
