//! The front door: whoever comes, and however they behave.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use axum::routing::get;
use ops_server::serve::Settings;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    client::{TIMEOUT, parse, raw, request, rest},
    harness::{App, OTHERS_GO_ON},
};

fn quick() -> Settings {
    Settings {
        header_timeout: Duration::from_millis(200),
        write_timeout: Duration::from_millis(300),
        grace: Duration::from_millis(500),
        ..Settings::default()
    }
}

#[tokio::test]
async fn a_slow_header_gives_408_and_an_idle_connection_is_closed_without_a_word() {
    let app = App::start_with(quick()).await;
    let mut slow = TcpStream::connect(app.addr).await.unwrap();
    slow.write_all(b"GET /health HTTP/1.1\r\nx-a: b")
        .await
        .unwrap();
    let reply = parse(&rest(&mut slow).await);
    reply.problem(408, "request_timeout");
    assert_eq!(reply.header("connection"), Some("close"));

    let mut idle = TcpStream::connect(app.addr).await.unwrap();
    assert_eq!(rest(&mut idle).await, b"");

    // After an answer the connection is idle again, not slow.
    let mut used = TcpStream::connect(app.addr).await.unwrap();
    used.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let all = rest(&mut used).await;
    assert_eq!(parse(&all).status, 200);
    assert!(!String::from_utf8_lossy(&all).contains("408"));
}

#[tokio::test]
async fn a_body_that_rests_or_dribbles_gives_408() {
    let app =
        App::adjusted(|rest_settings| rest_settings.body_timeout = Duration::from_millis(300))
            .await;
    let head = b"POST /api/v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n{";
    let mut rests = TcpStream::connect(app.addr).await.unwrap();
    rests.write_all(head).await.unwrap();
    parse(&rest(&mut rests).await).problem(408, "request_timeout");

    let (mut answer, mut dribbles) = TcpStream::connect(app.addr).await.unwrap().into_split();
    dribbles.write_all(head).await.unwrap();
    let dribbling = tokio::spawn(async move {
        while dribbles.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut all = Vec::new();
    let read = timeout(TIMEOUT, answer.read_to_end(&mut all)).await;
    read.expect("the server hangs").unwrap();
    parse(&all).problem(408, "request_timeout");
    dribbling.abort();
}

#[tokio::test]
async fn a_large_input_is_looked_at_while_others_are_served() {
    let app = App::start().await;
    let text = "x".repeat(100_000);
    let body = json!({"task_type": "echo", "input_data": {"waits_for_others": text}});
    let others = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(app.get("/health").await.status, 200);
        OTHERS_GO_ON.store(true, Ordering::SeqCst);
    };
    let (reply, ()) = tokio::join!(app.post("/api/v1/tasks", &body), others);
    assert_eq!(reply.status, 201, "{}", reply.text());
}

#[tokio::test]
async fn health_is_quick_while_many_headers_dribble_in() {
    let app = App::start_with(Settings {
        header_timeout: Duration::from_secs(5),
        ..Settings::default()
    })
    .await;
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(app.addr).await.unwrap();
        stream
            .write_all(b"POST /api/v1/tasks HTTP/1.1\r\n")
            .await
            .unwrap();
        slow.push(stream);
    }
    for stream in &mut slow {
        stream.write_all(b"x-a: b\r\n").await.unwrap();
    }
    assert_eq!(app.get("/health").await.status, 200);
}

#[tokio::test]
async fn a_header_of_10_mb_gives_431() {
    let app = App::start().await;
    let mut one = b"GET /health HTTP/1.1\r\nhost: x\r\nx-a: ".to_vec();
    one.resize(10 << 20, b'a');
    one.extend_from_slice(b"\r\n\r\n");
    let mut many = b"GET /health HTTP/1.1\r\nhost: x\r\n".to_vec();
    while many.len() < 10 << 20 {
        many.extend_from_slice(b"x-header: some value that is sent again and again\r\n");
    }
    many.extend_from_slice(b"\r\n");
    for header in [one, many] {
        let reply = raw(app.addr, &header).await;
        reply.problem(431, "header_too_large");
        assert_eq!(app.get("/health").await.status, 200);
    }
    let fits = format!(
        "GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-a: {}\r\n\r\n",
        "a".repeat(60_000)
    );
    assert_eq!(raw(app.addr, fits.as_bytes()).await.status, 200);
}

#[tokio::test]
async fn what_is_not_http_gives_400_as_a_problem() {
    let app = App::start().await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST /api/v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\nhello",
    ] {
        raw(app.addr, bytes).await.problem(400, "malformed_request");
    }
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(70_000));
    let reply = raw(app.addr, long.as_bytes()).await;
    assert!([414, 431].contains(&reply.status), "{}", reply.status);
    let code = reply.json()["code"].as_str().unwrap().to_owned();
    reply.problem(reply.status, &code);
}

#[tokio::test]
async fn a_broken_chunked_body_gives_400() {
    let app = App::start().await;
    let bytes =
        b"POST /api/v1/tasks HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}";
    raw(app.addr, bytes).await.problem(400, "malformed_request");
}

