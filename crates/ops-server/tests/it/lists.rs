//! Listing, cancelling and retrying tasks.

use ops_core::{RunCommand, TenantId, ports::RunStore as _};
use serde_json::{Value, json};

use crate::{
    client::request,
    harness::App,
    operations::cases::{asking, asking_with, dead, in_doubt, in_doubt_with},
};

async fn list(app: &App, query: &str) -> Value {
    let reply = app.get(&format!("/api/v1/tasks?{query}")).await;
    assert_eq!(reply.status, 200, "{query}: {}", reply.text());
    reply.json()
}

/// A task in each of: pending, pending after a start, scheduled, scheduled for a retry, running,
/// waiting, completed, failed, cancelled.
async fn one_of_each(app: &App) {
    app.echo().await;
    let record = app.claim().await;
    let release = RunCommand::release(record.life.epoch);
    // Released, it is pending again; what follows must not claim it.
    let low = json!({"task_type": "echo", "priority": 9});
    app.submit(&low).await;
    app.complete_next(&json!({})).await;
    app.submit(&low).await;
    app.fail_next(false).await;
    app.submit(&low).await;
    app.fail_next(true).await;
    let id = app.submit(&low).await;
    let reply = app
        .post(&format!("/api/v1/tasks/{id}/cancel"), &json!(null))
        .await;
    assert_eq!(reply.status, 200);
    app.submit(&low).await;
    app.claim().await;
    app.submit(&low).await;
    let task = app.claim().await.task.id;
    let until = ops_core::Micros(i64::MAX / 2);
    let wait = ops_core::Next::Wait(ops_core::WaitRequest::Timer { until });
    app.append(task, Vec::new(), wait).await;
    app.submit(&json!({"task_type": "echo", "run_at": "2030-01-01T00:00:00Z"}))
        .await;
    app.echo().await;
    app.store
        .record(TenantId::DEFAULT, record.task.id, release, Vec::new())
        .await
        .unwrap();
}

#[tokio::test]
async fn filters_by_state_and_status_count_exactly() {
    let app = App::start().await;
    one_of_each(&app).await;
    for (query, expected) in [
        ("", 9),
        ("status=pending", 2),
        ("status=running", 4),
        ("status=completed", 1),
        ("status=failed", 1),
        ("status=cancelled", 1),
        ("state=pending", 2),
        ("state=scheduled", 2),
        ("state=running", 1),
        ("state=waiting", 1),
        ("state=cancelling", 0),
        ("state=pending,scheduled", 4),
        ("state=pending&state=completed", 3),
        ("state=pending&status=pending", 1),
        ("state=pending&status=running", 1),
        ("state=scheduled&status=running", 1),
    ] {
        let found = list(&app, query).await;
        let tasks = found["tasks"].as_array().unwrap();
        assert_eq!(tasks.len(), expected, "{query}");
        assert_eq!(found["total"], expected, "{query}");
        for task in tasks {
            for (name, value) in [("status", &task["status"]), ("state", &task["state"])] {
                let asked: Vec<_> = query
                    .split('&')
                    .filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
                    .flat_map(|values| values.split(','))
                    .collect();
                let value = value.as_str().unwrap();
                assert!(
                    asked.is_empty() || asked.contains(&value),
                    "{query}: {task}"
                );
            }
        }
    }
}

#[tokio::test]
async fn pages_join_without_gap_or_repeat() {
    let app = App::start().await;
    let mut ids = Vec::new();
    for _ in 0..23 {
        ids.push(app.echo().await);
    }
    ids.reverse();
    for limit in [1, 5, 22, 23, 24] {
        let mut seen = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = list(&app, &format!("limit={limit}{cursor}")).await;
            assert_eq!(page["total"], 23);
            let tasks = page["tasks"].as_array().unwrap();
            assert!(!tasks.is_empty() && tasks.len() <= limit);
            seen.extend(
                tasks
                    .iter()
                    .map(|task| task["task_id"].as_str().unwrap().to_owned()),
            );
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen, ids, "limit {limit}");
    }
}

