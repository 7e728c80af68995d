//! What `http_request` sends, and what it says when nobody knows whether it arrived.

use std::time::Duration;

use agentkit_tools::http::Settings;
use serde_json::{Value, json};

use super::server::{self, Server, allow, answer};
use crate::harness::Harness;

#[tokio::test]
async fn bodies_are_sent_as_json_or_as_they_are() {
    let server = Server::start(|_| answer(201, "", b"made")).await;
    let mut harness = Harness::http(&allow("127.0.0.1"));
    let url = server.url("/things");
    for (arguments, head, content_type, body) in [
        (
            json!({"method": "POST", "json": {"a": [1, null, "ü"]}}),
            "POST /things HTTP/1.1",
            Some("content-type: application/json"),
            r#"{"a":[1,null,"ü"]}"#,
        ),
        (
            json!({"method": "PUT", "json": null}),
            "PUT /things HTTP/1.1",
            Some("content-type: application/json"),
            "null",
        ),
        (
            json!({"method": "PATCH", "body": "text"}),
            "PATCH /things HTTP/1.1",
            Some("content-type: text/plain; charset=utf-8"),
            "text",
        ),
        (
            json!({"method": "POST", "body": "a=b", "headers":
                {"Content-Type": "application/x-www-form-urlencoded"}}),
            "POST /things HTTP/1.1",
            Some("content-type: application/x-www-form-urlencoded"),
            "a=b",
        ),
        (
            json!({"method": "DELETE"}),
            "DELETE /things HTTP/1.1",
            None,
            "",
        ),
    ] {
        let mut arguments = arguments;
        arguments["url"] = url.as_str().into();
        let result = harness.ok("http_request", arguments).await;
        assert_eq!(
            (&result["status"], &result["text"]),
            (&json!(201), &json!("made"))
        );
        let request = server.requests().pop().unwrap();
        let (sent, got) = request.split_once("\r\n\r\n").unwrap();
        assert!(sent.starts_with(head), "{request}");
        assert_eq!(got, body);
        let types: Vec<_> = sent
            .lines()
            .filter(|line| line.starts_with("content-type"))
            .collect();
        assert_eq!(types, content_type.into_iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn one_tool_reads_and_the_other_writes() {
    let mut harness = Harness::http(&allow("127.0.0.1"));
    for (tool, method) in [
        ("http_fetch", "POST"),
        ("http_fetch", "get"),
        ("http_fetch", "OPTIONS"),
        ("http_request", "GET"),
        ("http_request", "CONNECT"),
        ("http_request", "POST /x HTTP/1.1\r\nX: y"),
    ] {
        let arguments = json!({"url": "http://127.0.0.1/", "method": method});
        assert_eq!(harness.code(tool, arguments).await, "invalid_arguments");
    }
    let both = json!({"url": "http://127.0.0.1/", "method": "POST", "json": 1, "body": "1"});
    assert_eq!(
        harness.code("http_request", both).await,
        "invalid_arguments"
    );
    let headers = json!({"url": "http://127.0.0.1/", "headers": {"Host": "other"}});
    assert_eq!(harness.code("http_fetch", headers).await, "invalid_header");
    let number = json!({"url": "http://127.0.0.1/", "headers": {"X": 1}});
    assert_eq!(
        harness.code("http_fetch", number).await,
        "invalid_arguments"
    );
}

async fn error(settings: &Settings, url: &str) -> (String, bool, String) {
    let arguments = json!({"url": url, "method": "POST", "json": {}});
    let error = Harness::http(settings)
        .call("http_request", arguments)
        .await
        .unwrap_err();
    (error.code, error.retryable, error.message)
}

#[tokio::test]
async fn it_is_told_whether_the_request_may_have_arrived() {
    let doubt = "it may have taken effect";
    let settings = Settings {
        timeout: Duration::from_millis(500),
        ..allow("127.0.0.1")
    };
    let closes = Server::start(|_| Vec::new()).await;
    let (code, retryable, message) = error(&settings, &closes.url("/")).await;
    assert_eq!((code.as_str(), retryable), ("outcome_unknown", false));
    assert!(message.contains(doubt), "{message}");
    assert_eq!(closes.requests().len(), 1);

    let hangs = Server::serve("127.0.0.1:0", |mut stream, _| async move {
        server::read(&mut stream).await;
        server::read(&mut stream).await;
    })
    .await;
    let (code, retryable, message) = error(&settings, &hangs.url("/")).await;
    assert_eq!((code.as_str(), retryable), ("outcome_unknown", false));
    assert!(message.contains(doubt), "{message}");

    let url = closes.url("/");
    drop(closes);
    let (code, _, message) = error(&settings, &url).await;
    assert_eq!(code, "connection_failed");
    assert!(!message.contains(doubt), "{message}");
    let (code, _, message) = error(&settings, "http://10.0.0.1/").await;
    assert_eq!(code, "address_not_allowed");
    assert!(!message.contains(doubt), "{message}");
}

/// Promises P3 and P19: a gateway that lost the answer of its server says nothing of what became of the request.
#[tokio::test]
async fn the_answer_of_a_gateway_leaves_open_what_became_of_a_request() {
    for (status, headers, is_open) in [
        (502, "", true),
        (503, "", true),
        (504, "retry-after: 5\r\n", true),
        (408, "", true),
        (499, "", true),
        (524, "", true),
        (503, "retry-after: 5\r\n", false),
        (500, "", false),
        (429, "", false),
        (409, "", false),
        (303, "location: /done\r\n", false),
    ] {
        let server = Server::start(move |_| answer(status, headers, b"<h1>gateway</h1>")).await;
        let mut harness = Harness::http(&allow("127.0.0.1"));
        let arguments = json!({"url": server.url("/orders"), "method": "POST", "json": {}});
        match harness.call("http_request", arguments).await {
            Ok(outcome) => {
                assert!(!is_open, "{status}: {outcome:?}");
                assert_eq!(outcome.output["status"], status);
            }
            Err(failure) => {
                assert!(is_open, "{status}: {failure:?}");
                assert_eq!(failure.code, "outcome_unknown");
                let says = [status.to_string().as_str(), "it may have taken effect"]
                    .iter()
                    .all(|word| failure.message.contains(word));
                assert!(says, "{}", failure.message);
            }
        }
        assert_eq!(server.requests().len(), 1, "{status}: it was sent once");
        // A read is shown as ever.
        if status != 303 {
            let fetch = json!({"url": server.url("/")});
            assert_eq!(harness.ok("http_fetch", fetch).await["status"], status);
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_still_tells_its_status() {
    let server =
        Server::start(|_| b"HTTP/1.1 201 Created\r\ncontent-length: 9\r\n\r\nid".to_vec()).await;
    let mut harness = Harness::http(&allow("127.0.0.1"));
    let arguments = json!({"url": server.url("/"), "method": "POST"});
    let result = harness.ok("http_request", arguments).await;
    assert_eq!(
        (&result["status"], &result["text"]),
        (&json!(201), &json!("id"))
    );
    assert_ne!(result["incomplete"], Value::Null);
}

#[tokio::test]
async fn a_request_carries_the_key_of_its_call() {
    let server = Server::start(|_| answer(200, "", b"")).await;
    let mut harness = Harness::http(&allow("127.0.0.1"));
    let arguments =
        |headers: Value| json!({"url": server.url("/"), "method": "POST", "headers": headers});
    harness.ok("http_request", arguments(json!({}))).await;
    let own = json!({"Idempotency-Key": "mine"});
    harness.ok("http_request", arguments(own)).await;
    let fetch = json!({"url": server.url("/")});
    harness.ok("http_fetch", fetch).await;
    let keys: Vec<Option<String>> = server
        .requests()
        .iter()
        .map(|request| {
            let mut lines = request.lines();
            let key = lines.find_map(|line| line.strip_prefix("idempotency-key: "));
            key.map(str::to_owned)
        })
        .collect();
    let first = "01010101-0101-4101-8101-010101010101".to_owned();
    assert_eq!(keys, [Some(first), Some("mine".to_owned()), None]);
}
