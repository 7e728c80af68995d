//! The embedder over HTTP, against a server of this test.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use agentkit_memory::{
    EmbedError, Embedder,
    embedder::http::{HttpEmbedder, Settings},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// A server that gives these answers, one after the other: status, further headers, body. It keeps the requests.
async fn server(answers: Vec<(u16, &'static str, String)>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let requests = Arc::clone(&seen);
    tokio::spawn(async move {
        for (status, headers, body) in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            loop {
                let text = String::from_utf8_lossy(&request).into_owned();
                if let Some((head, content)) = text.split_once("\r\n\r\n") {
                    let length = head.lines().find_map(|line| {
                        let (name, value) = line.split_once(": ")?;
                        name.eq_ignore_ascii_case("content-length")
                            .then(|| value.parse::<usize>())
                    });
                    if length.is_some_and(|length| content.len() >= length.unwrap()) {
                        break;
                    }
                }
                let read = stream.read(&mut buffer).await.unwrap();
                request.extend_from_slice(&buffer[..read]);
            }
            requests
                .lock()
                .unwrap()
                .push(String::from_utf8(request).unwrap());
            let answer = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, seen)
}

fn embedder(base_url: String) -> HttpEmbedder {
    HttpEmbedder::new(Settings {
        base_url,
        api_key: Some("test-key-of-this-test".to_owned()),
        model: "tiny".to_owned(),
        dimensions: Some(2),
        batch: Some(8),
        timeout: Duration::from_secs(5),
    })
    .unwrap()
}

fn good() -> (u16, &'static str, String) {
    let body =
        r#"{"data": [{"index": 1, "embedding": [0, 2]}, {"index": 0, "embedding": [1, 0]}]}"#;
    (200, "", body.to_owned())
}

fn two() -> [String; 2] {
    ["one".to_owned(), "two".to_owned()]
}

#[tokio::test]
async fn a_call_has_its_key_and_its_texts_and_passing_errors_are_tried_again() {
    let busy = (429, "retry-after: 0\r\n", "{}".to_owned());
    let (url, seen) = server(vec![busy, (503, "", String::new()), good()]).await;
    let embedder = embedder(url);
    let vectors = embedder.embed(&two()).await.unwrap();
    assert_eq!(vectors, [vec![1.0, 0.0], vec![0.0, 2.0]]);
    assert_eq!(embedder.fingerprint(), "openai:tiny:2");
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert!(seen[2].starts_with("POST /v1/embeddings "), "{}", seen[2]);
    assert!(
        seen[2]
            .to_lowercase()
            .contains("authorization: bearer test-key-of-this-test")
    );
    let (_, body) = seen[2].split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let expected = serde_json::json!({
        "model": "tiny", "input": ["one", "two"], "encoding_format": "float", "dimensions": 2,
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn an_error_is_told_without_the_key() {
    let body = r#"{"error": {"message": "the key test-key-of-this-test is not valid"}}"#;
    let (url, seen) = server(vec![(401, "", body.to_owned())]).await;
    let error = embedder(url).embed(&two()).await.unwrap_err();
    assert_eq!(
        error,
        EmbedError::Away("it answers 401: the key [redacted] is not valid".to_owned())
    );
    assert_eq!(seen.lock().unwrap().len(), 1, "no other try helps");
    let (url, _) = server(vec![(
        400,
        "",
        r#"{"detail": "too many inputs"}"#.to_owned(),
    )])
    .await;
    let error = embedder(url).embed(&two()).await.unwrap_err();
    assert_eq!(
        error,
        EmbedError::Refused("it answers 400: too many inputs".to_owned())
    );
}

#[tokio::test]
async fn a_server_that_wants_a_long_wait_or_is_not_there_is_away() {
    let (url, seen) = server(vec![(429, "retry-after: 3600\r\n", String::new())]).await;
    assert!(matches!(
        embedder(url).embed(&two()).await,
        Err(EmbedError::Away(_))
    ));
    assert_eq!(seen.lock().unwrap().len(), 1);
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let error = embedder(format!("http://{closed}"))
        .embed(&two())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, EmbedError::Away(message) if message.contains("cannot be reached")),
        "{error}"
    );
    for base in ["nowhere", "ftp://example.com", ""] {
        let settings = Settings {
            base_url: base.to_owned(),
            api_key: None,
            model: String::new(),
            dimensions: None,
            batch: None,
            timeout: Duration::from_secs(1),
        };
        assert!(HttpEmbedder::new(settings).is_err(), "{base}");
    }
}