#[tokio::test]
async fn wrong_parameters_give_422_and_the_nearest_name() {
    let app = App::start().await;
    for (query, says) in [
        (
            "limti=5",
            "unknown query parameter `limti`; did you mean `limit`?",
        ),
        ("limit=0", "`limit` must be a whole number from 1 to 1000"),
        (
            "limit=1001",
            "`limit` must be a whole number from 1 to 1000",
        ),
        ("limit=x", "`limit` must be a whole number from 1 to 1000"),
        ("status=complete", "did you mean `completed`?"),
        ("state=runing", "did you mean `running`?"),
        ("cursor=abc", "`cursor` is not a cursor of this list"),
        (
            "state=completed&status=running",
            "`state` and `status` exclude each other",
        ),
        (
            "created_after=2025-04-12T10:00:00Z&created_before=2025-04-12T10:00:00Z",
            "`created_before` must be later than `created_after`",
        ),
        (
            "created_after=yesterday",
            "`created_after` must be an RFC 3339 time",
        ),
        ("label=team", "`label` must be `key=value`"),
        ("label==x", "`label` must be `key=value`"),
        (
            "label=team=a&label=team=b",
            "`label` asks for two values of one label",
        ),
        ("agent=a&agent=b", "`agent` is given twice"),
        ("status=failed&status=failed", "`status` is given twice"),
    ] {
        let reply = app.get(&format!("/api/v1/tasks?{query}")).await;
        let problem = reply.problem(422, "invalid_query");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{query}: {detail}");
        assert_eq!(problem["errors"][0]["loc"][0], "query");
    }
}

#[tokio::test]
async fn a_pending_task_is_cancelled_at_once_and_again_changes_nothing() {
    let app = App::start().await;
    let id = app.echo().await;
    for _ in 0..2 {
        let reply = app
            .post(&format!("/api/v1/tasks/{id}/cancel"), &json!({}))
            .await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.json()["status"], "cancelled");
    }
}

#[tokio::test]
async fn a_running_task_is_cancelling_until_its_worker_confirms() {
    let app = App::start().await;
    let id = app.echo().await;
    let task = app.claim().await.task.id;
    let reply = request(
        app.addr,
        "POST",
        &format!("/api/v1/tasks/{id}/cancel"),
        &[],
        b"",
    )
    .await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["state"], "cancelling");
    assert_eq!(reply.json()["status"], "running");
    app.append(task, Vec::new(), ops_core::Next::Cancelled)
        .await;
    assert_eq!(app.task(&id).await["status"], "cancelled");
}

#[tokio::test]
async fn an_ended_task_cannot_be_cancelled() {
    let app = App::start().await;
    let id = app.echo().await;
    app.complete_next(&json!({})).await;
    let reply = app
        .post(&format!("/api/v1/tasks/{id}/cancel"), &json!({}))
        .await;
    let problem = reply.problem(409, "task_final");
    assert_eq!(problem["detail"], "the task is completed, which is final");
}

#[tokio::test]
async fn retry_makes_a_new_task_of_an_ended_one_only() {
    let app = App::start().await;
    let body = json!({"task_type": "echo", "input_data": {"a": [1]}, "labels": {"x": "y"}});
    let id = app.submit(&body).await;
    let retry = format!("/api/v1/tasks/{id}/retry");
    let reply = app.post(&retry, &json!({})).await;
    reply.problem(409, "task_not_final");
    app.fail_next(false).await;
    let reply = app.post(&retry, &json!({})).await;
    assert_eq!(reply.status, 201);
    let task = reply.json();
    assert_ne!(task["task_id"], id);
    assert_eq!(task["retry_of"], id);
    assert_eq!(task["input_data"], json!({"a": [1]}));
    assert_eq!(task["labels"], json!({"x": "y"}));
    assert_eq!(task["status"], "pending");
    let missing = "/api/v1/tasks/task_6ba7b810-9dad-41d1-80b4-00c04fd430c8/retry";
    let problem = app
        .post(missing, &json!({}))
        .await
        .problem(404, "task_not_found");
    assert!(
        problem["detail"].as_str().unwrap().contains("6ba7b810"),
        "{problem}"
    );
}

