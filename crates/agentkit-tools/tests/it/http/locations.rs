//! Where requests may go: whatever a place is called, and whatever its name resolves to.

use std::{sync::Arc, time::Duration};

use agentkit_tools::http::Settings;
use serde_json::json;

use super::server::{Names, Server, allow, answer};
use crate::harness::Harness;

/// Ways to write 127.0.0.1 that a URL takes.
const LOOPBACK: [&str; 18] = [
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7F.0.0.1",
    "0x7f.1",
    "0177.0.0.1",
    "0177.0.0.01",
    "017700000001",
    "127.0.0.0x1",
    "%31%32%37.0.0.1",
    "１２７.0.0.1",
    "127。0。0。1",
    "127.0.0.1\t",
    "①②⑦.0.0.1",
    "loopback.test",
];

fn names() -> Arc<Names> {
    Names::new(&[
        ("loopback.test", &[&["127.0.0.1"]]),
        ("localhost", &[&["127.0.0.1"]]),
        ("mapped.test", &[&["::ffff:127.0.0.1"]]),
        ("metadata.test", &[&["169.254.169.254"]]),
        ("mixed.test", &[&["1.1.1.1", "10.0.0.1"]]),
        ("six.test", &[&["fd00::1"]]),
    ])
}

#[tokio::test]
async fn no_spelling_of_an_address_gets_past() {
    let server = Server::start(|_| answer(200, "", b"secret")).await;
    let allowed = Settings {
        resolver: names(),
        ..allow("127.0.0.1")
    };
    let mut allowed = Harness::http(&allowed);
    for spelling in LOOPBACK {
        let url = format!("http://{spelling}:{}/", server.port());
        let result = allowed.ok("http_fetch", json!({"url": url})).await;
        assert_eq!(result["text"], "secret", "the way is there: {url}");
    }
    assert_eq!(server.requests().len(), LOOPBACK.len());

    let mut harness = Harness::http(&Settings {
        resolver: names(),
        ..Settings::default()
    });
    for spelling in LOOPBACK {
        for url in [
            format!("http://{spelling}:{}/", server.port()),
            format!("https://{spelling}:{}/", server.port()),
            format!("HTTP:\\\\{spelling}:{}\\", server.port()),
        ] {
            let code = harness.code("http_fetch", json!({"url": url})).await;
            assert_eq!(code, "address_not_allowed", "{url}");
            let arguments = json!({"url": url, "method": "POST", "body": "x"});
            let code = harness.code("http_request", arguments).await;
            assert_eq!(code, "address_not_allowed", "{url}");
        }
    }
    assert_eq!(server.requests().len(), LOOPBACK.len(), "nothing was sent");
}

#[tokio::test]
async fn no_private_range_is_reached() {
    let mut harness = Harness::http(&Settings {
        resolver: names(),
        ..Settings::default()
    });
    for host in [
        "0.0.0.0",
        "0",
        "10.0.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "0xa9fea9fe",
        "172.16.0.1",
        "192.168.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:a9fe:a9fe]",
        "[0:0:0:0:0:ffff:10.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::1]",
        "[2002:7f00:1::]",
        "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
        "[fd00::1]",
        "[fe80::1]",
        "[ff02::1]",
        "localhost",
        "LOCALHOST.",
        "mapped.test",
        "metadata.test",
        "mixed.test",
        "six.test",
    ] {
        let url = format!("http://{host}/latest/meta-data/");
        let error = harness
            .call("http_fetch", json!({"url": url}))
            .await
            .unwrap_err();
        assert_eq!(
            error.code, "address_not_allowed",
            "{url}: {}",
            error.message
        );
        assert!(
            error.message.contains("tools.http.allow"),
            "{}",
            error.message
        );
    }
}

#[tokio::test]
async fn what_is_no_url_is_told() {
    let mut harness = Harness::new();
    for (url, problem) in [
        ("", "relative URL without a base"),
        ("example.com", "relative URL without a base"),
        ("/path", "relative URL without a base"),
        ("http://", "empty host"),
        ("file:///etc/passwd", "only http and https"),
        ("ftp://example.com/", "only http and https"),
        ("data:text/plain,x", "only http and https"),
        ("javascript:alert(1)", "only http and https"),
        ("http://user@127.0.0.1/", "user name or password"),
        ("http://:secret@127.0.0.1/", "user name or password"),
        ("http://example.com@127.0.0.1/", "user name or password"),
        ("http://1.2.3.4.5/", "invalid IPv4"),
        ("http://256.0.0.1/", "invalid IPv4"),
        ("http://[fe80::1%25eth0]/", "invalid IPv6"),
        ("http://a b/", "invalid international domain name"),
        ("http://127.0.0.1:99999/", "invalid port"),
        ("http://127.0.0.1:0/", "port 0"),
    ] {
        let error = harness
            .call("http_fetch", json!({"url": url}))
            .await
            .unwrap_err();
        assert_eq!(error.code, "invalid_url", "{url}");
        assert!(error.message.contains(problem), "{url}: {}", error.message);
        assert!(!error.message.contains("secret"), "{}", error.message);
    }
    let long = format!("http://127.0.0.1/{}", "x".repeat(10_000));
    assert_eq!(
        harness.code("http_fetch", json!({"url": long})).await,
        "invalid_url"
    );
}

