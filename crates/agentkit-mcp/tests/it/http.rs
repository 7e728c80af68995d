//! Servers behind a URL.

use std::time::Duration;

use agentkit::tool::Effect;
use agentkit_mcp::{Era, Status};
use ops_testkit::McpStub;
use serde_json::{Value, json};

use crate::world::{World, call, call_with, listed, log, with_effect};

fn at(stub: &McpStub) -> Value {
    json!({"type": "http", "url": stub.url()})
}

#[tokio::test]
async fn both_eras_are_spoken_over_http() {
    for (plan, era) in [
        (json!({"era": "modern"}), Era::Modern),
        (json!({"era": "modern", "stream": true}), Era::Modern),
        (json!({"era": "legacy"}), Era::Legacy),
        (
            json!({"era": "legacy", "stream": true, "sessions": false}),
            Era::Legacy,
        ),
        // ahead-tools/18: an older server answers under an id of its own.
        (
            json!({"era": "legacy", "discover_status": 400}),
            Era::Legacy,
        ),
        (
            json!({"era": "legacy", "discover_status": 404}),
            Era::Legacy,
        ),
    ] {
        let stub = McpStub::start(&plan).await.unwrap();
        let world = World::new(&json!({"s": at(&stub)}));
        let server = world.ready("s").await;
        assert_eq!(server.era(), Some(era), "{plan}");
        for value in [json!({"a": "ü\n"}), json!({})] {
            let output = call(&server, "echo", value.clone()).await.unwrap();
            let back: Value = serde_json::from_str(output.content.as_str().unwrap()).unwrap();
            assert_eq!(back, value, "{plan}");
        }
        world.host.stop().await;
    }
}

/// ahead-tools/18: 401 is about who asks, not about the era.
#[tokio::test]
async fn who_asks_is_told_by_a_header() {
    let stub = McpStub::start(&json!({"authorization": "Bearer sesame-open"}))
        .await
        .unwrap();
    let mut with = at(&stub);
    with["headers"] = json!({"Authorization": "Bearer sesame-open"});
    let world = World::new(&json!({"with": with, "without": at(&stub)}));
    listed(&world.server("with")).await;
    let why = world.server("without").first_listing().await.unwrap_err();
    assert!(
        why.contains("401") && why.contains("Authorization"),
        "{why}"
    );
    assert!(matches!(
        world.server("without").status(),
        Status::Unauthorized(_)
    ));
    world.host.stop().await;
}

/// ahead-tools/22: a lost session is made anew once; reads are repeated, a write is the model's to repeat.
#[tokio::test]
async fn a_lost_session_is_made_anew() {
    for lost in ["404", "400", "event"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let plan = json!({"era": "legacy", "lost": lost, "log": path});
        let stub = McpStub::start(&plan).await.unwrap();
        let world =
            World::new(&json!({"write": at(&stub), "read": with_effect(at(&stub), Effect::Pure)}));
        let (write, read) = (world.ready("write").await, world.ready("read").await);
        call(&write, "echo", json!({})).await.unwrap();
        let forget = async || stub.http().post("/forget", &Value::Null).await.unwrap();
        forget().await;
        assert_eq!(
            call(&read, "echo", json!({})).await.unwrap().content,
            "{}",
            "{lost}"
        );
        forget().await;
        let failure = call_with(&write, "write", json!({}), "w")
            .await
            .unwrap_err();
        assert_eq!(
            (failure.code.as_str(), failure.retryable),
            ("session_lost", true),
            "{lost}"
        );
        let sent = log(&path).iter().filter(|line| line["key"] == "w").count();
        assert_eq!(sent, 0, "{lost}: nothing sent it again");
        assert!(call(&write, "write", json!({})).await.is_ok(), "{lost}");
        world.host.stop().await;
    }
}

/// An answer that breaks off: in the newer era no stream is resumed, and a write is in doubt.
#[tokio::test]
async fn an_answer_that_breaks_off_is_an_unknown_outcome() {
    for plan in [
        json!({"era": "modern", "stream": true}),
        json!({"era": "modern"}),
        json!({"era": "legacy", "stream": true}),
    ] {
        let stub = McpStub::start(&plan).await.unwrap();
        let world = World::new(&json!({"s": at(&stub)}));
        let server = world.ready("s").await;
        let failure = call(&server, "write_lose", json!({})).await.unwrap_err();
        assert_eq!(
            failure.code, "outcome_unknown",
            "{plan}: {}",
            failure.message
        );
        assert!(call(&server, "echo", json!({})).await.is_ok(), "{plan}");
        world.host.stop().await;
    }
}