#[tokio::test]
async fn filters_by_label_agent_text_and_time_fit_together() {
    let app = App::start().await;
    app.agents(&["writer", "cleaner"]).await;
    let mut ids = Vec::new();
    for (name, agent, team, env) in [
        ("Nightly report", "writer", "a", "prod"),
        ("nightly clean-up", "cleaner", "a", "test"),
        ("Weekly report", "writer", "b", "prod"),
    ] {
        let labels = json!({"team": team, "env": env});
        let body = json!({"task_type": "echo", "name": name, "agent_id": agent, "labels": labels});
        ids.push(app.submit(&body).await);
    }
    ids.push(app.echo().await);
    let second = app.task(&ids[1]).await["created_at"].clone();
    let second = second.as_str().unwrap();
    let prefix = &ids[3][..38];
    for (query, expected) in [
        ("label=team=a".to_owned(), &[1, 0][..]),
        ("label=team=a&label=env=prod".into(), &[0]),
        ("label=team=a&label=team=a".into(), &[1, 0]),
        ("label=team=c".into(), &[]),
        ("label=team".to_owned() + "%3Da", &[1, 0]),
        ("agent=writer".into(), &[2, 0]),
        ("agent=writer&label=team=b".into(), &[2]),
        ("agent=writ".into(), &[]),
        ("q=NIGHTLY".into(), &[1, 0]),
        ("q=report&agent=writer&label=env=prod".into(), &[2, 0]),
        ("q=prod".into(), &[]),
        ("q=%25".into(), &[]),
        (format!("q={prefix}"), &[3]),
        (format!("q={}", ids[2]), &[2]),
        ("q=report&state=completed".into(), &[]),
        ("q=report&status=pending".into(), &[2, 0]),
        (format!("created_after={second}"), &[3, 2, 1]),
        (format!("created_before={second}"), &[0]),
        (format!("created_before={second}&label=team=a"), &[0]),
        (format!("created_after={second}&state=pending"), &[3, 2, 1]),
    ] {
        let found = list(&app, &query).await;
        let tasks = found["tasks"].as_array().unwrap();
        let found_ids: Vec<_> = tasks
            .iter()
            .map(|task| task["task_id"].as_str().unwrap())
            .collect();
        let expected: Vec<_> = expected.iter().map(|index| ids[*index].as_str()).collect();
        assert_eq!(found_ids, expected, "{query}");
        assert_eq!(found["total"], expected.len(), "{query}");
    }
}

#[tokio::test]
async fn a_cursor_belongs_to_its_filter() {
    let app = App::start().await;
    for _ in 0..3 {
        let body = json!({"task_type": "echo", "labels": {"team": "a"}});
        app.submit(&body).await;
    }
    let first = list(&app, "label=team=a&limit=1").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let next = list(&app, &format!("label=team=a&limit=2&cursor={cursor}")).await;
    assert_eq!(next["tasks"].as_array().unwrap().len(), 2);
    assert_eq!(next["total"], 3);
    let id = first["tasks"][0]["task_id"].as_str().unwrap();
    let events = app.get(&format!("/api/v1/tasks/{id}/events?limit=1")).await;
    assert_eq!(events.json()["next_cursor"], Value::Null);
    for path in [
        format!("/api/v1/tasks?cursor={cursor}"),
        format!("/api/v1/tasks?label=team=b&cursor={cursor}"),
        format!("/api/v1/tasks/{id}/events?cursor={cursor}"),
        format!("/api/v1/tasks/{id}/steps?cursor={cursor}"),
    ] {
        let problem = app.get(&path).await.problem(422, "invalid_query");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("`cursor` is not a cursor of this list"),
            "{path}: {detail}"
        );
    }
}

