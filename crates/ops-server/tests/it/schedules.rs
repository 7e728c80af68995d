//! Schedules over REST. The clock of these tests goes on by a millisecond with each look.

use serde_json::{Value, json};

use crate::{client::request, harness::App};

fn nightly() -> Value {
    json!({
        "cron": "30 2 * * *",
        "timezone": "Europe/Berlin",
        "overlap": "queue_one",
        "catch_up": "all",
        "task": {
            "task_type": "echo", "input_data": {"x": 1.50}, "name": "report", "priority": 3,
            "labels": {"team": "a"}, "limits": {"max_steps": 5, "timeout": "5m"},
            "retry": {"max_attempts": 2, "backoff": 0.5},
        },
    })
}

async fn put(app: &App, path: &str, body: &Value) -> crate::client::Reply {
    let headers = [("content-type", "application/json")];
    request(app.addr, "PUT", path, &headers, body.to_string().as_bytes()).await
}

const PATH: &str = "/api/v1/schedules/nightly";

#[tokio::test]
async fn a_schedule_is_stored_shown_and_taken_away() {
    let app = App::start().await;
    let reply = put(&app, PATH, &nightly()).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let stored = reply.json();
    // It is 2025-04-12T10:00Z; 02:30 in Berlin is 00:30 UTC in summer.
    assert_eq!(stored["next_run_at"], "2025-04-13T00:30:00.000Z");
    assert_eq!(stored["next_runs"].as_array().unwrap().len(), 5);
    assert_eq!(stored["next_runs"][1], "2025-04-14T00:30:00.000Z");
    for key in ["cron", "timezone", "overlap", "catch_up"] {
        assert_eq!(stored[key], nightly()[key], "{key}");
    }
    assert_eq!(stored["task"]["retry"], nightly()["task"]["retry"]);
    assert_eq!(stored["task"]["limits"]["timeout"], 300.0);
    assert_eq!(
        (&stored["paused"], &stored["revision"]),
        (&json!(false), &json!(1))
    );

    // What is shown of the task can be sent again, and changes nothing.
    let again = json!({
        "name": "nightly", "cron": stored["cron"], "timezone": "europe/berlin",
        "overlap": "queue_one", "catch_up": "all", "task": stored["task"],
    });
    let reply = put(&app, PATH, &again).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json(), stored);

    let shown = app.get(&format!("{PATH}?next=2")).await.json();
    assert_eq!(shown["next_runs"].as_array().unwrap().len(), 2);
    let list = app.get("/api/v1/schedules").await.json();
    assert_eq!(list["schedules"][0]["name"], "nightly");
    assert_eq!(list["next_cursor"], Value::Null);

    let removed = request(app.addr, "DELETE", PATH, &[], b"").await;
    assert_eq!((removed.status, removed.text().as_str()), (204, ""));
    app.get(PATH).await.problem(404, "schedule_not_found");
}

