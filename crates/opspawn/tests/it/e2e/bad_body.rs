//! Bodies that cannot be taken: each is refused with what is wrong and what to do, and the server
//! goes on.

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use ops_testkit::{Http, Reply};
use serde_json::{Value, json};

use super::{
    tasks,
    test_dir::{TestDir, assert_calm},
};

/// Posts bytes as they are.
async fn post(http: &Http, body: impl Into<Bytes>, kind: &'static str) -> Reply {
    let request = Request::builder()
        .method(Method::POST)
        .uri("/api/v1/tasks/")
        .header(header::HOST, http.base().trim_start_matches("http://"))
        .header(header::CONTENT_TYPE, kind)
        .body(Full::from(body.into()))
        .unwrap();
    http.send(request).await.unwrap()
}

/// The problem of an answer, with every member that clients rely on.
#[track_caller]
fn problem(reply: &Reply, status: u16, code: &str) -> Value {
    assert_eq!(reply.status.as_u16(), status, "{}", reply.text());
    assert_eq!(
        reply.header("content-type"),
        Some("application/problem+json")
    );
    let problem: Value = reply.json().unwrap();
    assert_eq!(
        (&problem["code"], &problem["status"]),
        (&json!(code), &json!(status))
    );
    for member in ["type", "title", "detail", "fix"] {
        assert!(
            problem[member]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{member}: {problem:#}"
        );
    }
    assert_eq!(problem["request_id"].as_str(), reply.header("x-request-id"));
    problem
}

#[tokio::test]
async fn bodies_that_are_no_task() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let http = server.http();
    let deep = format!(
        "{{\"task_type\":\"agent_run\",\"input_data\":{}1{}}}",
        "{\"a\":".repeat(10_000),
        "}".repeat(10_000)
    );
    for (body, says) in [
        (String::new(), "is not JSON"),
        (
            "{\"task_type\": \"agent_run\", ".to_owned(),
            "is not JSON: EOF while parsing",
        ),
        ("nonsense".to_owned(), "is not JSON"),
        ("[]".to_owned(), "must be an object"),
        (deep, "nested deeper than 64"),
        ("{}".to_owned(), "`task_type` is missing"),
        (
            json!({"task_type": "agent_run", "imput_data": {}}).to_string(),
            "did you mean `input_data`?",
        ),
        (
            json!({"task_type": "agent_run", "limits": {"max_step": 1}}).to_string(),
            "did you mean `max_steps`?",
        ),
        (
            json!({"task_type": "agent_run", "input_data": "text"}).to_string(),
            "`input_data` must be an object",
        ),
        (
            json!({"task_type": "agent_run", "priority": 11}).to_string(),
            "priority",
        ),
    ] {
        let refused = post(http, body, "application/json").await;
        let problem = problem(&refused, 422, "invalid_body");
        assert!(
            problem["detail"].as_str().unwrap().contains(says),
            "{says}: {problem:#}"
        );
        let error = &problem["errors"][0];
        assert!(
            error["loc"][0] == "body" && error["msg"].is_string() && error["type"].is_string(),
            "{problem:#}"
        );
    }
    let refused = post(
        http,
        json!({"task_type": "agent_rum"}).to_string(),
        "application/json",
    )
    .await;
    let unknown = problem(&refused, 422, "unknown_task_type");
    assert!(
        unknown["detail"]
            .as_str()
            .unwrap()
            .contains("`agent_run`, `agent_task`"),
        "{unknown:#}"
    );
    let refused = post(
        http,
        "task_type=agent_run",
        "application/x-www-form-urlencoded",
    )
    .await;
    problem(&refused, 415, "unsupported_media_type");
    let mut invalid = br#"{"task_type":"agent_run","name":""#.to_vec();
    invalid.extend_from_slice(b"\xff\"}");
    let refused = post(http, invalid, "application/json").await;
    let utf8 = problem(&refused, 422, "invalid_body");
    assert!(
        utf8["detail"].as_str().unwrap().contains("UTF-8"),
        "{utf8:#}"
    );

    assert!(tasks::run(http, "after all that").await["status"] == "completed");
    let list: Value = http.get("/api/v1/tasks").await.unwrap().json().unwrap();
    assert_eq!(list["total"], 1, "a refused body leaves nothing behind");
    assert_calm(&server);
}

