//! What is made of answers: good ones, odd ones, and those that never end.

use std::{sync::Arc, time::Duration};

use agentkit_tools::http::Settings;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::server::{self, Server, allow, answer};
use crate::harness::Harness;

#[tokio::test]
async fn a_text_is_shown_with_what_belongs_to_it() {
    let server = Server::start(|_| {
        let headers = "content-type: text/html; charset=ISO-8859-1\r\nset-cookie: a=b\r\n\
            etag: \"7\"\r\nx-internal: c\r\n";
        answer(200, headers, b"<p>gr\xfcn</p>")
    })
    .await;
    let mut harness = Harness::http(&allow("127.0.0.1"));
    let url = server.url("/page?q=%20x#part");
    assert_eq!(
        harness.ok("http_fetch", json!({"url": url})).await,
        json!({
            "url": url,
            "status": 200,
            "headers": {
                "content-length": "11",
                "content-type": "text/html; charset=ISO-8859-1",
                "etag": "\"7\"",
            },
            "bytes": 11,
            "truncated": false,
            "form": "readable",
            "text": "grün",
            "charset": "windows-1252",
        })
    );
    let request = &server.requests()[0];
    assert!(
        request.starts_with("GET /page?q=%20x HTTP/1.1\r\n"),
        "{request}"
    );
    let address = server.address;
    let lower = request.to_ascii_lowercase();
    for line in [
        format!("host: {address}\r\n"),
        format!("user-agent: agentkit/{}\r\n", env!("CARGO_PKG_VERSION")),
        "accept: */*\r\n".to_owned(),
        "accept-encoding: gzip, deflate, br, zstd\r\n".to_owned(),
        "connection: close\r\n".to_owned(),
    ] {
        assert!(lower.contains(&line), "{line} in {request}");
    }
    for absent in ["cookie", "referer", "proxy"] {
        assert!(!lower.contains(absent), "{request}");
    }
}

#[tokio::test]
async fn an_error_status_is_a_result() {
    let server = Server::start(|_| answer(404, "retry-after: 7\r\n", b"gone")).await;
    let mut harness = Harness::http(&allow("127.0.0.1"));
    let result = harness
        .ok("http_fetch", json!({"url": server.url("/")}))
        .await;
    assert_eq!(
        (
            &result["status"],
            &result["text"],
            &result["headers"]["retry-after"]
        ),
        (&json!(404), &json!("gone"), &json!("7"))
    );
}

#[tokio::test]
async fn head_asks_for_no_body() {
    let server = Server::start(|request| {
        assert!(request.starts_with("HEAD / "));
        b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_vec()
    })
    .await;
    let mut harness = Harness::http(&allow("127.0.0.1"));
    let arguments = json!({"url": server.url("/"), "method": "HEAD"});
    let result = harness.ok("http_fetch", arguments).await;
    assert_eq!(result["headers"]["content-length"], "1000");
    assert_eq!((&result["bytes"], &result["text"]), (&json!(0), &json!("")));
}

#[tokio::test]
async fn what_is_no_text_comes_in_base64() {
    let server = Server::start(|_| answer(200, "content-type: image/png\r\n", b"\x89PNG\0")).await;
    let mut harness = Harness::http(&allow("127.0.0.1"));
    let result = harness
        .ok("http_fetch", json!({"url": server.url("/")}))
        .await;
    assert_eq!(result["base64"], "iVBORwA=");
    assert!(result.get("text").is_none());
}

#[tokio::test]
async fn a_body_is_read_up_to_a_limit() {
    let server = Server::start(|_| answer(200, "", "grün".repeat(1000).as_bytes())).await;
    let mut harness = Harness::http(&Settings {
        max_bytes: 100,
        ..allow("127.0.0.1")
    });
    for (asked, bytes, text) in [
        (json!({"url": server.url("/")}), 100, "grün".repeat(20)),
        (
            json!({"url": server.url("/"), "max_bytes": 8}),
            8,
            "grüngr".to_owned(),
        ),
    ] {
        let result = harness.ok("http_fetch", asked).await;
        assert_eq!(
            (&result["bytes"], &result["text"], &result["truncated"]),
            (&json!(bytes), &json!(text), &json!(true))
        );
    }
    let too_many = json!({"url": server.url("/"), "max_bytes": 101});
    assert_eq!(
        harness.code("http_fetch", too_many).await,
        "invalid_arguments"
    );
}

