//! What the model sees of the tools, and what it is told of wrong arguments.

use std::collections::BTreeSet;

use agentkit::{
    policy::PolicyContext,
    tool::{Effect, Resource, Resources},
};
use serde_json::{Value, json};

use crate::harness::Harness;

#[tokio::test]
async fn wrong_arguments_are_told_so_that_they_can_be_mended() {
    let mut harness = Harness::new();
    for (name, arguments, expected) in [
        (
            "calculator",
            json!({}),
            r#""expression" is a required property"#,
        ),
        (
            "calculator",
            json!({"expression": 5}),
            r#"at `/expression`: 5 is not of type "string""#,
        ),
        (
            "read_file",
            json!({"path": "a", "limit": 16_385}),
            "at `/limit`: 16385 is greater than",
        ),
        (
            "read_file",
            json!({"path": "a", "offset": -1}),
            "at `/offset`: -1 is less than",
        ),
        (
            "write_file",
            json!({"path": "a", "content": "", "append": true}),
            r#""append" is not a property that is allowed; there are "content", "path""#,
        ),
        (
            "read_result",
            json!({"handle": 7}),
            r#"at `/handle`: 7 is not of type "string""#,
        ),
        (
            "current_time",
            json!({"timezone": [null]}),
            "at `/timezone`: [null] is not of type",
        ),
    ] {
        let error = harness.call(name, arguments).await.unwrap_err();
        assert_eq!(error.code, "invalid_arguments");
        assert!(error.message.contains(expected), "{}", error.message);
    }
    let error = harness
        .call("read_file", json!({"path": "a", "limit": 5.5}))
        .await
        .unwrap_err();
    assert_eq!(error.code, "invalid_arguments");
}

/// tools/T10: these passed the schema and then failed, or were refused.
#[tokio::test]
async fn whole_floats_are_integers_and_null_leaves_an_optional_argument_out() {
    let mut harness = Harness::new();
    std::fs::write(harness.path().join("a"), "0123456789").unwrap();
    let page = json!({"path": "a", "offset": 3.0, "limit": 5.0});
    assert_eq!(harness.ok("read_file", page).await["text"], "34567");
    let nulls = json!({"path": "a", "offset": null, "limit": null});
    assert_eq!(harness.ok("read_file", nulls).await["text"], "0123456789");
    let time = harness.ok("current_time", json!({"timezone": null})).await;
    assert_eq!(time, harness.ok("current_time", json!({})).await);
    let path = harness.call("read_file", json!({"path": null})).await;
    assert_eq!(path.unwrap_err().code, "invalid_arguments");
}

#[tokio::test]
async fn the_simple_tools_answer() {
    let mut harness = Harness::new();
    let sum = harness
        .ok("calculator", json!({"expression": "0.1 + 0.2"}))
        .await;
    assert_eq!(sum, json!({"result": "0.3", "exact": true}));
    let third = harness
        .ok("calculator", json!({"expression": "100 / 3"}))
        .await;
    assert_eq!(
        third,
        json!({"result": "33.33333333333333333333333333333333", "exact": false, "digits": 34})
    );
    let error = harness
        .call("calculator", json!({"expression": "1 / 0"}))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("division_by_zero", false)
    );
    let time = harness
        .ok("current_time", json!({"timezone": "Asia/Tokyo"}))
        .await;
    assert_eq!(time["local"], "2025-04-12T19:00:00+09:00");
    let time = harness
        .ok("current_time", Value::Object(serde_json::Map::new()))
        .await;
    assert_eq!(time["timezone"], "UTC");
}

/// What repeating each tool's calls does, and what a call of it touches.
#[tokio::test]
async fn each_tool_says_what_its_calls_do_and_touch() {
    use Effect::{Idempotent, Pure, Write};
    use Resource::{File, Folder, Tree, Url};
    let harness = Harness::new();
    let file = |path: &str| vec![File(path.to_owned())];
    let url = || vec![Url("http://a.example/x".to_owned())];
    let none = Vec::new;
    let table = [
        (
            "calculator",
            Pure,
            json!({"expression": "1"}),
            none(),
            none(),
        ),
        ("current_time", Idempotent, json!({}), none(), none()),
        (
            "edit_file",
            Write,
            json!({"path": "./a", "old": "x", "new": "y"}),
            file("a"),
            file("a"),
        ),
        (
            "http_fetch",
            Idempotent,
            json!({"url": "HTTP://a.example:80/x"}),
            url(),
            none(),
        ),
        (
            "http_fetch",
            Idempotent,
            json!({"url": "http://a.example/x", "save_as": "d/../a"}),
            url(),
            file("a"),
        ),
        (
            "http_request",
            Write,
            json!({"url": "http://a.example/x", "method": "POST"}),
            url(),
            url(),
        ),
        (
            "json_query",
            Pure,
            json!({"query": "$", "path": "a"}),
            file("a"),
            none(),
        ),
        (
            "json_query",
            Pure,
            json!({"query": "$", "json": 1}),
            none(),
            none(),
        ),
        (
            "list_files",
            Pure,
            json!({}),
            vec![Folder(".".to_owned())],
            none(),
        ),
        (
            "list_files",
            Pure,
            json!({"path": "d/", "recursive": true}),
            vec![Tree("d".to_owned())],
            none(),
        ),
        ("read_file", Pure, json!({"path": "a"}), file("a"), none()),
        (
            "read_result",
            Pure,
            json!({"handle": "call_2"}),
            none(),
            none(),
        ),
        (
            "search_files",
            Pure,
            json!({"pattern": "x"}),
            vec![Tree(".".to_owned())],
            none(),
        ),
        (
            "search_files",
            Pure,
            json!({"pattern": "x", "path": "d"}),
            vec![Tree("d".to_owned())],
            none(),
        ),
        (
            "search_result",
            Pure,
            json!({"handle": "call_2", "pattern": "x"}),
            none(),
            none(),
        ),
        ("table_query", Pure, json!({"path": "a"}), file("a"), none()),
        (
            "write_file",
            Idempotent,
            json!({"path": "b/../a", "content": ""}),
            none(),
            file("a"),
        ),
        (
            "write_file",
            Idempotent,
            json!({"path": "../a", "content": ""}),
            none(),
            vec![Resource::Everything],
        ),
    ];
    for (name, effect, arguments, reads, writes) in &table {
        let context = PolicyContext::default();
        let judged = harness.gate().recheck(name, arguments.clone(), &context);
        let admission = judged.await;
        assert_eq!(admission.error, None, "{name}");
        assert_eq!(admission.effect, *effect, "{name}");
        let (reads, writes) = (reads.clone(), writes.clone());
        let resources = Some(Resources { reads, writes });
        assert_eq!(admission.resources, resources, "{name} {arguments}");
    }
    let listed: BTreeSet<_> = table.iter().map(|(name, ..)| (*name).to_owned()).collect();
    let specs = harness.gate().registry().specs();
    let tools: BTreeSet<_> = specs.iter().map(|spec| spec.name.clone()).collect();
    assert_eq!(listed, tools, "each tool has a row");
}