#[tokio::test]
async fn a_task_that_is_as_known_is_not_sent_again() {
    let app = App::start().await;
    let id = app.echo().await;
    let path = format!("/api/v1/tasks/{id}");
    let reply = app.get(&path).await;
    let tag = reply.header("etag").unwrap().to_owned();
    let known = [("if-none-match", tag.as_str())];
    let same = request(app.addr, "GET", &path, &known, b"").await;
    assert_eq!((same.status, same.body.len()), (304, 0));
    assert_eq!(same.header("etag"), Some(tag.as_str()));
    app.complete_next(&json!({})).await;
    let changed = request(app.addr, "GET", &path, &known, b"").await;
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), Some(tag.as_str()));
}

#[tokio::test]
async fn a_cursor_goes_with_its_list_and_its_filter_alone() {
    let app = App::start().await;
    app.agents(&["a", "b"]).await;
    for name in ["a", "b"] {
        let path = format!("/api/v1/schedules/{name}");
        let schedule = br#"{"cron": "@daily", "task": {"task_type": "echo"}}"#;
        let put = request(app.addr, "PUT", &path, &[], schedule).await;
        assert_eq!(put.status, 201, "{}", put.text());
    }
    let first = asking(&app).await;
    let second = asking(&app).await;
    let lists = [
        "agents?",
        "schedules?",
        "approvals?",
        "approvals?status=all&",
    ];
    let mut cursors = Vec::new();
    for list in lists {
        let page = app.get(&format!("/api/v1/{list}limit=1")).await.json();
        cursors.push(page["next_cursor"].as_str().unwrap().to_owned());
    }
    for (at, list) in lists.iter().enumerate() {
        for (from, cursor) in cursors.iter().enumerate() {
            let reply = app.get(&format!("/api/v1/{list}cursor={cursor}")).await;
            match at == from {
                true => assert_eq!(reply.json()["next_cursor"], Value::Null),
                false => drop(reply.problem(422, "invalid_query")),
            }
        }
    }
    let page = app.get("/api/v1/approvals?limit=1").await.json();
    assert_eq!(page["approvals"][0]["task_id"], second);
    let next = format!("/api/v1/approvals?limit=1&cursor={}", cursors[2]);
    assert_eq!(
        app.get(&next).await.json()["approvals"][0]["task_id"],
        first
    );
    let of_one = format!("/api/v1/approvals?task_id={first}&cursor={}", cursors[2]);
    app.get(&of_one).await.problem(422, "invalid_query");
}

/// The items of a list page by page: how many each page has, and how many bytes the largest.
async fn pages(app: &App, name: &str, query: &str) -> (Vec<usize>, usize) {
    let (mut counts, mut largest, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let path = format!("/api/v1/{name}?{query}{cursor}");
        let reply = app.get(&path).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        largest = largest.max(reply.body.len());
        let page = reply.json();
        let key = match name {
            "dead-letters" => "tasks",
            name => name,
        };
        counts.push(page[key].as_array().unwrap().len());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (counts, largest),
        }
    }
}

#[tokio::test]
async fn lists_of_large_things_have_pages_of_a_bounded_size() {
    let app = App::start().await;
    let large = "x".repeat(3 << 20);
    for number in 0..3 {
        asking_with(&app, json!({"text": large})).await;
        in_doubt_with(&app, json!({"text": large})).await;
        let path = format!("/api/v1/schedules/s{number}");
        let task = json!({"task_type": "echo", "input_data": {"text": large}});
        let schedule = json!({"cron": "@daily", "task": task}).to_string();
        let put = request(app.addr, "PUT", &path, &[], schedule.as_bytes()).await;
        assert_eq!(put.status, 201, "{}", put.text());
    }
    for (name, pages_of) in [
        ("approvals", vec![1, 1, 1]),
        ("schedules", vec![1, 1, 1]),
        // A call is looked at before its size is known.
        ("reconciliations", vec![2, 1]),
    ] {
        let (counts, largest) = pages(&app, name, "limit=100").await;
        assert_eq!(counts, pages_of, "{name}");
        assert!(largest < 7 << 20, "{name}: {largest}");
    }
}

