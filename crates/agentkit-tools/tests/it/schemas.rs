//! What the model sees of the tools, and what it is told of wrong arguments.

use agentkit::tool::Effect;
use serde_json::{Value, json};

use crate::harness::Harness;

#[test]
fn every_tool_says_what_repeating_it_does() {
    let harness = Harness::new();
    let effects: Vec<_> = harness
        .gate()
        .registry()
        .specs()
        .iter()
        .map(|spec| (spec.name.clone(), spec.effect))
        .collect();
    let expected = [
        ("calculator", Effect::Pure),
        ("current_time", Effect::Idempotent),
        ("edit_file", Effect::Write),
        ("http_fetch", Effect::Idempotent),
        ("http_request", Effect::Write),
        ("json_query", Effect::Pure),
        ("list_files", Effect::Pure),
        ("read_file", Effect::Pure),
        ("read_result", Effect::Pure),
        ("search_files", Effect::Pure),
        ("write_file", Effect::Idempotent),
    ];
    assert_eq!(
        effects,
        expected.map(|(name, effect)| (name.to_owned(), effect))
    );
}

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
            "'append' was unexpected",
        ),
        (
            "read_result",
            json!({"handle": 7}),
            r#"at `/handle`: 7 is not of type "string""#,
        ),
        (
            "current_time",
            json!({"timezone": null}),
            "at `/timezone`: null is not of type",
        ),
    ] {
        let error = harness.call(name, arguments).await.unwrap_err();
        assert_eq!(error.code, "invalid_arguments");
        assert!(error.message.contains(expected), "{}", error.message);
    }
    // The schema takes this for an integer.
    let error = harness
        .call("read_file", json!({"path": "a", "limit": 5.0}))
        .await
        .unwrap_err();
    assert_eq!(error.code, "invalid_arguments");
}

#[tokio::test]
async fn the_simple_tools_answer() {
    let mut harness = Harness::new();
    let sum = harness
        .ok("calculator", json!({"expression": "0.1 + 0.2"}))
        .await;
    assert_eq!(sum, json!({"result": "0.3"}));
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
