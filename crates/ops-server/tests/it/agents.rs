//! Agents over HTTP: versions, preconditions, and the versions that tasks are pinned to.

use serde_json::{Value, json};

use crate::{client::Reply, harness::App};

async fn put(app: &App, path: &str, definition: &Value, headers: &[(&str, &str)]) -> Reply {
    let body = json!({"definition": definition}).to_string();
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(headers);
    let path = format!("/api/v1/agents/{path}");
    crate::client::request(app.addr, "PUT", &path, &all, body.as_bytes()).await
}

#[tokio::test]
async fn a_task_keeps_the_version_that_it_was_submitted_under() {
    let app = App::start().await;
    let first = put(&app, "a", &json!({"name": "a", "n": 1}), &[]).await;
    assert_eq!(first.status, 201, "{}", first.text());
    assert_eq!(first.json()["change"], "created");
    let submit = json!({"task_type": "echo", "agent_id": "a"});
    let task = app.post("/api/v1/tasks", &submit).await.json();
    assert_eq!(task["agent_digest"], first.json()["digest"]);

    let second = put(&app, "a", &json!({"name": "a", "n": 2}), &[]).await;
    assert_eq!(
        (second.status, &second.json()["revision"]),
        (200, &json!(2))
    );
    let path = format!("/api/v1/tasks/{}", task["task_id"].as_str().unwrap());
    let still = app.get(&path).await.json();
    assert_eq!(still["agent_digest"], first.json()["digest"]);
    let late = app.post("/api/v1/tasks", &submit).await.json();
    assert_eq!(late["agent_digest"], second.json()["digest"]);

    let versions = app.get("/api/v1/agents/a/versions").await.json();
    let seen: Vec<_> = versions["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| (&version["digest"], &version["current"]))
        .collect();
    let (one, two) = (first.json(), second.json());
    assert_eq!(
        seen,
        [
            (&two["digest"], &json!(true)),
            (&one["digest"], &json!(false))
        ]
    );
    let old = format!(
        "/api/v1/agents/a/versions/{}",
        one["digest"].as_str().unwrap()
    );
    let old = app.get(&old).await.json();
    assert_eq!(old["definition"], json!({"name": "a", "n": 1}));
}

#[tokio::test]
async fn an_etag_keeps_one_change_from_undoing_another() {
    let app = App::start().await;
    let first = put(
        &app,
        "a",
        &json!({"name": "a", "n": 1}),
        &[("if-none-match", "*")],
    )
    .await;
    let tag = first.header("etag").unwrap().to_owned();
    let headers = [("if-none-match", tag.as_str())];
    let same = crate::client::request(app.addr, "GET", "/api/v1/agents/a", &headers, b"").await;
    assert_eq!((same.status, same.body.len()), (304, 0));

    let mine = put(
        &app,
        "a",
        &json!({"name": "a", "n": 2}),
        &[("if-match", &tag)],
    )
    .await;
    assert_eq!(mine.status, 200);
    let theirs = put(
        &app,
        "a",
        &json!({"name": "a", "n": 3}),
        &[("if-match", &tag)],
    )
    .await;
    theirs.problem(412, "agent_changed");
    assert!(
        theirs
            .text()
            .contains(mine.json()["digest"].as_str().unwrap())
    );
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_and_stores_nothing() {
    let app = App::start().await;
    app.agents(&["a"]).await;
    let seen = put(&app, "a?dry_run=true", &json!({"name": "a", "n": 5}), &[]).await;
    assert_eq!(seen.status, 200, "{}", seen.text());
    assert_eq!(seen.json()["change"], "changed");
    assert_eq!(seen.json()["revision"], 2);
    let stands = app.get("/api/v1/agents/a").await.json();
    assert_eq!(stands["definition"], json!({"name": "a"}));
    assert_ne!(stands["digest"], seen.json()["digest"]);
    let circle = put(
        &app,
        "a?dry_run=true",
        &json!({"name": "a", "agents": ["a"]}),
        &[],
    )
    .await;
    circle.problem(422, "agent_cycle");
    assert!(circle.text().contains("a -> a"), "{}", circle.text());
    let none = put(&app, "b?dry_run=true", &json!({"name": "b"}), &[]).await;
    assert_eq!(none.json()["change"], "created");
    app.get("/api/v1/agents/b")
        .await
        .problem(404, "agent_not_found");
}

#[tokio::test]
async fn an_unknown_agent_is_refused_with_the_one_that_was_meant() {
    let app = App::start().await;
    app.agents(&["researcher", "writer"]).await;
    for (name, says) in [
        ("reseacher", "did you mean `researcher`?"),
        ("Zed", "known are `researcher`, `writer`"),
    ] {
        let submit = json!({"task_type": "echo", "agent_id": name});
        let reply = app.post("/api/v1/tasks", &submit).await;
        reply.problem(422, "unknown_agent");
        assert!(reply.text().contains(says), "{}", reply.text());
        let schedule = json!({"cron": "@daily", "task": submit}).to_string();
        let headers = [("content-type", "application/json")];
        let path = "/api/v1/schedules/nightly";
        let reply =
            crate::client::request(app.addr, "PUT", path, &headers, schedule.as_bytes()).await;
        assert_eq!(reply.status, 422, "{}", reply.text());
        assert!(reply.text().contains(says), "{}", reply.text());
    }
    let batch = json!({"tasks": [
        {"task_type": "echo", "agent_id": "writer"}, {"task_type": "echo", "agent_id": "x"},
    ]});
    let reply = app.post("/api/v1/tasks:batch", &batch).await.json();
    assert!(reply.to_string().contains("unknown_agent"), "{reply}");
    assert_eq!(app.get("/api/v1/tasks").await.json()["total"], 1);
}
