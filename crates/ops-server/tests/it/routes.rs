//! Routes, methods, request ids, hosts: what every request meets.

use axum::routing::get;
use ops_server::serve::Settings;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    client::{raw, request, rest},
    harness::App,
};

#[tokio::test]
async fn a_path_that_is_not_there_gives_404() {
    let app = App::start().await;
    for path in [
        "/",
        "/api",
        "/api/v1",
        "/api/v1/nope",
        "/api/v2/tasks",
        "/api/v1/tasks/a/b/c",
        "/%ff",
    ] {
        app.get(path).await.problem(404, "route_not_found");
    }
}

#[tokio::test]
async fn a_wrong_method_gives_405_and_the_allowed_ones() {
    let app = App::start().await;
    let id = app.echo().await;
    for (method, path, allow) in [
        ("DELETE", "/api/v1/tasks".to_owned(), "GET,HEAD,POST"),
        ("PUT", "/api/v1/tasks/".to_owned(), "GET,HEAD,POST"),
        ("POST", format!("/api/v1/tasks/{id}"), "GET,HEAD"),
        ("GET", format!("/api/v1/tasks/{id}/cancel"), "POST"),
        ("POST", "/health".to_owned(), "GET,HEAD"),
        ("OPTIONS", "/api/v1/tasks".to_owned(), "GET,HEAD,POST"),
        ("BREW", "/api/v1/tasks".to_owned(), "GET,HEAD,POST"),
    ] {
        let reply = request(app.addr, method, &path, &[], b"").await;
        reply.problem(405, "method_not_allowed");
        let mut allowed: Vec<_> = reply
            .header("allow")
            .unwrap()
            .split(',')
            .map(str::trim)
            .collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(","), allow, "{method} {path}");
        assert_eq!(reply.header("access-control-allow-origin"), None);
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let app = App::start().await;
    let id = app.echo().await;
    for path in [
        "/health".to_owned(),
        "/api/v1/tasks".to_owned(),
        format!("/api/v1/tasks/{id}"),
        "/nope".to_owned(),
    ] {
        let head = request(app.addr, "HEAD", &path, &[], b"").await;
        let get = app.get(&path).await;
        assert_eq!(head.status, get.status);
        assert_eq!(head.body, b"");
        assert_eq!(head.header("content-type"), get.header("content-type"));
        if get.status == 200 {
            assert_eq!(
                head.header("content-length"),
                get.header("content-length"),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn a_sane_request_id_comes_back_and_another_is_replaced() {
    let app = App::start().await;
    for (given, kept) in [
        ("abc-123_X.y:z", true),
        (&*"a".repeat(128), true),
        (&*"a".repeat(129), false),
        ("a b", false),
        ("a\"b", false),
        ("", false),
    ] {
        let reply = request(app.addr, "GET", "/nope", &[("x-request-id", given)], b"").await;
        let id = reply.header("x-request-id").unwrap();
        assert_eq!(id == given, kept, "{given}");
        reply.problem(404, "route_not_found");
    }
    let first = app.get("/health").await;
    let second = app.get("/health").await;
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
}

#[tokio::test]
async fn a_panic_gives_500_with_the_request_id_and_the_next_request_works() {
    let app = App::start_with_routes(
        Settings::default(),
        |_| {},
        |routes| {
            routes.route(
                "/panic",
                get(async || -> &'static str { panic!("a defect in a test") }),
            )
        },
    )
    .await;
    let reply = app.get("/panic").await;
    let problem = reply.problem(500, "internal");
    assert!(!problem.to_string().contains("a defect in a test"));
    assert_eq!(app.get("/health").await.status, 200);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_on_one_connection() {
    let app = App::start().await;
    let mut stream = TcpStream::connect(app.addr).await.unwrap();
    let mut bytes = Vec::new();
    for number in 0..20 {
        bytes.extend_from_slice(
            format!("GET /health HTTP/1.1\r\nhost: x\r\nx-request-id: r{number}.\r\n\r\n")
                .as_bytes(),
        );
    }
    bytes.extend_from_slice(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(&bytes).await.unwrap();
    let all = String::from_utf8(rest(&mut stream).await).unwrap();
    assert_eq!(all.matches("HTTP/1.1 200 OK").count(), 21);
    let places: Vec<_> = (0..20)
        .map(|number| all.find(&format!("x-request-id: r{number}.")).unwrap())
        .collect();
    assert!(places.is_sorted());
}

#[tokio::test]
async fn in_dev_only_this_machine_is_answered() {
    let app = App::dev().await;
    let port = app.addr.port();
    for host in [
        "localhost".to_owned(),
        format!("127.0.0.1:{port}"),
        format!("[::1]:{port}"),
    ] {
        for path in ["/health", "/api/v1/tasks"] {
            let reply = request(app.addr, "GET", path, &[("host", &host)], b"").await;
            assert_eq!(reply.status, 200, "{host}");
            let origin = format!("http://{host}");
            let headers = [("host", host.as_str()), ("origin", &origin)];
            assert_eq!(
                request(app.addr, "GET", path, &headers, b"").await.status,
                200
            );
        }
    }
    for headers in [
        &[("host", "evil.example")][..],
        &[("host", "evil.example:8000")],
        &[("host", "localhost"), ("origin", "https://evil.example")],
        &[("host", "localhost"), ("origin", "null")],
        &[
            ("host", "localhost"),
            ("origin", "http://localhost.evil.example"),
        ],
    ] {
        let body = b"{\"task_type\":\"echo\"}";
        let reply = request(app.addr, "POST", "/api/v1/tasks", headers, body).await;
        reply.problem(403, "forbidden_host");
        request(app.addr, "GET", "/health", headers, b"")
            .await
            .problem(403, "forbidden_host");
    }
    let target =
        b"GET http://evil.example/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    raw(app.addr, target).await.problem(403, "forbidden_host");
    let none = b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\n";
    raw(app.addr, none).await.problem(403, "forbidden_host");
    assert_eq!(app.get("/api/v1/tasks").await.json()["total"], 0);
}
