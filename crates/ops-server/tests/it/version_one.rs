//! Facts that clients of version 1 rely on, one in each test.

use serde_json::{Value, json};

use crate::{client::request, harness::App};

const FIELDS: [&str; 15] = [
    "task_id",
    "task_type",
    "name",
    "status",
    "input_data",
    "output_data",
    "result",
    "error_message",
    "agent_id",
    "workflow_id",
    "created_at",
    "updated_at",
    "scheduled_at",
    "started_at",
    "completed_at",
];

#[tokio::test]
async fn post_tasks_gives_201_and_the_task() {
    let app = App::start().await;
    let body = json!({"task_type": "agent_run", "input_data": {"prompt": "hi"}});
    let reply = app.post("/api/v1/tasks/", &body).await;
    assert_eq!(reply.status, 201);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let task = reply.json();
    for field in FIELDS {
        assert!(task.get(field).is_some(), "{field} is there");
    }
    assert_eq!(task["task_type"], "agent_run");
    assert_eq!(task["status"], "pending");
    assert_eq!(task["input_data"], json!({"prompt": "hi"}));
    for field in [
        "name",
        "output_data",
        "result",
        "error_message",
        "agent_id",
        "workflow_id",
        "scheduled_at",
        "started_at",
        "completed_at",
    ] {
        assert_eq!(task[field], Value::Null, "{field}");
    }
}

#[tokio::test]
async fn a_task_id_is_task_and_a_uuid() {
    let app = App::start().await;
    let id = app.echo().await;
    let uuid = id.strip_prefix("task_").unwrap();
    let groups: Vec<usize> = uuid.split('-').map(str::len).collect();
    assert_eq!(groups, [8, 4, 4, 4, 12]);
    assert!(uuid.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit()));
}

#[tokio::test]
async fn get_task_gives_200_and_the_same_task() {
    let app = App::start().await;
    let posted = app
        .post("/api/v1/tasks/", &json!({"task_type": "echo"}))
        .await;
    let posted = posted.json();
    let id = posted["task_id"].as_str().unwrap();
    assert_eq!(app.task(id).await, posted);
}

#[tokio::test]
async fn get_unknown_task_gives_404() {
    let app = App::start().await;
    for id in [
        "task_6ba7b810-9dad-41d1-80b4-00c04fd430c8",
        "task_nonsense",
        "6ba7b810-9dad-41d1-80b4-00c04fd430c8",
        "%ff%fe",
        "x%00y",
    ] {
        for slash in ["", "/"] {
            let reply = app.get(&format!("/api/v1/tasks/{id}{slash}")).await;
            reply.problem(404, "task_not_found");
        }
    }
}

#[tokio::test]
async fn get_tasks_gives_tasks_and_total_newest_first() {
    let app = App::start().await;
    let empty = app.get("/api/v1/tasks/").await.json();
    assert_eq!((&empty["tasks"], &empty["total"]), (&json!([]), &json!(0)));
    let first = app.echo().await;
    let second = app.echo().await;
    let list = app.get("/api/v1/tasks/").await.json();
    assert_eq!(list["total"], 2);
    assert_eq!(list["tasks"][0], app.task(&second).await);
    assert_eq!(list["tasks"][1], app.task(&first).await);
}

#[tokio::test]
async fn an_invalid_body_gives_422_with_a_sentence_and_the_parts() {
    let app = App::start().await;
    let reply = app.post("/api/v1/tasks/", &json!({"input_data": {}})).await;
    let problem = reply.problem(422, "invalid_body");
    assert_eq!(problem["detail"], "`task_type` is missing");
    assert_eq!(
        problem["errors"],
        json!([{"loc": ["body", "task_type"], "msg": "is missing", "type": "missing"}])
    );
    for body in ["{", "", "[]", "null", "\"x\""] {
        let reply = request(app.addr, "POST", "/api/v1/tasks/", &[], body.as_bytes()).await;
        reply.problem(422, "invalid_body");
    }
}