/// A name that first resolves to a place that is allowed, and then to one that is not.
#[tokio::test]
async fn a_name_that_is_rebound_leads_nowhere() {
    let open = Server::start(|_| answer(200, "", b"open")).await;
    let inner = Server::at(&format!("127.0.0.2:{}", open.port()), |_| {
        answer(200, "", b"inner")
    })
    .await;
    let url = format!("http://rebound.test:{}/", open.port());

    // The way is there: without a check the second answer is the inner server's.
    let names = Names::new(&[("rebound.test", &[&["127.0.0.1"], &["127.0.0.2"]])]);
    let mut harness = Harness::http(&Settings {
        resolver: names,
        ..allow("127.0.0.0/8")
    });
    for expected in ["open", "inner"] {
        let result = harness.ok("http_fetch", json!({"url": url})).await;
        assert_eq!(result["text"], expected);
    }

    let names = Names::new(&[("rebound.test", &[&["127.0.0.1"], &["127.0.0.2"]])]);
    let mut harness = Harness::http(&Settings {
        resolver: Arc::clone(&names) as _,
        ..allow("127.0.0.1")
    });
    let result = harness.ok("http_fetch", json!({"url": url})).await;
    assert_eq!(result["text"], "open");
    assert_eq!(names.asked(), ["rebound.test"], "it is resolved once");
    for _ in 0..3 {
        let code = harness.code("http_fetch", json!({"url": url})).await;
        assert_eq!(code, "address_not_allowed");
    }
    assert_eq!(inner.requests().len(), 1, "nothing more came");
}

#[tokio::test]
async fn one_address_that_is_not_allowed_spoils_the_others() {
    let server = Server::start(|_| answer(200, "", b"open")).await;
    let names = Names::new(&[("mixed.test", &[&["127.0.0.1", "127.0.0.2"]])]);
    let mut harness = Harness::http(&Settings {
        resolver: names,
        ..allow("127.0.0.1")
    });
    let url = format!("http://mixed.test:{}/", server.port());
    assert_eq!(
        harness.code("http_fetch", json!({"url": url})).await,
        "address_not_allowed"
    );
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn the_next_address_is_tried() {
    let server = Server::start(|_| answer(200, "", b"second")).await;
    // Nobody listens at this port of 127.0.0.2.
    let names = Names::new(&[("two.test", &[&["127.0.0.2", "127.0.0.1"]])]);
    let mut harness = Harness::http(&Settings {
        resolver: names,
        ..allow("two.test")
    });
    let url = format!("http://two.test:{}/", server.port());
    let result = harness.ok("http_fetch", json!({"url": url})).await;
    assert_eq!(result["text"], "second");
}

#[tokio::test]
async fn an_allowance_may_be_for_one_port() {
    let one = Server::start(|_| answer(200, "", b"one")).await;
    let other = Server::start(|_| answer(200, "", b"other")).await;
    let mut harness = Harness::http(&allow(&one.address.to_string()));
    let result = harness.ok("http_fetch", json!({"url": one.url("/")})).await;
    assert_eq!(result["text"], "one");
    let code = harness
        .code("http_fetch", json!({"url": other.url("/")}))
        .await;
    assert_eq!(code, "address_not_allowed");
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn a_host_that_cannot_be_resolved_or_reached_is_told() {
    let gone = Server::start(|_| Vec::new()).await;
    let address = gone.address;
    drop(gone);
    let mut harness = Harness::http(&Settings {
        resolver: Names::new(&[("empty.test", &[&[]])]),
        timeout: Duration::from_secs(60),
        ..allow("127.0.0.1")
    });
    for (url, code) in [
        ("http://none.test/".to_owned(), "host_not_found"),
        ("http://empty.test/".to_owned(), "host_not_found"),
        (format!("http://{address}/"), "connection_failed"),
    ] {
        let error = harness
            .call("http_fetch", json!({"url": url}))
            .await
            .unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.retryable),
            (code, true),
            "{url}"
        );
    }
}