/// Answers with a head and then the same piece for ever.
async fn endless(head: &'static str, piece: &'static str) -> Server {
    Server::serve("127.0.0.1:0", move |mut stream, requests| async move {
        let request = server::read(&mut stream).await;
        requests.lock().unwrap().push(request);
        let mut sent = stream.write_all(head.as_bytes()).await;
        while sent.is_ok() {
            sent = stream.write_all(piece.as_bytes()).await;
        }
        requests
            .lock()
            .unwrap()
            .push("the client has gone".to_owned());
    })
    .await
}

async fn gone(server: &Server) {
    for _ in 0..1000 {
        if server.requests().len() == 2 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the connection is still there");
}

#[tokio::test]
async fn what_never_ends_is_cut() {
    let mut harness = Harness::http(&allow("127.0.0.1"));
    for (head, piece) in [
        ("HTTP/1.1 200 OK\r\n\r\n", "0123456789abcdef"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "10\r\n0123456789abcdef\r\n",
        ),
    ] {
        let server = endless(head, piece).await;
        let arguments = json!({"url": server.url("/"), "max_bytes": 1000});
        let result = harness.ok("http_fetch", arguments).await;
        assert_eq!(
            (&result["bytes"], &result["truncated"]),
            (&json!(1000), &json!(true))
        );
        gone(&server).await;
    }
    for (head, piece) in [
        ("HTTP/1.1 200 OK\r\nx: ", "0123456789abcdef"),
        ("HTTP/1.1 200 OK\r\n", "x: y\r\n"),
        ("", "no http at all "),
        ("", "\r\n"),
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
    ] {
        let server = endless(head, piece).await;
        let mut harness = Harness::http(&Settings {
            timeout: Duration::from_secs(3),
            ..allow("127.0.0.1")
        });
        let code = harness
            .code("http_fetch", json!({"url": server.url("/")}))
            .await;
        assert!(
            ["connection_failed", "head_too_large", "tool_timeout"].contains(&code.as_str()),
            "{head:?} {piece:?}: {code}"
        );
        gone(&server).await;
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_not_awaited_for_ever() {
    let server = Server::serve("127.0.0.1:0", |mut stream, requests| async move {
        let request = server::read(&mut stream).await;
        requests.lock().unwrap().push(request);
        // Until the client goes.
        server::read(&mut stream).await;
        requests
            .lock()
            .unwrap()
            .push("the client has gone".to_owned());
    })
    .await;
    let mut harness = Harness::http(&Settings {
        timeout: Duration::from_millis(300),
        ..allow("127.0.0.1")
    });
    let error = harness
        .call("http_fetch", json!({"url": server.url("/")}))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("tool_timeout", true)
    );
    gone(&server).await;
}

#[tokio::test]
async fn a_call_that_is_cancelled_closes_its_connection() {
    let server = endless("HTTP/1.1 200 OK\r\nx: y\r\n\r\n", "\0").await;
    let harness = Harness::http(&Settings {
        max_bytes: u64::MAX,
        ..allow("127.0.0.1")
    });
    let context = harness.context();
    let input = json!({"url": server.url("/")});
    let call = harness.gate().run("http_fetch", input, context.clone());
    let cancel = async {
        while server.requests().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        context.cancel.cancel();
    };
    let (result, ()) = tokio::join!(call, cancel);
    assert_eq!(result.unwrap_err().code, "cancelled");
    gone(&server).await;
}

#[tokio::test]
async fn a_body_that_breaks_off_is_shown_as_far_as_it_came() {
    let server =
        Server::start(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec()).await;
    let mut harness = Harness::http(&allow("127.0.0.1"));
    let result = harness
        .ok("http_fetch", json!({"url": server.url("/")}))
        .await;
    assert_eq!(result["text"], "half");
    let incomplete = result["incomplete"].as_str().unwrap();
    assert!(incomplete.contains("the connection broke"), "{incomplete}");
}

/// tools/T7: what came of a stream that does not end in time is shown.
#[tokio::test]
async fn a_body_that_does_not_end_in_time_is_shown_as_far_as_it_came() {
    let server = Server::serve("127.0.0.1:0", |mut stream, requests| async move {
        let request = server::read(&mut stream).await;
        requests.lock().unwrap().push(request);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        for part in [head, "data: 1\n\n", "data: 2\n\n"] {
            stream.write_all(part.as_bytes()).await.unwrap();
        }
        // Until the client goes.
        server::read(&mut stream).await;
        requests
            .lock()
            .unwrap()
            .push("the client has gone".to_owned());
    })
    .await;
    let mut harness = Harness::http(&Settings {
        timeout: Duration::from_secs(3),
        ..allow("127.0.0.1")
    });
    for (tool, arguments) in [
        ("http_fetch", json!({"url": server.url("/")})),
        (
            "http_request",
            json!({"url": server.url("/"), "method": "POST"}),
        ),
    ] {
        let result = harness.ok(tool, arguments).await;
        assert_eq!(result["text"], "data: 1\n\ndata: 2\n\n", "{tool}");
        assert_eq!(
            (&result["incomplete"], &result["truncated"]),
            (
                &json!("the time was over before the body ended"),
                &json!(false)
            )
        );
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// tools/T7: a packed body is unpacked, up to the limit.
#[tokio::test]
async fn a_packed_body_is_unpacked() {
    let server = Server::start(|request| {
        let (coding, body) = if request.contains("/zstd") {
            (
                "zstd",
                zstd::encode_all("grün ".repeat(20).as_bytes(), 3).unwrap(),
            )
        } else if request.contains("/bomb") {
            ("gzip", gzip(&vec![b'x'; 64 << 20]))
        } else if request.contains("/damaged") {
            ("gzip", gzip("grün ".repeat(500).as_bytes())[..30].to_vec())
        } else {
            ("GZIP", gzip("grün ".repeat(20).as_bytes()))
        };
        let headers = format!("content-type: text/plain\r\ncontent-encoding: {coding}\r\n");
        answer(200, &headers, &body)
    })
    .await;
    let mut harness = Harness::http(&Settings {
        max_bytes: 1 << 20,
        ..allow("127.0.0.1")
    });
    for (path, name) in [("/gzip", "gzip"), ("/zstd", "zstd")] {
        let result = harness
            .ok("http_fetch", json!({"url": server.url(path)}))
            .await;
        assert_eq!(result["text"], "grün ".repeat(20), "{path}");
        assert_eq!(
            (&result["bytes"], &result["unpacked"], &result["truncated"]),
            (&json!(120), &json!(name), &json!(false))
        );
    }
    let arguments = json!({"url": server.url("/bomb"), "max_bytes": 1000});
    let result = harness.ok("http_fetch", arguments).await;
    assert_eq!(
        (&result["bytes"], &result["truncated"]),
        (&json!(1000), &json!(true))
    );
    let result = harness
        .ok("http_fetch", json!({"url": server.url("/damaged")}))
        .await;
    let why = result["incomplete"].as_str().unwrap();
    assert!(why.contains("the packed body is damaged"), "{why}");
}

/// tools/T7: a page is shown as text that is read, and with its tags on request.
#[tokio::test]
async fn a_page_is_shown_as_readable_text_or_raw() {
    let page = "<html><head><title>A page</title></head><body><script>x()</script>\
        <h1>Title</h1><p>See <a href=\"next\">more</a>.</p></body></html>";
    let server =
        Server::start(move |_| answer(200, "content-type: text/html\r\n", page.as_bytes())).await;
    let mut harness = Harness::http(&allow("127.0.0.1"));
    let url = server.url("/docs/a");
    let result = harness.ok("http_fetch", json!({"url": url})).await;
    let next = server.url("/docs/next");
    assert_eq!(result["text"], format!("# Title\n\nSee [more]({next})."));
    assert_eq!(
        (&result["title"], &result["form"], &result["bytes"]),
        (&json!("A page"), &json!("readable"), &json!(page.len()))
    );
    let raw = harness
        .ok("http_fetch", json!({"url": url, "raw": true}))
        .await;
    assert_eq!((&raw["text"], raw.get("form")), (&json!(page), None));
    let posted = json!({"url": url, "method": "POST", "raw": true});
    assert_eq!(harness.ok("http_request", posted).await["text"], page);
}

/// tools/T7: a body goes to a file of the workspace.
#[tokio::test]
async fn a_body_is_saved_to_a_file() {
    let server = Server::start(|_| {
        let headers = "content-type: image/png\r\ncontent-encoding: gzip\r\n";
        answer(200, headers, &gzip(b"\x89PNG\0data"))
    })
    .await;
    let mut harness = Harness::http(&allow("127.0.0.1"));
    let arguments = json!({"url": server.url("/"), "save_as": "./images/a.png"});
    let outcome = harness.call("http_fetch", arguments).await.unwrap();
    assert_eq!(
        (&outcome.output["saved"], &outcome.output["bytes"]),
        (&json!("images/a.png"), &json!(9))
    );
    assert!(outcome.output.get("base64").is_none());
    assert_eq!(outcome.files[0].0.path, "images/a.png");
    let file = harness.path().join("images/a.png");
    assert_eq!(std::fs::read(file).unwrap(), b"\x89PNG\0data");
    // A wrong path is told before anything is asked for.
    let asked = server.requests().len();
    let arguments = json!({"url": server.url("/"), "save_as": "../a.png"});
    assert_eq!(harness.code("http_fetch", arguments).await, "invalid_path");
    assert_eq!(server.requests().len(), asked);
}

/// tools/T7: a body that is not whole, or that is an error's, does not replace a file.
#[tokio::test]
async fn a_file_is_not_replaced_by_less_than_a_whole_body() {
    let server = Server::start(|request| {
        if request.starts_with("GET /broken") {
            return b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart".to_vec();
        }
        let status = if request.contains("/gone") { 404 } else { 200 };
        answer(status, "", b"fresh and long")
    })
    .await;
    let mut harness = Harness::http(&Settings {
        max_bytes: 10,
        ..allow("127.0.0.1")
    });
    let file = harness.path().join("data.csv");
    let read = || std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, "precious").unwrap();
    for (path, why) in [
        ("/broken", "the connection broke"),
        ("/gone", "the status is 404"),
        ("/large", "larger than what is read"),
    ] {
        let arguments = json!({"url": server.url(path), "save_as": "data.csv"});
        let outcome = harness.call("http_fetch", arguments).await.unwrap();
        let reason = outcome.output["not_saved"].as_str().unwrap();
        assert!(reason.contains(why), "{path}: {reason}");
        assert!(outcome.output.get("saved").is_none(), "{path}");
        assert!(outcome.files.is_empty(), "{path}");
        assert_eq!(read(), "precious", "{path}");
    }
    let asked = server.requests().len();
    let head = json!({"url": server.url("/"), "method": "HEAD", "save_as": "data.csv"});
    assert_eq!(harness.code("http_fetch", head).await, "invalid_arguments");
    assert_eq!(
        (read().as_str(), server.requests().len()),
        ("precious", asked)
    );
    // So much was asked for.
    let few = json!({"url": server.url("/"), "max_bytes": 5, "save_as": "data.csv"});
    assert_eq!(harness.ok("http_fetch", few).await["saved"], "data.csv");
    assert_eq!(read(), "fresh");
    // Where there is no file, what came is better than nothing.
    let new = json!({"url": server.url("/broken"), "save_as": "new.csv"});
    let result = harness.ok("http_fetch", new).await;
    assert_eq!(
        (&result["saved"], &result["bytes"]),
        (&json!("new.csv"), &json!(4))
    );
}

/// tools/T7: many headers are fine, and too many are told as what they are.
#[tokio::test]
async fn many_headers_are_read_and_too_many_are_told() {
    let server = Server::start(|request| {
        let count = if request.contains("/many") { 200 } else { 300 };
        let headers: String = (0..count).map(|n| format!("x-{n}: y\r\n")).collect();
        answer(200, &headers, b"ok")
    })
    .await;
    let mut harness = Harness::http(&allow("127.0.0.1"));
    let result = harness
        .ok("http_fetch", json!({"url": server.url("/many")}))
        .await;
    assert_eq!(result["text"], "ok");
    let error = harness
        .call("http_fetch", json!({"url": server.url("/more")}))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("head_too_large", false)
    );
    assert!(
        error.message.contains("more than 256 headers"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn a_large_body_is_kept_whole_and_queried() {
    let items: Vec<Value> = (0..2000)
        .map(|n| json!({"id": n, "name": format!("n{n}")}))
        .collect();
    let document = Arc::new(json!({ "items": items }).to_string());
    let body = Arc::clone(&document);
    let server =
        Server::start(move |_| answer(200, "content-type: application/json\r\n", body.as_bytes()))
            .await;
    let mut harness = Harness::http(&allow("127.0.0.1"));
    let shown = harness
        .ok("http_fetch", json!({"url": server.url("/")}))
        .await;
    assert_eq!(shown["handle"], "call_1");
    let arguments = json!({
        "handle": "call_1", "inside": "/text", "query": "$.items[?@.id >= 1998].name",
    });
    assert_eq!(
        harness.ok("json_query", arguments).await,
        json!({"count": 2, "values": ["n1998", "n1999"]})
    );
}