#[tokio::test]
async fn a_dry_run_stores_nothing() {
    let app = App::start().await;
    let reply = put(&app, &format!("{PATH}?dry_run=true&next=1"), &nightly()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(
        reply.json()["next_runs"],
        json!(["2025-04-13T00:30:00.000Z"])
    );
    app.get(PATH).await.problem(404, "schedule_not_found");
    let wrong = put(&app, &format!("{PATH}?dry_run=maybe"), &nightly()).await;
    wrong.problem(422, "invalid_query");
}

#[tokio::test]
async fn a_schedule_pauses_resumes_and_runs_now() {
    let app = App::start().await;
    put(&app, PATH, &nightly()).await;
    let paused = app.post(&format!("{PATH}/pause"), &json!({})).await.json();
    assert_eq!(
        (&paused["paused"], &paused["next_run_at"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(
        paused["next_runs"].as_array().unwrap().len(),
        1,
        "those it would have"
    );

    let reply = app.post(&format!("{PATH}/run"), &json!({})).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let run = reply.json();
    assert_eq!(
        (&run["outcome"], &run["trigger"]),
        (&json!("started"), &json!("manual"))
    );
    let task = app.task(run["task_id"].as_str().unwrap()).await;
    assert_eq!(task["labels"], json!({"team": "a", "schedule": "nightly"}));
    assert_eq!(
        (&task["name"], &task["priority"]),
        (&json!("report"), &json!(3))
    );
    assert_eq!(task["input_data"].to_string(), r#"{"x":1.5}"#);

    let resumed = app.post(&format!("{PATH}/resume"), &json!({})).await.json();
    assert_eq!(resumed["next_run_at"], "2025-04-13T00:30:00.000Z");
    let runs = app.get(&format!("{PATH}/runs")).await.json();
    assert_eq!(runs, json!({"runs": [run]}));
}

#[tokio::test]
async fn schedules_are_paged() {
    let app = App::start().await;
    for name in ["c", "a", "b"] {
        put(&app, &format!("/api/v1/schedules/{name}"), &nightly()).await;
    }
    let page = app.get("/api/v1/schedules?limit=2").await.json();
    let names = |page: &Value| {
        let found = page["schedules"].as_array().unwrap().iter();
        found
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&page), ["a", "b"]);
    let cursor = page["next_cursor"].as_str().unwrap();
    let page = app
        .get(&format!("/api/v1/schedules?cursor={cursor}"))
        .await
        .json();
    assert_eq!(names(&page), ["c"]);
    for wrong in ["t00", "n", "nA", "%00"] {
        let reply = app.get(&format!("/api/v1/schedules?cursor={wrong}")).await;
        reply.problem(422, "invalid_query");
    }
}

#[tokio::test]
async fn what_is_wrong_is_named_with_what_mends_it() {
    let app = App::start().await;
    let mut cases = vec![
        ("cron", json!("61 * * * *"), "is not a cron pattern"),
        ("cron", json!("0 0 30 2 *"), "is never due"),
        ("cron", json!("0 0 0 1 1 * 2020"), "is never due"),
        ("cron", json!("0 0 0 1 1 * 9999"), "is not a cron pattern"),
        ("cron", json!(5), "`cron` must be a string"),
        ("cron", Value::Null, "`cron` is missing"),
        (
            "timezone",
            json!("Europe/Berln"),
            "did you mean `Europe/Berlin`?",
        ),
        ("overlap", json!("skipp"), "did you mean `skip`?"),
        (
            "catch_up",
            json!("sometimes"),
            "known are `none`, `latest`, `all`",
        ),
        ("paused", json!("no"), "`paused` must be `true` or `false`"),
        ("name", json!("weekly"), "but the path names `nightly`"),
        ("task", json!([]), "`task` must be an object"),
        ("task", json!({}), "`task.task_type` is missing"),
        (
            "task",
            json!({"task_type": "ecko"}),
            "no worker knows the task type `ecko`",
        ),
        (
            "task",
            json!({"task_type": "echo", "priority": 10}),
            "`task.priority`",
        ),
        (
            "task",
            json!({"task_type": "echo", "prority": 1}),
            "did you mean `priority`?",
        ),
        ("crno", json!(1), "did you mean `cron`?"),
    ];
    let start = json!({"task_type": "echo", "run_at": "2099-01-01T00:00:00Z"});
    cases.push(("task", start, "`task.run_at` belongs to one task"));
    for (key, value, says) in cases {
        let mut body = nightly();
        body[key] = value;
        let reply = put(&app, PATH, &body).await;
        let problem = reply.problem(422, "invalid_body");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{key}: {detail}");
    }
    let reply = put(&app, "/api/v1/schedules/Nightly", &nightly()).await;
    let detail = reply.problem(422, "invalid_body")["detail"].to_string();
    assert!(detail.contains("lower-case letters"), "{detail}");
    for path in ["/pause", "/resume", "/run"] {
        let reply = app
            .post(&format!("/api/v1/schedules/none{path}"), &json!({}))
            .await;
        reply.problem(404, "schedule_not_found");
    }
    app.get("/api/v1/schedules/%ff")
        .await
        .problem(404, "schedule_not_found");
    app.get("/api/v1/schedules/none/runs")
        .await
        .problem(404, "schedule_not_found");
    app.get(&format!("{PATH}?next=101"))
        .await
        .problem(422, "invalid_query");
    assert_eq!(
        app.get("/api/v1/schedules").await.json()["schedules"],
        json!([])
    );
}