#[tokio::test]
async fn every_path_works_with_and_without_a_trailing_slash() {
    let app = App::start().await;
    let id = app.echo().await;
    app.complete_next(&json!({"answer": "a"})).await;
    for (method, path, status) in [
        ("POST", "/api/v1/tasks".to_owned(), 201),
        ("GET", "/api/v1/tasks".to_owned(), 200),
        ("GET", format!("/api/v1/tasks/{id}"), 200),
        ("GET", format!("/api/v1/tasks/{id}/steps"), 200),
        ("GET", format!("/api/v1/tasks/{id}/events"), 200),
        ("POST", format!("/api/v1/tasks/{id}/retry"), 201),
        ("POST", format!("/api/v1/tasks/{id}/cancel"), 409),
        ("GET", "/api/v1/reconciliations".to_owned(), 200),
        ("GET", "/api/v1/info".to_owned(), 200),
        ("GET", "/api/v1/health".to_owned(), 200),
        ("GET", "/health".to_owned(), 200),
        ("GET", "/ready".to_owned(), 200),
    ] {
        let body: &[u8] = if path.ends_with("/tasks") && method == "POST" {
            b"{\"task_type\":\"echo\"}"
        } else {
            b""
        };
        for path in [format!("{path}/"), path] {
            let reply = request(app.addr, method, &path, &[], body).await;
            assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
        }
    }
}

#[tokio::test]
async fn times_are_utc_with_milliseconds() {
    let app = App::start().await;
    let id = app.echo().await;
    app.complete_next(&json!({})).await;
    let task = app.task(&id).await;
    for field in ["created_at", "updated_at", "started_at", "completed_at"] {
        let time = task[field].as_str().unwrap();
        assert_eq!(time.len(), "2025-04-12T10:00:00.000Z".len(), "{time}");
        assert!(
            time.starts_with("2025-04-12T10:00:0") && time.ends_with('Z'),
            "{time}"
        );
    }
}

#[tokio::test]
async fn status_is_pending_running_then_completed() {
    let app = App::start().await;
    let id = app.echo().await;
    assert_eq!(app.task(&id).await["status"], "pending");
    let record = app.claim().await;
    let task = app.task(&id).await;
    assert_eq!(task["status"], "running");
    assert!(task["started_at"].is_string());
    let next = ops_core::Next::Complete {
        result: ops_core::Json::from(&json!({"answer": "4"})),
    };
    app.append(record.task.id, Vec::new(), next).await;
    let task = app.task(&id).await;
    assert_eq!(task["status"], "completed");
    assert!(task["completed_at"].is_string());
}

#[tokio::test]
async fn on_success_result_and_output_data_both_hold_the_result() {
    let app = App::start().await;
    let id = app.echo().await;
    let result = json!({"answer": "4", "notice": "answered by scripted, which is not an LLM"});
    app.complete_next(&result).await;
    let task = app.task(&id).await;
    assert_eq!(task["result"], result);
    assert_eq!(task["output_data"], result);
    assert_eq!(task["error_message"], Value::Null);
}

#[tokio::test]
async fn a_failed_task_says_why() {
    let app = App::start().await;
    let id = app.echo().await;
    app.fail_next(false).await;
    let task = app.task(&id).await;
    assert_eq!(task["status"], "failed");
    assert_eq!(task["error_message"], "the model refused");
    assert_eq!(task["result"], Value::Null);
    assert_eq!(
        task["error"],
        json!({"code": "model_refused", "message": "the model refused"})
    );
    assert_eq!(task["dead_letter"], false);
}

