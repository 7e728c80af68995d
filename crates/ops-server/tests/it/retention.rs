//! Retention over REST. Completed tasks are kept for an hour here, others for ever.

use serde_json::{Value, json};

use crate::{client::Reply, harness::App};

async fn run(app: &App, body: &Value) -> Reply {
    app.post("/api/v1/retention/run", body).await
}

#[tokio::test]
async fn a_dry_run_says_what_a_run_then_deletes() {
    let app = App::start().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(app.echo().await);
        app.complete_next(&json!({"answer": 1})).await;
    }
    let failed = app.echo().await;
    app.fail_next(false).await;
    let waiting = app.echo().await;
    let nothing = app.get("/api/v1/retention").await.json();
    let keep = json!({"completed": 3600.0, "failed": null, "cancelled": null});
    assert_eq!(nothing, json!({"keep": keep, "tasks": {}, "events": 0}));

    app.clock.advance(3_601);
    let expired = json!({"completed": 3});
    let shown = app.get("/api/v1/retention").await.json();
    assert_eq!((&shown["tasks"], &shown["events"]), (&expired, &json!(9)));
    let dry = run(&app, &json!({"dry_run": true})).await.json();
    assert_eq!(
        dry,
        json!({"dry_run": true, "keep": keep, "tasks": expired, "events": 9, "more": false})
    );
    app.task(&ids[0]).await;

    let done = run(&app, &json!({})).await.json();
    assert_eq!((&done["tasks"], &done["events"]), (&expired, &json!(9)));
    for id in &ids {
        for rest in ["", "/events", "/steps"] {
            let reply = app.get(&format!("/api/v1/tasks/{id}{rest}")).await;
            reply.problem(404, "task_not_found");
        }
    }
    app.task(&failed).await;
    app.task(&waiting).await;
    let list = app.get("/api/v1/tasks").await.json();
    assert_eq!(
        (list["tasks"].as_array().unwrap().len(), &list["total"]),
        (2, &json!(2))
    );

    // An age of the request is in place of the configured ones.
    let done = run(&app, &json!({"failed": "1h"})).await.json();
    assert_eq!(done["tasks"], json!({"failed": 1}));
    assert_eq!(done["keep"]["completed"], Value::Null);
    app.get(&format!("/api/v1/tasks/{failed}"))
        .await
        .problem(404, "task_not_found");
    let again = run(&app, &json!({"failed": "1h"})).await.json();
    assert_eq!(again["tasks"], json!({}));
}

#[tokio::test]
async fn a_key_of_a_deleted_task_is_free_again() {
    let app = App::start().await;
    let body = json!({"task_type": "echo", "request_id": "once"});
    let first = app.submit(&body).await;
    app.complete_next(&json!({})).await;
    app.echo().await;
    assert_eq!(app.submit(&body).await, first);
    run(&app, &json!({"completed": 0})).await;
    assert_ne!(app.submit(&body).await, first);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let app = App::start().await;
    for (body, says) in [
        (
            json!({"completed": "a month"}),
            "`completed` must be a number of seconds",
        ),
        (json!({"completed": -1}), "`completed`"),
        (
            json!({"dry_run": "yes"}),
            "`dry_run` must be `true` or `false`",
        ),
        (json!({"dryrun": true}), "did you mean `dry_run`?"),
    ] {
        let problem = run(&app, &body).await.problem(422, "invalid_body");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{body}: {detail}");
    }
}
