//! Request bodies that are wrong, large, or odd.

use serde_json::{Value, json};

use crate::{
    client::{Reply, request},
    harness::App,
};

const TASKS: &str = "/api/v1/tasks";

async fn post(app: &App, content_type: Option<&str>, body: &[u8]) -> Reply {
    let headers: Vec<_> = content_type
        .map(|kind| ("content-type", kind))
        .into_iter()
        .collect();
    request(app.addr, "POST", TASKS, &headers, body).await
}

#[tokio::test]
async fn an_unknown_field_is_answered_with_the_nearest_name() {
    let app = App::start().await;
    let body = json!({"task_type": "echo", "imput_data": {}});
    let problem = app.post(TASKS, &body).await.problem(422, "invalid_body");
    assert_eq!(
        problem["detail"],
        "unknown field `imput_data`; did you mean `input_data`?"
    );
    assert_eq!(problem["errors"][0]["loc"], json!(["body", "imput_data"]));
    assert_eq!(problem["errors"][0]["type"], "unknown_field");
}

#[tokio::test]
async fn every_wrong_field_is_named_at_once() {
    let app = App::start().await;
    let body = json!({
        "task_type": 5, "input_data": "x", "priority": "high", "labels": {"a": 1},
        "limits": {"timeout": "soon"}, "retry": {"max_attempts": 0.5}, "run_at": "tomorrow"
    });
    let problem = app.post(TASKS, &body).await.problem(422, "invalid_body");
    let mut locs: Vec<String> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["loc"].to_string())
        .collect();
    locs.sort();
    assert_eq!(
        locs,
        [
            r#"["body","input_data"]"#,
            r#"["body","labels"]"#,
            r#"["body","limits","timeout"]"#,
            r#"["body","priority"]"#,
            r#"["body","retry","max_attempts"]"#,
            r#"["body","run_at"]"#,
            r#"["body","task_type"]"#,
        ]
    );
}

#[tokio::test]
async fn values_that_the_engine_refuses_are_named_too() {
    let app = App::start().await;
    for (field, value) in [
        ("priority", json!(10)),
        ("name", json!("x".repeat(300))),
        ("limits", json!({"max_steps": 0})),
        ("limits", json!({"timeout": 0})),
        ("retry", json!({"max_attempts": 0})),
        // engine/E9
        ("retry", json!({"backoff": "31d"})),
        ("labels", json!({"a=b": "c"})),
        ("run_at", json!("-000001-01-01T00:00:00Z")),
        ("run_at", json!("9000-01-01T00:00:00Z")),
        ("request_id", json!("")),
    ] {
        let mut body = json!({"task_type": "echo"});
        body[field] = value;
        let problem = app.post(TASKS, &body).await.problem(422, "invalid_body");
        assert_eq!(problem["errors"][0]["loc"][1], field, "{problem}");
    }
}

#[tokio::test]
async fn every_new_field_is_taken_and_shown() {
    let app = App::start().await;
    app.agents(&["a"]).await;
    let body = json!({
        "task_type": "echo", "name": "n", "agent_id": "a", "priority": 7,
        "labels": {"team": "x"}, "limits": {"max_steps": 5, "max_tokens": 100, "max_cost_usd": 0.25, "timeout": "1m",
            "queue_timeout": "2m"},
        "retry": {"max_attempts": 1, "backoff": "2s"}
    });
    let id = app.submit(&body).await;
    let task = app.task(&id).await;
    assert_eq!(task["name"], "n");
    assert_eq!(task["agent_id"], "a");
    assert_eq!(task["priority"], 7);
    assert_eq!(task["labels"], json!({"team": "x"}));
    assert_eq!(
        task["limits"],
        json!({"max_steps": 5, "max_tokens": 100, "max_cost_usd": 0.25, "timeout": 60.0,
            "queue_timeout": 120.0, "on_exhausted": null})
    );
    assert_eq!(task["state"], "pending");
    assert_eq!(task["state_detail"], Value::Null);
    assert_eq!(task["attempt"], 1);
    assert_eq!(
        task["usage"],
        json!({"input_tokens": 0, "output_tokens": 0, "cost_usd": 0.0})
    );
    assert_eq!(task["error"], Value::Null);
    assert_eq!(task["retry_of"], Value::Null);
    assert_eq!(task["dead_letter"], false);
    // One attempt: a retryable failure is the end.
    app.fail_next(true).await;
    let task = app.task(&id).await;
    assert_eq!(
        (&task["state"], &task["dead_letter"]),
        (&json!("failed"), &json!(true))
    );
}

