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
    fs::write(harness.path().join("binary"), b"\x89PNG\r\n\0").unwrap();
    fs::write(harness.path().join("deep"), "[".repeat(100_000)).unwrap();
    fs::write(
        harness.path().join("objects"),
        format!("[{}0]", "0,".repeat(6 << 20)),
    )
    .unwrap();
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
        (json!({"query": "$", "path": "deep"}), "document_too_large"),
        (json!({"query": "$", "path": "binary"}), "not_json"),
        (
            json!({"query": "$", "path": "text", "encoding": "utf-99"}),
            "unknown_encoding",
        ),
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

/// tools/T9: what spreadsheets and Windows write is read, and what was assumed is told.
#[tokio::test]
async fn a_document_is_read_in_the_encoding_that_it_has() {
    let mut harness = Harness::new();
    let utf16: Vec<u8> = "\u{feff}{\"a\":\"grün\"}"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    for (name, bytes, told) in [
        ("plain", "{\"a\":\"grün\"}".as_bytes(), None),
        ("bom", "\u{feff}{\"a\":\"grün\"}".as_bytes(), None),
        (
            "ansi",
            b"{\"a\":\"gr\xfcn\"}".as_slice(),
            Some("windows-1252, assumed as it is not UTF-8"),
        ),
        (
            "wide",
            &utf16,
            Some("UTF-16LE, as its byte order mark says"),
        ),
    ] {
        fs::write(harness.path().join(name), bytes).unwrap();
        let result = harness
            .ok("json_query", json!({"query": "$.a", "path": name}))
            .await;
        assert_eq!(result["values"], json!(["grün"]), "{name}");
        assert_eq!(result.get("encoding").and_then(|told| told.as_str()), told);
    }
    fs::write(harness.path().join("cyrillic"), b"\"\xcf\xf0\xe8\"").unwrap();
    let arguments = json!({"query": "$", "path": "cyrillic", "encoding": "windows-1251"});
    assert_eq!(
        harness.ok("json_query", arguments).await["values"],
        json!(["При"])
    );
}

/// tools/T4: one odd value does not hide the others, and no digit is lost.
#[tokio::test]
async fn odd_values_do_not_hide_the_rest_of_a_document() {
    let mut harness = Harness::new();
    let text = r#"[{"id": 12345678901234567890123}, {"id": 1e400}, {"id": "\ud83d"}]"#;
    fs::write(harness.path().join("odd.json"), text).unwrap();
    let arguments = json!({"query": "$[*].id", "path": "odd.json"});
    assert_eq!(
        harness.ok("json_query", arguments).await,
        json!({
            "count": 3,
            "values": ["12345678901234567890123", "1e400", "\u{fffd}"],
            "numbers_as_text": 2,
            "lone_surrogates": 1,
        })
    );
    // The same digits, in a document that the call itself holds as text.
    let arguments =
        json!({"query": "$.id", "json": "{\"id\": 0.12345678901234567890}", "inside": ""});
    assert_eq!(
        harness.ok("json_query", arguments).await["values"],
        json!(["0.12345678901234567890"])
    );
}

/// tools/T2: a pattern that matches nothing because it cannot be used is told.
#[tokio::test]
async fn a_pattern_that_cannot_be_used_is_told() {
    let mut harness = Harness::new();
    let document = json!([{"n": "Müller", "p": "["}]);
    let arguments = json!({"query": "$[?search(@.n,\"^\\\\w{2,10}$\")].n", "json": document});
    assert_eq!(
        harness.ok("json_query", arguments).await["values"],
        json!(["Müller"])
    );
    let arguments = json!({"query": "$[?search(@.n,'(?=M)')].n", "json": document});
    assert_eq!(harness.code("json_query", arguments).await, "invalid_query");
    let arguments = json!({"query": "$[?search(@.n,@.p)].n", "json": document});
    let result = harness.ok("json_query", arguments).await;
    let why = result["unusable_patterns"][0].as_str().unwrap();
    assert!(why.contains("unclosed character class"), "{why}");
}

/// tools/T13: a table is data: from a file as a spreadsheet writes it, and from a large result.
#[tokio::test]
async fn a_table_is_queried_where_it_is() {
    let mut harness = Harness::new();
    fs::write(
        harness.path().join("a.csv"),
        b"Name;Betrag\r\nM\xfcller;1.000,50\r\nX;0,25\r\n",
    )
    .unwrap();
    let arguments = json!({
        "path": "a.csv", "decimal": ",",
        "aggregate": [{"fn": "sum", "column": "Betrag", "as": "sum"}],
    });
    assert_eq!(
        harness.ok("table_query", arguments).await,
        json!({
            "columns": ["sum"], "rows": [["1000.75"]], "count": 1, "rows_read": 2, "rows_matched": 2,
            "delimiter": ";", "encoding": "windows-1252, assumed as it is not UTF-8",
        })
    );
    let text: String = (0..5000).map(|n| format!("{{\"n\": {n}}}\n")).collect();
    let shown = harness
        .ok("json_query", json!({"query": "$", "json": {"text": text}}))
        .await;
    let arguments = json!({
        "handle": shown["handle"], "inside": "/values/0/text",
        "where": [{"column": "n", "op": ">=", "value": 4998}],
    });
    let result = harness.ok("table_query", arguments).await;
    assert_eq!(result["rows"], json!([[4998], [4999]]));
    for (arguments, code) in [
        (json!({}), "invalid_arguments"),
        (
            json!({"path": "a.csv", "handle": "call_1"}),
            "invalid_arguments",
        ),
        (json!({"path": "a.csv", "limit": 1001}), "invalid_arguments"),
        (
            json!({"path": "a.csv", "where": [{"column": "Name", "op": "like"}]}),
            "invalid_arguments",
        ),
        (
            json!({"path": "a.csv", "select": ["Nam"]}),
            "unknown_column",
        ),
        (json!({"path": "none"}), "not_found"),
        (json!({"path": "../a.csv"}), "invalid_path"),
        (json!({"handle": "call_9"}), "unknown_handle"),
    ] {
        assert_eq!(
            harness.code("table_query", arguments.clone()).await,
            code,
            "{arguments}"
        );
    }
}