#[tokio::test]
async fn a_list_of_tasks_leaves_out_what_is_large() {
    let app = App::start().await;
    let large = json!({"text": "x".repeat(9 << 10)});
    let task = json!({"task_type": "echo", "input_data": large});
    let id = app.submit(&task).await;
    let answer = json!({"answer": "y".repeat(40_000)});
    app.complete_next(&answer).await;
    let small = app.submit(&json!({"task_type": "echo"})).await;
    app.complete_next(&json!({"answer": "short"})).await;

    let page = list(&app, "").await;
    let (first, second) = (&page["tasks"][0], &page["tasks"][1]);
    assert_eq!(*first, app.task(&small).await);
    assert_eq!(second["task_id"], *id);
    for field in ["input_data", "output_data", "result", "output"] {
        assert_eq!(second[field], Value::Null, "{field}");
    }
    let sizes = [&large, &answer].map(|value| value.to_string().len());
    let left_out = json!({"input_data": sizes[0], "result": sizes[1]});
    assert_eq!(second["left_out"], left_out);
    let whole = app.task(&id).await;
    assert_eq!((&whole["input_data"], &whole["result"]), (&large, &answer));
    assert_eq!(whole.get("left_out"), None);
    assert_eq!(list(&app, "values=all").await["tasks"][1], whole);
    app.get("/api/v1/tasks?values=some")
        .await
        .problem(422, "invalid_query");
}

#[tokio::test]
async fn dead_letters_and_steps_in_doubt_are_paged() {
    let app = App::start().await;
    for _ in 0..3 {
        dead(&app).await;
        in_doubt(&app).await;
    }
    for name in ["dead-letters", "reconciliations"] {
        assert_eq!(pages(&app, name, "limit=2").await.0, [2, 1], "{name}");
        assert_eq!(pages(&app, name, "limit=3").await.0, [3], "{name}");
        let wrong = format!("/api/v1/{name}?cursor=x");
        app.get(&wrong).await.problem(422, "invalid_query");
    }
}

#[tokio::test]
async fn a_task_that_waits_for_its_next_attempt_says_why_the_last_one_failed() {
    let app = App::start().await;
    let retry = json!({"max_attempts": 2, "backoff": "1h"});
    let id = app
        .submit(&json!({"task_type": "echo", "retry": retry}))
        .await;
    assert_eq!(app.task(&id).await["state_detail"], Value::Null);
    app.fail_next(true).await;
    // Whatever is told to it since.
    for n in 0..3 {
        let signal = json!({"name": "x", "payload": n});
        app.post(&format!("/api/v1/tasks/{id}/signals"), &signal)
            .await;
    }
    let task = app.task(&id).await;
    let error = json!({"code": "model_refused", "message": "the model refused"});
    assert_eq!(task["state_detail"]["on"], "retry", "{task}");
    assert_eq!(task["state_detail"]["error"], error);
    assert_eq!(task["error"], Value::Null, "it has not failed for good");
    assert_eq!(task["last_failure"], error);
    let listed = app.get("/api/v1/tasks?limit=1").await.json();
    assert_eq!(listed["tasks"][0], task);
    let steps = app.get(&format!("/api/v1/tasks/{id}/steps")).await.json();
    let wait = &steps["steps"][0];
    assert_eq!(
        (&wait["kind"], &wait["name"]),
        (&json!("wait"), &json!("retry"))
    );
    assert_eq!(
        wait["input"]["until"], task["state_detail"]["until"],
        "{wait}"
    );
}