#[tokio::test]
async fn a_scheduled_task_reads_pending_and_a_waiting_one_running() {
    let app = App::start().await;
    let id = app
        .submit(&json!({"task_type": "echo", "run_at": "2025-04-13T10:00:00Z"}))
        .await;
    let task = app.task(&id).await;
    assert_eq!(
        (&task["status"], &task["state"]),
        (&json!("pending"), &json!("scheduled"))
    );
    assert_eq!(task["scheduled_at"], "2025-04-13T10:00:00.000Z");
    assert_eq!(
        task["state_detail"],
        json!({"on": "start", "until": "2025-04-13T10:00:00.000Z"})
    );
    let id = app.echo().await;
    let until = ops_core::Micros(1_744_628_400_000_000);
    let wait = ops_core::Next::Wait(ops_core::WaitRequest::Timer { until });
    let task = app.claim().await.task.id;
    app.append(task, Vec::new(), wait).await;
    let task = app.task(&id).await;
    assert_eq!(
        (&task["status"], &task["state"]),
        (&json!("running"), &json!("waiting"))
    );
    assert_eq!(
        task["state_detail"],
        json!({"on": "timer", "until": "2025-04-14T11:00:00.000Z"})
    );
    assert_eq!(task["scheduled_at"], "2025-04-14T11:00:00.000Z");
}

#[tokio::test]
async fn a_task_type_that_no_worker_knows_gives_422_and_names_the_known_ones() {
    let app = App::start().await;
    let reply = app
        .post("/api/v1/tasks/", &json!({"task_type": "nope"}))
        .await;
    let problem = reply.problem(422, "unknown_task_type");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("`agent_run`, `agent_task`, `echo`"),
        "{detail}"
    );
    assert_eq!(problem["errors"][0]["loc"], json!(["body", "task_type"]));
}

#[tokio::test]
async fn input_data_may_be_missing_and_is_otherwise_untouched() {
    let app = App::start().await;
    for body in [
        json!({"task_type": "agent_task"}),
        json!({"task_type": "agent_task", "input_data": null}),
    ] {
        let id = app.submit(&body).await;
        assert_eq!(app.task(&id).await["input_data"], json!({}));
    }
    let text = r#"{"task_type":"agent_task","input_data":{"z":1.50,"agent_config":{"provider":"x","y":[1e2]},"a":"\u00e9"}}"#;
    let reply = request(app.addr, "POST", "/api/v1/tasks/", &[], text.as_bytes()).await;
    let input = r#""input_data":{"z":1.50,"agent_config":{"provider":"x","y":[1e2]},"a":"\u00e9"}"#;
    assert!(reply.text().contains(input), "{}", reply.text());
}

#[tokio::test]
async fn get_health_gives_200_and_ok() {
    let app = App::start().await;
    let reply = app.get("/health").await;
    assert_eq!(reply.status, 200);
    let health = reply.json();
    assert_eq!(health["status"], "ok");
    assert_eq!(health["version"], "0.1.0");
    assert_eq!(health["mode"], "dev");
    assert_eq!(health["model"]["is_llm"], false);
    assert_eq!(health["notice"], "the scripted model is not an LLM");
}

#[tokio::test]
async fn without_limit_the_list_has_the_newest_1000_and_total_has_all() {
    let app = App::start().await;
    let caller = ops_core::Caller::local(ops_core::TenantId::DEFAULT);
    for _ in 0..1_003 {
        let request = ops_engine::Submit::new("echo".into(), ops_core::Json::parse("{}").unwrap());
        app.engine.submit(&caller, request).await.unwrap();
    }
    let list = app.get("/api/v1/tasks/").await.json();
    assert_eq!(list["total"], 1_003);
    let tasks = list["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 1_000);
    let ids: Vec<_> = tasks
        .iter()
        .map(|task| task["task_id"].as_str().unwrap())
        .collect();
    assert!(ids.windows(2).all(|pair| pair[0] > pair[1]), "newest first");
    let cursor = list["next_cursor"].as_str().unwrap();
    let rest = app
        .get(&format!("/api/v1/tasks/?cursor={cursor}"))
        .await
        .json();
    assert_eq!(rest["tasks"].as_array().unwrap().len(), 3);
    assert_eq!(rest["next_cursor"], Value::Null);
}