/// Promises P3 and P19: a gateway that lost the answer of its server says nothing of what became of the call.
#[tokio::test]
async fn the_answer_of_a_gateway_leaves_a_write_in_doubt() {
    let own = |code: i64, text: &str| {
        json!({"jsonrpc": "2.0", "id": "$ID", "error": {"code": code, "message": text}})
            .to_string()
            .replace("\"$ID\"", "$ID")
    };
    let html = "<html><h1>Bad Gateway</h1></html>".to_owned();
    let wrapped = json!({"error": {"code": 502, "message": "bad gateway"}}).to_string();
    let nobodys =
        json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32603, "message": "upstream"}});
    for (status, body, retry_after, code) in [
        (502, html.clone(), None, "outcome_unknown"),
        (502, wrapped.clone(), None, "outcome_unknown"),
        (504, html.clone(), None, "outcome_unknown"),
        (504, nobodys.to_string(), Some("1"), "outcome_unknown"),
        (503, html.clone(), None, "outcome_unknown"),
        (500, html.clone(), None, "outcome_unknown"),
        (524, html.clone(), None, "outcome_unknown"),
        (408, html.clone(), None, "outcome_unknown"),
        (499, wrapped, None, "outcome_unknown"),
        (303, String::new(), None, "outcome_unknown"),
        (
            200,
            own(-32001, "Request timed out"),
            None,
            "outcome_unknown",
        ),
        (
            200,
            own(-32000, "Connection closed"),
            None,
            "outcome_unknown",
        ),
        // What the server itself says, and what says that nothing was done.
        (200, own(-32000, "no such account"), None, "server_error"),
        (500, own(-32603, "no disk"), None, "server_error"),
        (503, html.clone(), Some("30"), "server_unavailable"),
        (429, html, Some("30"), "rate_limited"),
    ] {
        let case = format!("{status} {body} {retry_after:?}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let gateway = json!({"status": status, "body": body, "retry_after": retry_after});
        let stub = McpStub::start(&json!({"log": path, "gateway": gateway}))
            .await
            .unwrap();
        let world = World::new(&json!({
            "write": at(&stub), "keyed": with_effect(at(&stub), Effect::Keyed),
        }));
        for name in ["write", "keyed"] {
            let server = world.ready(name).await;
            let failure = call_with(&server, "write", json!({}), name)
                .await
                .unwrap_err();
            assert_eq!(failure.code, code, "{case}: {}", failure.message);
            let lines = log(&path);
            let sent = lines.iter().filter(|line| line["key"] == name).count();
            // A keyed call is the same one the second time.
            let lost = code == "outcome_unknown" && status != 200;
            let most = 1 + usize::from(name == "keyed" && lost);
            assert_eq!(sent, most, "{case}: {name}");
        }
        world.host.stop().await;
    }
}

/// A server that is gone is told as such, the call had no effect, and it comes back.
#[tokio::test]
async fn a_server_that_dies_is_unreachable_and_says_so() {
    let mut stub = McpStub::start(&json!({"stream": true})).await.unwrap();
    let world = World::new(&json!({"s": at(&stub)}));
    let server = world.ready("s").await;
    stub.process().sigkill().unwrap();
    let failure = call(&server, "write", json!({})).await.unwrap_err();
    assert!(
        ["server_unavailable", "outcome_unknown"].contains(&failure.code.as_str()),
        "{failure:?}"
    );
    let failure = call(&server, "write", json!({})).await.unwrap_err();
    assert_eq!(failure.code, "server_unavailable", "{failure:?}");
    assert!(
        failure.retryable && failure.message.contains("nothing was done"),
        "{failure:?}"
    );
    world.host.stop().await;
}

/// Promise P11: a redirect to a private address, or to anywhere else, is not followed.
#[tokio::test]
async fn redirects_elsewhere_are_refused() {
    let target = McpStub::start(&json!({})).await.unwrap();
    for place in [
        target.url(),
        "http://169.254.169.254/latest/".to_owned(),
        "https://elsewhere.example/".to_owned(),
    ] {
        let stub = McpStub::start(&json!({"redirect": place})).await.unwrap();
        let world = World::new(&json!({"s": at(&stub)}));
        let why = world.server("s").first_listing().await.unwrap_err();
        assert!(why.contains("not followed"), "{why}");
        world.host.stop().await;
    }
}

/// ahead-tools/23: the stream beside requests may be refused in any way.
#[tokio::test]
async fn the_stream_beside_requests_may_be_refused() {
    for status in [400, 404, 405, 409, 500, 501] {
        let stub = McpStub::start(&json!({"era": "legacy", "get": status}))
            .await
            .unwrap();
        let world = World::new(&json!({"s": at(&stub)}));
        let server = world.ready("s").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(call(&server, "echo", json!({})).await.is_ok(), "{status}");
        assert_eq!(server.status(), Status::Ready, "{status}");
        world.host.stop().await;
    }
}

#[tokio::test]
async fn answers_without_bounds_are_not_read() {
    for stream in [true, false] {
        let stub = McpStub::start(&json!({"stream": stream})).await.unwrap();
        let world = World::new(&json!({"s": at(&stub)}));
        let server = world.ready("s").await;
        let failure = call(&server, "large", json!({"bytes": 33_554_432}))
            .await
            .unwrap_err();
        assert_eq!(failure.code, "result_too_large", "stream: {stream}");
        assert!(call(&server, "echo", json!({})).await.is_ok());
        world.host.stop().await;
    }
}

/// The span of a call goes to servers of both eras, in the body and as a header.
#[tokio::test]
async fn a_call_names_its_span() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    agentkit::telemetry::set_traceparent(|| Some(PARENT.to_owned()));
    for era in ["modern", "legacy"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let stub = McpStub::start(&json!({"era": era, "log": path}))
            .await
            .unwrap();
        let world = World::new(&json!({"s": at(&stub)}));
        let server = world.ready("s").await;
        call(&server, "echo", json!({})).await.unwrap();
        let lines = log(&path);
        let line = lines.iter().find(|line| line["tool"] == "echo").unwrap();
        assert_eq!(line["traceparent"], PARENT, "{era}");
        assert_eq!(line["traceparent_header"], PARENT, "{era}");
        world.host.stop().await;
    }
}