#[tokio::test]
async fn a_retryable_failure_waits_for_the_backoff_that_was_asked_for() {
    let app = App::start().await;
    let body = json!({"task_type": "echo", "retry": {"backoff": "1h"}});
    let id = app.submit(&body).await;
    app.fail_next(true).await;
    let task = app.task(&id).await;
    assert_eq!(task["state"], "scheduled");
    assert_eq!(task["status"], "running");
    assert_eq!(task["attempt"], 2);
    assert_eq!(task["state_detail"]["on"], "retry");
    let until = task["state_detail"]["until"].as_str().unwrap();
    assert!(until.starts_with("2025-04-12T11:"), "{until}");
}

#[tokio::test]
async fn malformed_json_is_answered_with_line_and_column() {
    let app = App::start().await;
    let reply = post(&app, Some("application/json"), b"{\n \"task_type\" 5}").await;
    let problem = reply.problem(422, "invalid_body");
    assert_eq!(
        problem["detail"],
        "the body is not JSON: expected `:` at line 2 column 14"
    );
    assert_eq!(problem["errors"][0]["loc"], json!(["body"]));
    assert_eq!(problem["errors"][0]["type"], "json_invalid");
}

#[tokio::test]
async fn json_nested_10000_deep_gives_422() {
    let app = App::start().await;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nest = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
        let body = format!("{{\"task_type\":\"echo\",\"input_data\":{{\"a\":{nest}}}}}");
        let reply = post(&app, None, body.as_bytes()).await;
        let problem = reply.problem(422, "invalid_body");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("nested deeper than 64"), "{detail}");
    }
    let nest = format!("{}{}", "[".repeat(62), "]".repeat(62));
    let body = format!("{{\"task_type\":\"echo\",\"input_data\":{{\"a\":{nest}}}}}");
    assert_eq!(post(&app, None, body.as_bytes()).await.status, 201);
}

#[tokio::test]
async fn a_body_that_is_not_utf8_gives_422() {
    let app = App::start().await;
    let body = b"{\"task_type\":\"echo\",\"input_data\":{\"a\":\"\xff\"}}";
    let problem = post(&app, None, body).await.problem(422, "invalid_body");
    assert_eq!(problem["detail"], "the body is not UTF-8 at byte 39");
}

