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

/// engine/E4: a clock that shows 2038 and is set right again.
#[tokio::test]
async fn a_date_that_was_computed_while_the_clock_was_ahead_is_computed_again() {
    const AHEAD: i64 = 13 * 365 * 86_400;
    let app = App::start().await;
    let next = async |path: &str| app.get(path).await.json()["next_run_at"].clone();
    let is_wrong = |next: &Value| next.as_str().unwrap().starts_with("2038-");
    let right = json!("2025-04-13T00:30:00.000Z");

    // Over a restart, which knows nothing of the clock before.
    app.clock.set_ahead(AHEAD);
    let stored = put(&app, PATH, &nightly()).await.json();
    assert!(is_wrong(&stored["next_run_at"]), "{stored}");
    app.clock.set_ahead(0);
    assert!(is_wrong(&next(PATH).await));
    let engine = std::sync::Arc::clone(&app.engine);
    tokio::spawn(engine.run(app.stop.child_token()));
    let end = std::time::Instant::now() + crate::client::TIMEOUT;
    while next(PATH).await != right {
        assert!(std::time::Instant::now() < end, "{}", next(PATH).await);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }

    // While it runs: a change makes the loop look at the clock.
    app.clock.set_ahead(AHEAD);
    let other = "/api/v1/schedules/other";
    let weekly = "/api/v1/schedules/weekly";
    for path in [other, weekly] {
        let stored = put(&app, path, &nightly()).await.json();
        assert!(is_wrong(&stored["next_run_at"]), "{stored}");
    }
    app.clock.set_ahead(0);
    // The same again mends its own date at once.
    let again = put(&app, other, &nightly()).await.json();
    assert_eq!(again["next_run_at"], right);
    while next(weekly).await != right {
        assert!(std::time::Instant::now() < end, "{}", next(weekly).await);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let runs = app.get(&format!("{weekly}/runs")).await.json();
    assert_eq!(runs, json!({"runs": []}), "nothing was missed");
}

/// engine/E6: what is checked is what is submitted.
#[tokio::test]
async fn a_template_with_every_label_that_is_allowed_runs() {
    let app = App::start().await;
    let labels = |count: usize| -> Value {
        let labels = (0..count).map(|n| (format!("l{n}"), Value::from("x")));
        labels.collect::<serde_json::Map<_, _>>().into()
    };
    let mut body = nightly();
    body["task"]["labels"] = labels(64);
    let reply = put(&app, PATH, &body).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let run = app.post(&format!("{PATH}/run"), &json!({})).await;
    assert_eq!(run.status, 201, "{}", run.text());
    let task = app.task(run.json()["task_id"].as_str().unwrap()).await;
    assert_eq!(task["labels"].as_object().unwrap().len(), 65);
    assert_eq!(task["labels"]["schedule"], "nightly");
    body["task"]["labels"] = labels(65);
    let problem = put(&app, PATH, &body).await.problem(422, "invalid_body");
    assert_eq!(
        problem["errors"][0]["loc"],
        json!(["body", "task", "labels"])
    );
}

/// engine/E8: the label `schedule` is the engine's.
#[tokio::test]
async fn no_client_can_write_the_label_of_a_schedule() {
    let app = App::start().await;
    let forged = json!({"task_type": "echo", "labels": {"schedule": "nightly"}});
    let reply = app.post("/api/v1/tasks", &forged).await;
    let problem = reply.problem(422, "invalid_body");
    let loc = json!(["body", "labels", "schedule"]);
    assert_eq!(problem["errors"][0]["loc"], loc);
    let mut body = nightly();
    body["task"]["labels"] = json!({"schedule": "other"});
    put(&app, PATH, &body).await.problem(422, "invalid_body");

    // A task of a schedule keeps it where it is done again.
    put(&app, PATH, &nightly()).await;
    let run = app.post(&format!("{PATH}/run"), &json!({})).await.json();
    let id = run["task_id"].as_str().unwrap();
    app.complete_next(&json!({"answer": "x"})).await;
    let again = app
        .post(&format!("/api/v1/tasks/{id}/retry"), &json!({}))
        .await;
    assert_eq!(again.status, 201, "{}", again.text());
    let labels = json!({"team": "a", "schedule": "nightly"});
    assert_eq!(again.json()["labels"], labels);
}

#[tokio::test]
async fn a_schedule_of_a_task_that_a_submit_refuses_is_refused_as_well() {
    let app = App::start().await;
    let mut request = nightly();
    request["task"]["input_data"] = json!({"prompt": "provider_without_key"});
    for path in [PATH.to_owned(), format!("{PATH}?dry_run=true")] {
        let refused = put(&app, &path, &request).await;
        refused.problem(422, "provider_not_configured");
    }
    app.get(PATH).await.problem(404, "schedule_not_found");
}

#[tokio::test]
async fn a_change_may_name_the_revision_that_it_is_of() {
    let app = App::start().await;
    let send = async |method: &str, header: (&str, &str), body: &Value| {
        let headers = [("content-type", "application/json"), header];
        request(
            app.addr,
            method,
            PATH,
            &headers,
            body.to_string().as_bytes(),
        )
        .await
    };
    let absent = ("if-none-match", "*");
    send("PUT", ("if-match", "\"1\""), &nightly())
        .await
        .problem(412, "schedule_changed");
    let made = send("PUT", absent, &nightly()).await;
    assert_eq!((made.status, made.header("etag")), (201, Some("\"1\"")));
    send("PUT", absent, &nightly())
        .await
        .problem(412, "schedule_changed");
    assert_eq!(app.get(PATH).await.header("etag"), Some("\"1\""));

    let mut other = nightly();
    other["cron"] = "@daily".into();
    let changed = send("PUT", ("if-match", "\"1\""), &other).await;
    assert_eq!(
        (changed.status, changed.header("etag")),
        (200, Some("\"2\""))
    );
    for method in ["PUT", "DELETE"] {
        let refused = send(method, ("if-match", "\"1\""), &nightly()).await;
        let problem = refused.problem(412, "schedule_changed");
        assert!(
            problem["detail"].to_string().contains("at revision 2"),
            "{problem}"
        );
    }
    for verb in ["pause", "resume"] {
        let steer = async |tag: &str| {
            let path = format!("{PATH}/{verb}");
            request(app.addr, "POST", &path, &[("if-match", tag)], b"").await
        };
        steer("\"1\"").await.problem(412, "schedule_changed");
        steer("x").await.problem(422, "invalid_body");
        let now = app.get(PATH).await;
        assert_eq!(now.json()["paused"], verb == "resume", "it was not {verb}d");
        let tag = now.header("etag").unwrap().to_owned();
        assert_eq!(steer(&tag).await.status, 200, "{verb}");
    }
    let path = format!("{PATH}?dry_run=true");
    let headers = [("content-type", "application/json"), ("if-match", "\"1\"")];
    let body = nightly().to_string();
    let preview = request(app.addr, "PUT", &path, &headers, body.as_bytes()).await;
    preview.problem(412, "schedule_changed");
    assert_eq!(app.get(PATH).await.json()["cron"], "@daily");
    for wrong in ["1", "W/\"1\"", "\"x\"", "*"] {
        send("PUT", ("if-match", wrong), &nightly())
            .await
            .problem(422, "invalid_body");
    }
    // Pausing and resuming changed it as well.
    let removed = send("DELETE", ("if-match", "\"4\""), &json!({})).await;
    assert_eq!(removed.status, 204);
}
