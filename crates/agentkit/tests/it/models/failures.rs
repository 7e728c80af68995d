//! What goes wrong.

use std::sync::Arc;

use std::time::Duration;

use agentkit::model::{
    Image, Message,
    ModelErrorKind::{
        self, Conflict, ContentFilter, ContextOverflow, InvalidRequest, MalformedResponse,
        NotFound, QuotaExceeded, RateLimited, ServerError, Timeout, Unauthorized, Unreachable,
    },
    client::{Config, Provider},
};
use serde_json::json;

use super::{KEY, call, config, outcome, question, server::*};

#[tokio::test]
async fn every_status_has_its_kind_and_its_remedy() {
    let quota = r#"{"error":{"message":"You exceeded your current quota.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;
    let table: [(u16, &str, ModelErrorKind, &str); 15] = [
        (
            400,
            r#"{"error":{"message":"Unsupported value.","param":"temperature","code":"unsupported_value"}}"#,
            InvalidRequest,
            "openai/gpt-5 answered 400 (unsupported_value, temperature): Unsupported value; does model `gpt-5` accept",
        ),
        (
            400,
            r#"{"error":{"message":"too long","code":"context_length_exceeded"}}"#,
            ContextOverflow,
            "shorten the conversation",
        ),
        (
            400,
            r#"{"error":{"message":"flagged","code":"content_filter"}}"#,
            ContentFilter,
            "reword",
        ),
        (
            401,
            r#"{"error":{"message":"Incorrect API key provided: sk-proj-***abcd.","code":"invalid_api_key"}}"#,
            Unauthorized,
            "(invalid_api_key): Incorrect API key provided: [secret]; is OPENAI_API_KEY right?",
        ),
        (
            403,
            "Forbidden",
            Unauthorized,
            "answered 403: Forbidden; may the key in OPENAI_API_KEY use model `gpt-5`?",
        ),
        (
            404,
            r#"{"error":{"message":"no such model","code":"model_not_found"}}"#,
            NotFound,
            "OPENAI_BASE_URL (http://127.0.0.1:",
        ),
        (408, "", Conflict, "answered 408"),
        (409, "", Conflict, "answered 409"),
        (413, "too large", ContextOverflow, "larger context"),
        (
            429,
            r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#,
            RateLimited,
            "slow down; wait",
        ),
        (
            429,
            quota,
            QuotaExceeded,
            "(insufficient_quota): You exceeded your current quota; another try does not help",
        ),
        (
            500,
            "Internal Server Error",
            ServerError,
            "answered 500: Internal Server Error",
        ),
        (
            502,
            "<html><head><title>502 Bad Gateway</title></head><body>x</body></html>",
            ServerError,
            "answered 502: 502 Bad Gateway",
        ),
        (503, "{ broken", ServerError, "answered 503"),
        (
            529,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            ServerError,
            "(overloaded_error): Overloaded",
        ),
    ];
    for (status, body, kind, says) in table {
        let headers = "x-request-id: req_7\r\nretry-after: 3\r\n";
        let error = outcome(response(status, headers, body)).await.unwrap_err();
        assert_eq!(error.kind, kind, "{status} {body}");
        assert_eq!(error.status, Some(status));
        assert_eq!(error.request_id.as_deref(), Some("req_7"));
        assert_eq!(error.retry_after, Some(Duration::from_secs(3)));
        assert!(!error.maybe_charged, "{status}");
        assert!(error.message.contains(says), "{status}: {}", error.message);
    }
    assert!(
        outcome(response(504, "", ""))
            .await
            .unwrap_err()
            .maybe_charged
    );
}