#[tokio::test]
async fn json_that_no_reader_could_read_back_gives_422() {
    let app = App::start().await;
    for value in ["\"\\ud800\"", "1e999", "-1e999", "{\"\\udc00\":1}"] {
        let body = format!("{{\"task_type\":\"echo\",\"input_data\":{{\"a\":{value}}}}}");
        let reply = post(&app, None, body.as_bytes()).await;
        reply.problem(422, "invalid_body");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_gives_413() {
    let app = App::start().await;
    let filler = "x".repeat(10 << 20);
    let body = format!("{{\"task_type\":\"echo\",\"input_data\":{{\"a\":\"{filler}\"}}}}");
    let reply = post(&app, None, body.as_bytes()).await;
    reply.problem(413, "body_too_large");
    // Within the body's limit, but over that of the input.
    let body = format!(
        "{{\"task_type\":\"echo\",\"input_data\":{{\"a\":\"{}\"}}}}",
        &filler[..9 << 20]
    );
    let reply = post(&app, None, body.as_bytes()).await;
    reply.problem(413, "body_too_large");
    let body = format!(
        "{{\"task_type\":\"echo\",\"input_data\":{{\"a\":\"{}\"}}}}",
        &filler[..4 << 20]
    );
    let reply = post(&app, None, body.as_bytes()).await;
    assert_eq!(reply.status, 201);
    assert!(reply.body.len() > 4 << 20);
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_gives_413() {
    let app = App::start().await;
    let mut bytes = format!(
        "POST {TASKS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for _ in 0..11 {
        bytes.extend_from_slice(b"100000\r\n");
        bytes.resize(bytes.len() + 0x10_0000, b' ');
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    let reply = crate::client::raw(app.addr, &bytes).await;
    reply.problem(413, "body_too_large");
}

#[tokio::test]
async fn a_chunked_body_is_put_together() {
    let app = App::start().await;
    let bytes = format!(
        "POST {TASKS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
         8\r\n{{\"task_t\r\n3\r\nype\r\n9\r\n\":\"echo\"}}\r\n0\r\n\r\n"
    );
    let reply = crate::client::raw(app.addr, bytes.as_bytes()).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
}

#[tokio::test]
async fn only_json_is_taken_and_a_missing_content_type_is_json() {
    let app = App::start().await;
    let body = b"{\"task_type\":\"echo\"}";
    for kind in [
        None,
        Some("application/json"),
        Some("Application/JSON; charset=utf-8"),
        Some("application/vnd.x+json"),
    ] {
        assert_eq!(post(&app, kind, body).await.status, 201, "{kind:?}");
    }
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "json",
        "",
    ] {
        let reply = post(&app, Some(kind), body).await;
        reply.problem(415, "unsupported_media_type");
    }
}

#[tokio::test]
async fn fuzzed_bodies_never_give_500() {
    let app = App::start().await;
    let seed = br#"{"task_type":"echo","input_data":{"a":[1,"\u00e9",null,-2.5e3]},"limits":{"timeout":"5m"},"labels":{"a":"b"}}"#;
    let mut state = 7_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize
    };
    for _ in 0..400 {
        let mut body = seed.to_vec();
        for _ in 0..=next() % 4 {
            let at = next() % body.len();
            match next() % 3 {
                0 => body[at] = (next() % 256) as u8,
                1 => drop(body.remove(at)),
                _ => body.insert(at, b"{}[]\",:\\0e-\xff"[next() % 12]),
            }
        }
        let reply = post(&app, None, &body).await;
        assert!([201, 422].contains(&reply.status), "{}", reply.text());
        if reply.status == 422 {
            let code = reply.json()["code"].as_str().unwrap().to_owned();
            reply.problem(422, &code);
        }
    }
}

#[tokio::test]
async fn a_body_that_is_encoded_is_refused_by_name() {
    let app = App::start().await;
    let headers = [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
    ];
    let reply = request(app.addr, "POST", TASKS, &headers, b"{}").await;
    let problem = reply.problem(415, "unsupported_media_type");
    assert!(problem["detail"].to_string().contains("gzip"), "{problem}");
    let headers = [
        ("content-type", "application/json"),
        ("content-encoding", "Identity"),
    ];
    let body = br#"{"task_type": "echo"}"#;
    let reply = request(app.addr, "POST", TASKS, &headers, body).await;
    assert_eq!(reply.status, 201);
}

#[tokio::test]
async fn values_for_a_run_are_no_longer_than_a_mebibyte() {
    let app = App::start().await;
    let body = json!({"task_type": "echo"});
    let id = app.post(TASKS, &body).await.json()["task_id"].clone();
    let path = format!("{TASKS}/{}/signals", id.as_str().unwrap());
    let long = json!({"name": "x", "payload": "y".repeat(1 << 20)});
    let problem = app.post(&path, &long).await.problem(422, "invalid_body");
    assert_eq!(problem["errors"][0]["type"], "too_long");
    let fits = json!({"name": "x", "payload": "y".repeat((1 << 20) - 2)});
    assert_eq!(app.post(&path, &fits).await.status, 200);
}

/// What is built of a body must not grow with the number of its values.
#[tokio::test]
async fn a_keyed_body_of_many_small_values_is_taken() {
    let app = App::start().await;
    let values = "{\"\":0},".repeat(100_000);
    let body = format!(
        r#"{{"task_type": "echo", "request_id": "many", "input_data": {{"values": [{values}0]}}}}"#
    );
    let first = post(&app, None, body.as_bytes()).await.json();
    let spaced = body.replace(",", " , ");
    let again = post(&app, None, spaced.as_bytes()).await.json();
    assert_eq!(again["task_id"], first["task_id"]);
    let other = body.replace("0]", "1]");
    post(&app, None, other.as_bytes())
        .await
        .problem(422, "idempotency_mismatch");
}

/// `curl -X POST` without a body was answered with the parser's words about the end of a file.
#[tokio::test]
async fn a_body_whose_fields_may_all_be_left_out_may_be_left_out() {
    let app = App::start().await;
    let task = "/api/v1/tasks/task_6ba7b810-9dad-41d1-80b4-00c04fd430c8/rerun";
    for body in [&b""[..], b"{}"] {
        let reply = request(app.addr, "POST", task, &[], body).await;
        let said = reply.json();
        assert_ne!(said["code"], "malformed_request", "{said}");
        let approval = "/api/v1/approvals/task_6ba7b810-9dad-41d1-80b4-00c04fd430c8/1/approve";
        let reply = request(app.addr, "POST", approval, &[], body).await;
        assert_eq!(reply.json()["code"], "task_not_found");
    }
}
