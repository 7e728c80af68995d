//! Each redirect is a request of its own, and knows no more than a stranger may.

use agentkit_tools::http::Settings;
use serde_json::json;

use super::server::{Names, Server, allow, answer, redirect};
use crate::harness::Harness;

#[tokio::test]
async fn redirects_are_followed() {
    let server = Server::start(|request| match request.split(' ').nth(1) {
        Some("/a") => redirect(301, "b?x=1"),
        Some("/b?x=1") => redirect(307, "/c#part"),
        Some("/c") => answer(200, "content-type: text/plain\r\n", b"there"),
        other => panic!("{other:?}"),
    })
    .await;
    let mut harness = Harness::http(&allow("127.0.0.1"));
    let result = harness
        .ok("http_fetch", json!({"url": server.url("/a")}))
        .await;
    assert_eq!(result["text"], "there");
    assert_eq!(result["url"], server.url("/c#part"));
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn a_redirect_to_a_private_place_is_refused() {
    let inner = Server::at("127.0.0.2:0", |_| answer(200, "", b"secret")).await;
    let port = inner.port();
    let outer = Server::start(move |request| {
        let path = request.split(' ').nth(1).unwrap_or_default();
        let place = path.trim_start_matches('/');
        redirect(302, &format!("http://{place}:{port}/"))
    })
    .await;
    let names = || Names::new(&[("inner.test", &[&["127.0.0.2"]])]);
    let places = ["127.0.0.2", "127.0.2", "2130706434", "0x7f.2", "inner.test"];
    let mut open = Harness::http(&Settings {
        resolver: names(),
        ..allow("127.0.0.0/8")
    });
    let mut harness = Harness::http(&Settings {
        resolver: names(),
        ..allow("127.0.0.1")
    });
    for place in places {
        let arguments = json!({"url": outer.url(&format!("/{place}"))});
        let result = open.ok("http_fetch", arguments.clone()).await;
        assert_eq!(result["text"], "secret", "the way is there: {place}");
        let code = harness.code("http_fetch", arguments).await;
        assert_eq!(code, "address_not_allowed", "{place}");
    }
    assert_eq!(inner.requests().len(), places.len(), "nothing more came");
}

/// security/S5: a policy that knows one place is not led to another one.
#[tokio::test]
async fn each_redirect_is_judged_by_the_policy() {
    let other = Server::at("127.0.0.2:0", |_| answer(200, "", b"secret")).await;
    let port = other.port();
    let good = Server::start(move |request| match request.split(' ').nth(1) {
        Some("/near") => redirect(302, "/there"),
        Some("/there") => answer(200, "content-type: text/plain\r\n", b"there"),
        Some("/far") => redirect(302, &format!("http://127.0.0.2:{port}/")),
        other => panic!("{other:?}"),
    })
    .await;
    let rules = [
        (
            "deny",
            "unless = { url = \"GOOD/*\" }",
            "denied by the rule",
        ),
        (
            "deny",
            "when = { touches.host = \"127.0.0.2\" }",
            "denied by the rule",
        ),
        (
            "ask",
            "unless = { touches.url = \"GOOD/*\" }",
            "a person has to approve that",
        ),
    ];
    for (action, condition, expected) in rules {
        let condition = condition.replace("GOOD/", &good.url("/"));
        let rule = format!("[[rule]]\ntool = \"http_*\"\naction = \"{action}\"\n{condition}");
        let mut harness = Harness::http(&allow("127.0.0.0/8")).under(&rule);
        let near = json!({"url": good.url("/near")});
        let result = harness.ok("http_fetch", near).await;
        assert_eq!(result["text"], "there", "{rule}");
        let far = json!({"url": good.url("/far")});
        let result = harness.ok("http_fetch", far).await;
        assert_eq!(result["status"], 302);
        let place = format!("http://127.0.0.2:{port}/");
        assert_eq!(result["headers"]["location"], place);
        let reason = result["not_followed"].as_str().unwrap();
        assert!(reason.starts_with(expected), "{reason}");
    }
    assert_eq!(other.requests().len(), 0);
    let mut open = Harness::http(&allow("127.0.0.0/8"));
    let far = json!({"url": good.url("/far")});
    assert_eq!(
        open.ok("http_fetch", far).await["text"],
        "secret",
        "the way is there"
    );
}

#[tokio::test]
async fn redirects_to_the_same_name_are_resolved_again() {
    let server = Server::start(|_| redirect(302, "/again")).await;
    let names = Names::new(&[("rebound.test", &[&["127.0.0.1"], &["10.0.0.1"]])]);
    let mut harness = Harness::http(&Settings {
        resolver: names,
        ..allow("127.0.0.1")
    });
    let url = format!("http://rebound.test:{}/", server.port());
    assert_eq!(
        harness.code("http_fetch", json!({"url": url})).await,
        "address_not_allowed"
    );
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn redirects_come_to_an_end() {
    let server = Server::start(|_| redirect(302, "/round")).await;
    let mut harness = Harness::http(&allow("127.0.0.1"));
    let code = harness
        .code("http_fetch", json!({"url": server.url("/")}))
        .await;
    assert_eq!(code, "too_many_redirects");
    assert_eq!(server.requests().len(), 6, "the first and five redirects");
}

#[tokio::test]
async fn another_origin_is_told_nothing() {
    let other = Server::start(|_| answer(200, "", b"other")).await;
    let elsewhere = other.url("/");
    let first = Server::start(move |request| match request.split(' ').nth(1) {
        Some("/start") => redirect(302, "/same"),
        _ => redirect(302, &elsewhere),
    })
    .await;
    let mut harness = Harness::http(&allow("127.0.0.1"));
    let arguments = json!({"url": first.url("/start"), "headers": {
        "Authorization": "Bearer token", "Cookie": "session=1", "X-Api-Key": "key",
        "Accept": "text/csv",
    }});
    harness.ok("http_fetch", arguments).await;
    for request in first.requests() {
        for header in [
            "authorization: Bearer token",
            "cookie: session=1",
            "x-api-key: key",
        ] {
            assert!(request.contains(header), "{request}");
        }
    }
    let strangers = other.requests();
    assert_eq!(strangers.len(), 1);
    for secret in ["authorization", "cookie", "x-api-key", "referer", "token"] {
        assert!(!strangers[0].contains(secret), "{}", strangers[0]);
    }
    assert!(strangers[0].contains("accept: text/csv"));
}

#[tokio::test]
async fn a_request_that_writes_is_not_redirected() {
    let other = Server::start(|_| answer(200, "", b"other")).await;
    let elsewhere = other.url("/");
    let server = Server::start(move |_| redirect(307, &elsewhere)).await;
    let mut harness = Harness::http(&allow("127.0.0.1"));
    let arguments = json!({"url": server.url("/"), "method": "POST", "json": {"a": 1}});
    let result = harness.ok("http_request", arguments).await;
    assert_eq!(result["status"], 307);
    assert_eq!(result["headers"]["location"], other.url("/"));
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn a_redirect_to_nowhere_is_told() {
    let server = Server::start(|request| {
        let path = request.split(' ').nth(1).unwrap_or_default();
        redirect(302, path.trim_start_matches('/'))
    })
    .await;
    let mut harness = Harness::http(&allow("127.0.0.1"));
    for location in [
        "file:///etc/passwd",
        "http://",
        "ftp://a.example/",
        "http://u:p@h/",
    ] {
        let code = harness
            .code(
                "http_fetch",
                json!({"url": server.url(&format!("/{location}"))}),
            )
            .await;
        assert_eq!(code, "redirect_refused", "{location}");
    }
}
