//! What the server says about itself.

use ops_core::ports::Store as _;
use serde_json::json;

use crate::harness::App;

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