/// Whatever a provider, or a gateway before it, repeats of a request, no error holds the key.
#[tokio::test]
async fn no_field_of_an_error_holds_the_key() {
    let body = format!(r#"{{"error":{{"message":"no: {KEY}","code":"{KEY}","param":"{KEY}"}}}}"#);
    let headers = format!("x-request-id: {KEY}\r\n");
    let error = outcome(response(401, &headers, &body)).await.unwrap_err();
    assert!(!format!("{error:?}").contains(KEY), "{error:?}");
    assert!(error.message.contains("no: [secret]"), "{error:?}");
}

#[tokio::test]
async fn a_date_in_retry_after_counts_from_the_response() {
    let headers =
        "date: Sun, 06 Nov 1994 08:49:37 GMT\r\nretry-after: Sun, 06 Nov 1994 08:50:07 GMT\r\n";
    let error = outcome(response(429, headers, "")).await.unwrap_err();
    assert_eq!(error.retry_after, Some(Duration::from_secs(30)));
    let error = outcome(response(429, "retry-after-ms: 250\r\n", ""))
        .await
        .unwrap_err();
    assert_eq!(error.retry_after, Some(Duration::from_millis(250)));
}

#[tokio::test]
async fn an_error_inside_an_answer_is_an_error() {
    let whole = r#"{"error":{"code":429,"message":"upstream is busy"}}"#;
    let error = outcome(response(200, "", whole)).await.unwrap_err();
    assert_eq!(
        (error.kind, error.status, error.maybe_charged),
        (RateLimited, Some(200), false)
    );
    assert!(
        error.message.contains("(429): upstream is busy"),
        "{}",
        error.message
    );

    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\n";
    for event in [
        r#"{"error":{"code":"server_error","message":"crashed"}}"#,
        r#"{"error":"crashed"}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"error","error":{"code":502,"message":"crashed"}}]}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"error"}]}"#,
    ] {
        let events = format!("{text}data: {event}\n\ndata: [DONE]\n\n");
        let error = outcome(stream(&events, 5)).await.unwrap_err();
        assert_eq!(
            (error.kind, error.maybe_charged),
            (ServerError, true),
            "{event}"
        );
    }
    for body in [
        r#"{"object":"error","message":"crashed"}"#,
        r#"[{"error":{"message":"crashed"}}]"#,
    ] {
        let error = outcome(response(200, "", body)).await.unwrap_err();
        assert!(
            error.kind == ServerError && error.message.contains("crashed"),
            "{}",
            error.message
        );
    }
}

#[tokio::test]
async fn a_stream_that_ends_early_is_never_an_answer() {
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\n";
    let cut = format!("{text}data: {{\"choices\":[{{\"delta\":{{\"cont");
    for events in [text, &cut] {
        let server = Server::bytes(stream(events, 9)).await;
        let (outcome, deltas) = call(config(&server), &question()).await;
        let error = outcome.unwrap_err();
        assert_eq!((error.kind, error.maybe_charged), (MalformedResponse, true));
        assert!(
            error.message.contains("ended before it was complete"),
            "{}",
            error.message
        );
        assert_eq!(deltas, "Hello");
    }
    // The connection breaks: the last, empty chunk never comes.
    let mut broken = STREAM.as_bytes().to_vec();
    broken.extend(chunk(text.as_bytes()));
    let error = outcome(broken).await.unwrap_err();
    assert_eq!(
        (error.kind, error.maybe_charged),
        (Unreachable, true),
        "{}",
        error.message
    );
    assert!(
        error.message.contains("broke during the answer"),
        "{}",
        error.message
    );
    // A body without length that just ends.
    let error = outcome(format!("HTTP/1.1 200 OK\r\n\r\n{text}"))
        .await
        .unwrap_err();
    assert_eq!(error.kind, MalformedResponse);
    // A whole answer that is cut.
    let error = outcome("HTTP/1.1 200 OK\r\n\r\n{\"choices\":[{\"mess")
        .await
        .unwrap_err();
    assert_eq!((error.kind, error.maybe_charged), (MalformedResponse, true));
    let error = outcome("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"ch")
        .await
        .unwrap_err();
    assert_eq!((error.kind, error.maybe_charged), (Unreachable, true));
}

#[tokio::test]
async fn what_is_no_answer_is_malformed() {
    for (body, says) in [
        ("", "is empty"),
        (" \r\n", "is empty"),
        ("<!doctype html><title>Welcome</title>", "is an HTML page"),
        ("{]", "is not valid JSON"),
        ("{}", "holds no answer"),
        (r#"{"choices":[]}"#, "holds no answer"),
        (r#"{"choices":7}"#, "holds no answer"),
        ("garbage", "is neither JSON nor a stream of events"),
        ("data: garbage\n\n", "is not valid JSON"),
        ("data: [DONE]\n\n", "ended before it was complete"),
        (
            "data: {\"choices\":[]}\n\ndata: [DONE]\n\n",
            "ended before it was complete",
        ),
    ] {
        let error = outcome(response(200, "x-request-id: req_9\r\n", body))
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind, error.maybe_charged),
            (MalformedResponse, true),
            "{body}"
        );
        assert!(error.kind.is_retryable());
        assert!(error.message.contains(says), "{body}: {}", error.message);
        assert!(
            error
                .message
                .contains("is OPENAI_BASE_URL right? (http://127.0.0.1:")
        );
        assert_eq!(error.request_id.as_deref(), Some("req_9"));
    }
}

/// A machine with other work may need long for 32 MiB.
fn patient(server: &Server) -> Config {
    Config {
        timeout: Duration::from_secs(100),
        ..config(server)
    }
}

#[tokio::test]
async fn an_endless_body_is_cut_off() {
    let event = "data: {\"choices\":[{\"delta\":{}}]}\n\n".repeat(2000);
    for (first, again, says) in [
        ("", event.as_str(), "larger than 32 MiB"),
        ("data: ", "xxxxxxxxxxxxxxxx", "line of more than 8 MiB"),
        ("{", "                ", "larger than 32 MiB"),
        ("", "\n\n\n\n\n\n\n\n", "larger than 32 MiB"),
    ] {
        let again = if again.len() < 100 {
            again.repeat(4096)
        } else {
            again.to_owned()
        };
        let server = Server::start(vec![vec![
            Step::Send(STREAM.into()),
            Step::Send(chunk(format!("{first} ").as_bytes())),
            Step::Repeat(chunk(again.as_bytes())),
        ]])
        .await;
        let error = call(patient(&server), &question()).await.0.unwrap_err();
        assert_eq!(error.kind, MalformedResponse, "{}", error.message);
        assert!(error.message.contains(says), "{}", error.message);
    }
    // Of an error only the beginning is read, and the status still counts.
    let head = "HTTP/1.1 429 x\r\ntransfer-encoding: chunked\r\n\r\n";
    let server = Server::start(vec![vec![
        Step::Send(head.into()),
        Step::Repeat(chunk(&[b'x'; 5000])),
    ]])
    .await;
    let error = call(patient(&server), &question()).await.0.unwrap_err();
    assert_eq!(error.kind, RateLimited);
    assert!(error.message.len() < 400, "{}", error.message);
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let text = chunk(b"data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\n");
    let short = Duration::from_millis(150);
    let whole = |server: &Server| Config {
        timeout: short,
        ..config(server)
    };
    let idle = |server: &Server| Config {
        idle_timeout: short,
        ..config(server)
    };

    let server = Server::start(vec![vec![Step::Hang]]).await;
    let error = call(whole(&server), &question()).await.0.unwrap_err();
    assert_eq!((error.kind, error.maybe_charged), (Timeout, true));
    assert!(
        error.message.contains("did not answer within 0.15 s"),
        "{}",
        error.message
    );

    let steps = vec![
        Step::Send(STREAM.into()),
        Step::Send(text.clone()),
        Step::Hang,
    ];
    let server = Server::start(vec![steps]).await;
    let (outcome, deltas) = call(idle(&server), &question()).await;
    let error = outcome.unwrap_err();
    assert_eq!((error.kind, error.maybe_charged), (Timeout, true));
    assert!(
        error.message.contains("stopped in the middle"),
        "{}",
        error.message
    );
    assert_eq!(deltas, "Hello");

    // A model may think longer than that before its first word.
    let done = chunk(b"data: [DONE]\n\n");
    let steps = vec![
        Step::Send(STREAM.into()),
        Step::Pause(short * 3),
        Step::Send([text, done, b"0\r\n\r\n".to_vec()].concat()),
    ];
    let server = Server::start(vec![steps]).await;
    assert_eq!(
        call(idle(&server), &question()).await.0.unwrap().content,
        "Hello"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_was_not_charged() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let error = call(
        Config {
            base_url,
            ..Config::new(Provider::OpenAi, "m")
        },
        &question(),
    )
    .await
    .0
    .unwrap_err();
    assert_eq!(
        (error.kind, error.status, error.maybe_charged),
        (Unreachable, None, false)
    );
    assert!(
        error
            .message
            .contains("cannot be reached (Connection refused"),
        "{}",
        error.message
    );
    assert!(
        error.message.contains("OPENAI_BASE_URL"),
        "{}",
        error.message
    );

    let server = Server::start(vec![vec![Step::Close]]).await;
    let error = call(config(&server), &question()).await.0.unwrap_err();
    assert_eq!(
        (error.kind, error.status, error.maybe_charged),
        (Unreachable, None, true)
    );
    assert!(
        error.message.contains("closed the connection unanswered"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn a_missing_key_and_a_redirect_are_named() {
    let server = Server::bytes(response(401, "", "")).await;
    let config = Config {
        api_key: None,
        provider: Provider::OpenRouter,
        ..config(&server)
    };
    let error = call(config, &question()).await.0.unwrap_err();
    assert!(
        error
            .message
            .contains("no API key was sent: set OPENROUTER_API_KEY"),
        "{error}"
    );

    let error = outcome(response(301, "location: https://x.test/v1\r\n", ""))
        .await
        .unwrap_err();
    assert_eq!(error.kind, InvalidRequest);
    assert!(
        error
            .message
            .contains("OPENAI_BASE_URL must name the place it redirects to"),
        "{error}"
    );
}

#[tokio::test]
async fn an_error_holds_neither_key_nor_conversation() {
    let secret = "The launch code of the northern site is 4711-ABC, tell nobody.";
    let mut request = question();
    request.messages.push(Arc::new(Message::Tool {
        step: agentkit::StepId(2),
        provider_id: "a".to_owned(),
        name: "read_file".to_owned(),
        content: secret.to_owned(),
        is_error: false,
        images: Vec::new(),
    }));
    let bytes = format!("iVBORw0KGgo{}", "A".repeat(100));
    request.messages.push(Arc::new(Message::User {
        content: "Look.".to_owned(),
        images: vec![
            Image::Url {
                url: "https://img.test/a.png?sig=letmein".to_owned(),
            },
            Image::Inline {
                media_type: "image/png".to_owned(),
                base64: bytes.clone(),
            },
        ],
    }));
    let long = "x".repeat(5000);
    let quoted = format!("input should be short: '{}...'", &secret[8..50]);
    for (message, hidden) in [
        (format!("the key {KEY} is wrong"), KEY),
        (format!("header value-123456 is wrong, {KEY}{KEY}"), KEY),
        (quoted, "launch"),
        (format!("{} {}", "y".repeat(190), secret), "launch"),
        (
            format!("bad request: What is the total of the sales? {long}"),
            "total",
        ),
        ("sk-abc is not a key".to_owned(), "abc"),
        ("98765-abcdef is not known".to_owned(), "98765"),
        (
            "cannot download https://img.test/a.png?sig=letmein".to_owned(),
            "letmein",
        ),
        (
            format!("invalid image: data:image/png;base64,{}", &bytes[..40]),
            "iVBOR",
        ),
    ] {
        for body in [
            json!({ "error": { "message": message } }).to_string(),
            message.clone(),
        ] {
            let server = Server::bytes(response(400, "", &body)).await;
            let mut config = config(&server);
            config.headers = vec![
                ("x-key".to_owned(), "value-123456".to_owned()),
                ("x-auth".to_owned(), "Token 98765-abcdef".to_owned()),
            ];
            let error = call(config, &request).await.0.unwrap_err();
            assert_eq!(error.kind, InvalidRequest);
            let shown = format!("{error} {error:?}");
            assert!(
                !shown.contains(hidden) && !shown.contains("value-123456"),
                "{shown}"
            );
            assert!(error.message.chars().count() < 350, "{}", error.message);
        }
    }
}
