//! Querying JSON from wherever it is.

use std::fs;

use serde_json::json;

use crate::harness::Harness;

#[tokio::test]
async fn a_document_comes_from_a_file_a_result_or_the_call() {
    let mut harness = Harness::new();
    let document = json!({"items": (0..1000).map(|n| json!({"n": n})).collect::<Vec<_>>()});
    fs::write(harness.path().join("data.json"), document.to_string()).unwrap();
    let last = json!({"count": 1, "values": [999]});
    let query = "$.items[-1].n";
    let arguments = json!({"query": query, "path": "data.json"});
    assert_eq!(harness.ok("json_query", arguments).await, last);
    let arguments = json!({"query": query, "json": document});
    assert_eq!(harness.ok("json_query", arguments).await, last);

    let arguments = json!({"query": "$..n", "json": document, "max_matches": 3});
    assert_eq!(
        harness.ok("json_query", arguments).await,
        json!({"count": 1000, "cut": "these are the first 3", "values": [0, 1, 2]})
    );
    // A large result is itself a document.
    let shown = harness
        .ok(
            "json_query",
            json!({"query": "$", "json": {"a": "x".repeat(20_000), "b": 7}}),
        )
        .await;
    let handle = shown["handle"].as_str().unwrap();
    let arguments = json!({"query": "$.values[0].b", "handle": handle});
    assert_eq!(
        harness.ok("json_query", arguments).await,
        json!({"count": 1, "values": [7]})
    );
    let arguments = json!({"query": "$", "json": null});
    assert_eq!(
        harness.ok("json_query", arguments).await,
        json!({"count": 1, "values": [null]})
    );
}

#[tokio::test]
async fn mistakes_are_told() {
    let mut harness = Harness::new();
    fs::write(harness.path().join("text"), "{'a': 1}").unwrap();
    fs::write(harness.path().join("deep"), "[".repeat(100_000)).unwrap();
    fs::write(harness.path().join("objects"), "{},".repeat(1 << 20)).unwrap();
    fs::write(harness.path().join("latin"), b"\"gr\xfcn\"").unwrap();
    fs::File::create(harness.path().join("huge"))
        .unwrap()
        .set_len(65 << 20)
        .unwrap();
    for (arguments, code) in [
        (json!({"query": "$"}), "invalid_arguments"),
        (
            json!({"query": "$", "path": "text", "json": 1}),
            "invalid_arguments",
        ),
        (json!({"query": "a", "json": 1}), "invalid_query"),
        (json!({"query": "$", "path": "text"}), "not_json"),
        (json!({"query": "$", "path": "deep"}), "not_json"),
        (json!({"query": "$", "path": "latin"}), "not_json"),
        (
            json!({"query": "$", "path": "objects"}),
            "document_too_large",
        ),
        (json!({"query": "$", "path": "huge"}), "file_too_large"),
        (json!({"query": "$", "path": "none"}), "not_found"),
        (json!({"query": "$", "path": "../x"}), "invalid_path"),
        (json!({"query": "$", "handle": "call_7"}), "unknown_handle"),
        (
            json!({"query": "$", "json": 1, "inside": "/a"}),
            "invalid_arguments",
        ),
    ] {
        assert_eq!(
            harness.code("json_query", arguments.clone()).await,
            code,
            "{arguments}"
        );
    }
}
