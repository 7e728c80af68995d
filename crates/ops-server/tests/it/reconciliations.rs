//! Steps whose outcome is not known.

use ops_core::{WaitRequest, event::StepStatus};
use serde_json::{Value, json};

use crate::{
    client::request,
    harness::{App, event},
};

/// A task with two steps in doubt.
async fn doubtful(app: &App) -> String {
    let id = app.echo().await;
    let task = app.claim().await.task.id;
    let events = [4, 5]
        .map(|number| {
            let body = json!({"name": "send_mail", "input": {"to": "x"}});
            event(number, StepStatus::Started, body)
        })
        .to_vec();
    let wait = WaitRequest::InDoubt { steps: vec![4, 5] };
    app.append(task, events, ops_core::Next::Wait(wait)).await;
    id
}

#[tokio::test]
async fn steps_in_doubt_are_listed_and_resolved() {
    let app = App::start().await;
    let none = app.get("/api/v1/reconciliations").await.json();
    assert_eq!(none, json!({"reconciliations": [], "next_cursor": null}));
    let id = doubtful(&app).await;
    let list = app.get("/api/v1/reconciliations/").await.json();
    let open = list["reconciliations"].as_array().unwrap();
    assert_eq!(open.len(), 2);
    assert_eq!(open[0]["task_id"], id);
    assert_eq!(open[0]["step"], 4);
    assert_eq!(open[0]["name"], "send_mail");
    assert_eq!(open[0]["effect"], "write");
    assert_eq!(open[0]["input"], json!({"to": "x"}));
    assert_eq!(open[0]["attempt"], 1);
    assert_eq!(open[0]["status"], "in_doubt");
    assert!(open[0]["started_at"].is_string());
    let task = app.task(&id).await;
    assert_eq!(
        task["state_detail"],
        json!({"on": "in_doubt", "steps": [4, 5]})
    );

    let path = format!("/api/v1/reconciliations/{id}/4");
    let reply = app
        .post(
            &path,
            &json!({"resolution": "done", "output": {"sent": true}}),
        )
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(
        reply.json()["state_detail"],
        json!({"on": "in_doubt", "steps": [5]})
    );
    app.post(&path, &json!({"resolution": "retry"}))
        .await
        .problem(409, "not_in_doubt");

    let path = format!("/api/v1/reconciliations/{id}/5/");
    let reply = app
        .post(&path, &json!({"resolution": "failed", "message": "no"}))
        .await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["state"], "pending");
    assert_eq!(
        app.get("/api/v1/reconciliations").await.json(),
        json!({"reconciliations": [], "next_cursor": null})
    );
    let steps = app.get(&format!("/api/v1/tasks/{id}/steps")).await.json();
    assert_eq!(steps["steps"][0]["status"], "completed");
    assert_eq!(steps["steps"][0]["output"], json!({"sent": true}));
    assert_eq!(steps["steps"][1]["status"], "failed");
}

#[tokio::test]
async fn an_output_of_null_and_a_retry_are_taken() {
    let app = App::start().await;
    let id = doubtful(&app).await;
    for (step, body) in [
        (4, json!({"resolution": "done", "output": null})),
        (5, json!({"resolution": "retry"})),
    ] {
        let reply = app
            .post(&format!("/api/v1/reconciliations/{id}/{step}"), &body)
            .await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}

#[tokio::test]
async fn wrong_resolutions_are_refused_with_clear_text() {
    let app = App::start().await;
    let id = doubtful(&app).await;
    let path = format!("/api/v1/reconciliations/{id}/4");
    for (body, says) in [
        (
            json!({}),
            "`resolution` is missing; it is `done`, `failed` or `retry`",
        ),
        (json!({"resolution": "don"}), "did you mean `done`?"),
        (json!({"resolution": 5}), "`resolution` must be a string"),
        (json!({"resolution": "done"}), "`output` is missing"),
        (json!({"resolution": "failed"}), "`message` is missing"),
        (
            json!({"resolution": "retry", "output": 1}),
            "`output` does not go with",
        ),
        (
            json!({"resolution": "done", "outptu": 1, "output": 1}),
            "did you mean `output`?",
        ),
        (json!([]), "the body must be an object"),
    ] {
        let problem = app.post(&path, &body).await.problem(422, "invalid_body");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{body}: {detail}");
    }
    let retry = json!({"resolution": "retry"});
    for (path, status, code) in [
        (
            format!("/api/v1/reconciliations/{id}/7"),
            409,
            "not_in_doubt",
        ),
        (
            format!("/api/v1/reconciliations/{id}/x"),
            409,
            "not_in_doubt",
        ),
        (
            "/api/v1/reconciliations/task_x/4".to_owned(),
            404,
            "task_not_found",
        ),
        (
            "/api/v1/reconciliations/task_6ba7b810-9dad-41d1-80b4-00c04fd430c8/4".to_owned(),
            404,
            "task_not_found",
        ),
    ] {
        app.post(&path, &retry).await.problem(status, code);
    }
    let empty = request(app.addr, "POST", &path, &[], b"").await;
    assert_eq!(
        empty.problem(422, "invalid_body")["errors"][0]["loc"],
        json!(["body"])
    );
    assert_ne!(app.task(&id).await["state"], Value::Null);
}