#[tokio::test]
async fn a_body_that_is_too_large() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let prompt = "x".repeat(11 << 20);
    let body = json!({"task_type": "agent_run", "input_data": {"prompt": prompt}}).to_string();
    let refused = post(server.http(), body, "application/json").await;
    let problem = problem(&refused, 413, "body_too_large");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("10485760 bytes"),
        "{problem:#}"
    );
    assert!(
        problem["fix"].as_str().unwrap().contains("max_body_bytes"),
        "{problem:#}"
    );
    let large = "y".repeat(9 << 20);
    let task = tasks::run(server.http(), &large).await;
    assert_eq!(
        task["status"], "completed",
        "what is below the limit is taken"
    );
    assert_calm(&server);
}

#[tokio::test]
async fn goals_and_overrides_that_cannot_be_used_fail_their_task() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let http = server.http();
    for (input, code, says) in [
        (json!({}), "invalid_input", "neither `prompt` nor `goal`"),
        (
            json!({"prompt": 5}),
            "invalid_input",
            "`input_data.prompt` must be text",
        ),
        (json!({"prompt": " "}), "invalid_input", "is empty"),
        (
            json!({"goal": "x", "agent_config": {"llm_model": 7}}),
            "invalid_input",
            "`input_data.agent_config.llm_model` must be text",
        ),
        (
            json!({"goal": "x", "agent_config": []}),
            "invalid_input",
            "must be an object",
        ),
        (
            json!({"goal": "x", "agent_config": {"provider": "opneai"}}),
            "unknown_provider",
            "there is no provider `opneai`; did you mean `openai`?",
        ),
        (
            json!({"goal": "x", "agent_config": {"llm_provider": "watson"}}),
            "unknown_provider",
            "there is no provider `watson`; known are `openai`, `anthropic`, `google`, `openrouter`, `scripted`",
        ),
        (
            json!({"goal": "x", "files": {"../out.txt": "x"}}),
            "workspace_failed",
            "out.txt",
        ),
    ] {
        let id = tasks::submit(
            http,
            &json!({"task_type": "agent_run", "input_data": input}),
        )
        .await;
        let task = tasks::ended(http, &id).await;
        assert_eq!(
            (&task["status"], &task["error"]["code"]),
            (&json!("failed"), &json!(code)),
            "{task:#}"
        );
        assert!(
            task["error_message"].as_str().unwrap().contains(says),
            "{task:#}"
        );
        assert_eq!(task["attempt"], 1, "it would fail again: {task:#}");
    }
    assert!(!test_dir.join("out.txt").exists());
    assert_calm(&server);
}

#[tokio::test]
async fn a_planner_that_is_none_and_a_script_that_is_not_valid_are_refused_with_the_submit() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    for (key, value, says) in [
        ("planner", "raect", "did you mean `react`?"),
        ("script", "[[turn", "line 1"),
    ] {
        let body = json!({"task_type": "agent_run", "input_data":
            {"goal": "x", "agent_config": {key: value}}});
        let refused = server.http().post("/api/v1/tasks", &body).await.unwrap();
        let problem = problem(&refused, 422, "invalid_body");
        assert_eq!(
            problem["errors"][0]["loc"],
            json!(["body", "input_data", "agent_config", key]),
            "{problem:#}"
        );
        let said = problem["errors"][0]["msg"].as_str().unwrap();
        assert!(said.contains(says), "{problem:#}");
    }
    assert_calm(&server);
}