#[tokio::test]
async fn one_connection_too_many_is_told_503() {
    let app = App::start_with(Settings {
        max_connections: 2,
        ..Settings::default()
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(app.addr).await.unwrap();
        stream
            .write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        stream.read_u8().await.unwrap();
        held.push(stream);
    }
    let reply = app.get("/health").await;
    reply.problem(503, "overloaded");
    assert_eq!(reply.header("retry-after"), Some("1"));
    drop(held);
    let begun = Instant::now();
    while app.get("/health").await.status != 200 {
        assert!(begun.elapsed() < TIMEOUT, "a place is free again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_dropped() {
    let app = App::start_with(quick()).await;
    let filler = "x".repeat(4 << 20);
    let id = app
        .submit(&json!({"task_type": "echo", "input_data": {"a": filler}}))
        .await;
    let mut stream = TcpStream::connect(app.addr).await.unwrap();
    let get = format!("GET /api/v1/tasks/{id} HTTP/1.1\r\nhost: x\r\n\r\n");
    for _ in 0..4 {
        stream.write_all(get.as_bytes()).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(900)).await;
    let mut all = Vec::new();
    // It may end with a reset; either way far less than was asked for came.
    let _ = timeout(TIMEOUT, stream.read_to_end(&mut all))
        .await
        .expect("it was dropped");
    assert!(all.len() < 4 * (4 << 20), "{}", all.len());
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight_and_takes_nothing_new() {
    let mut app = App::start_with_routes(
        Settings::default(),
        |_| {},
        |routes| {
            routes.route(
                "/slow",
                get(async || {
                    tokio::time::sleep(Duration::from_millis(150)).await;
                    "done"
                }),
            )
        },
    )
    .await;
    let mut idle = TcpStream::connect(app.addr).await.unwrap();
    let mut busy = TcpStream::connect(app.addr).await.unwrap();
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    app.stop.cancel();
    assert_eq!(rest(&mut idle).await, b"");
    let reply = parse(&rest(&mut busy).await);
    assert_eq!((reply.status, reply.text().as_str()), (200, "done"));
    timeout(TIMEOUT, &mut app.served).await.unwrap().unwrap();
    assert!(TcpStream::connect(app.addr).await.is_err());
}

#[tokio::test]
async fn a_stop_does_not_wait_longer_than_the_grace_time() {
    let mut app = App::start_with_routes(
        quick(),
        |_| {},
        |routes| {
            routes.route(
                "/hang",
                get(async || std::future::pending::<&'static str>().await),
            )
        },
    )
    .await;
    let mut stuck = TcpStream::connect(app.addr).await.unwrap();
    stuck
        .write_all(b"GET /hang HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    app.stop.cancel();
    timeout(TIMEOUT, &mut app.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn http_2_is_told_to_use_http_1() {
    let app = App::start().await;
    // The preface and an empty SETTINGS frame (RFC 9113, 3.4).
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let problem = raw(app.addr, preface).await;
    let problem = problem.problem(400, "malformed_request");
    assert!(problem["detail"].as_str().unwrap().contains("use HTTP/1.1"));
}

/// security/S4: room is taken for what came, not for what was announced.
#[tokio::test]
async fn small_bodies_are_taken_whatever_silent_connections_announce() {
    let app = App::start().await;
    let announced = format!("content-length: {}", 10 << 20);
    let mut silent = Vec::new();
    for framing in [announced.as_str(), "transfer-encoding: chunked"] {
        for _ in 0..40 {
            let mut stream = TcpStream::connect(app.addr).await.unwrap();
            let head = format!("POST /api/v1/tasks HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            silent.push(stream);
        }
    }
    let chunked = b"POST /api/v1/tasks HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
        transfer-encoding: chunked\r\n\r\n14\r\n{\"task_type\":\"echo\"}\r\n0\r\n\r\n";
    let submits = (0..100).map(|_| raw(app.addr, chunked));
    for reply in futures_util::future::join_all(submits).await {
        assert_eq!(reply.status, 201, "{}", reply.text());
    }
    // So is one of the largest size.
    let filler = "x".repeat((8 << 20) - 200);
    let body = json!({"task_type": "echo", "input_data": {"a": filler}}).to_string();
    let reply = request(app.addr, "POST", "/api/v1/tasks", &[], body.as_bytes()).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    drop(silent);
}

/// What large bodies take together is bounded all the same.
#[tokio::test]
async fn large_bodies_have_a_budget_and_small_ones_go_on() {
    let app = App::start().await;
    let piece = vec![b' '; 1 << 20];
    let mut held = Vec::new();
    // 9 of 10 MiB each: more than 256 MiB in all.
    for _ in 0..32 {
        let mut stream = TcpStream::connect(app.addr).await.unwrap();
        let head = format!(
            "POST /api/v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
            10 << 20
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..9 {
            // A refusal closes the connection.
            if stream.write_all(&piece).await.is_err() {
                break;
            }
        }
        held.push(stream);
    }
    let mut refused = 0;
    for stream in &mut held {
        let mut first = [0; 12];
        let read = timeout(Duration::from_secs(1), stream.read_exact(&mut first)).await;
        match read {
            Ok(Ok(_)) => {
                assert_eq!(&first, b"HTTP/1.1 503");
                refused += 1;
            }
            // Closed while it was still sending, or held.
            Ok(Err(_)) => refused += 1,
            Err(_) => {}
        }
    }
    assert!(refused > 0 && refused < 12, "{refused} refused");
    app.echo().await;
    drop(held);
    let body = json!({"task_type": "echo", "input_data": {"a": "x".repeat(4 << 20)}}).to_string();
    let end = Instant::now() + TIMEOUT;
    loop {
        let reply = request(app.addr, "POST", "/api/v1/tasks", &[], body.as_bytes()).await;
        if reply.status == 201 {
            break;
        }
        reply.problem(503, "overloaded");
        assert!(Instant::now() < end, "the room was not given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// security/S9
#[tokio::test]
async fn a_long_method_is_not_sent_back() {
    let app = App::start().await;
    let method = "M".repeat(20_000);
    let reply = request(app.addr, &method, "/api/v1/tasks", &[], b"").await;
    reply.problem(405, "method_not_allowed");
    assert!(reply.body.len() < 1_000, "{}", reply.text());
}
