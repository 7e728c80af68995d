//! Killed while the model is asked again for an answer that matches its schema.

use std::sync::Arc;

use serde_json::json;

use super::story::{Cost, Held, Kill, Story};
use crate::provider::{CHAT, GENERATE_CONTENT, MESSAGES, OPENROUTER, RESPONSES, Wire};

/// A write, two answers that do not match, and one that does, which is cut in the middle.
async fn cut(wire: Wire, stream: bool) {
    let story = Story {
        wire,
        stream,
        env: vec![],
        input: json!({"goal": "add 1 and 1", "agent_config": {"output_schema": {
            "type": "object", "required": ["sum"], "additionalProperties": false,
            "properties": {"sum": {"type": "integer"}}}}}),
        script: Arc::new(move |nth, _| match nth {
            0 => wire.writes("once", stream),
            1 => wire.says(["Zwei, ", "would I say."], stream),
            2 => wire.says(["{\"sum\": ", "\"2\"}"], stream),
            _ => wire.says(["{\"sum\": ", "2}"], stream),
        }),
        is_of_child: |_| false,
    };
    let kill = Kill::Request {
        of_child: false,
        nth: 3,
        held: Held::Shown("{\"sum\": "),
    };
    let (cost, told) = story.survives(kill).await;
    let task = &told.tasks[0];
    assert_eq!(task.task["result"]["answer"], json!({"sum": 2}));
    let last = task.steps.last().unwrap()["step"].as_u64().unwrap();
    assert_eq!(
        cost,
        Cost {
            asked_again: vec![(0, 3)],
            begun_again: vec![(0, last)],
        }
    );
    assert_eq!(task.history.losses, 1);
    // Only the last failure is told, once, before the kill and after it.
    let asked = &task.bodies[3..];
    assert_eq!(asked.len(), 2);
    for body in asked {
        assert_eq!(body.matches("is not of type").count(), 1, "{body}");
        assert!(!body.contains("Zwei"), "{body}");
    }
    assert!(task.bodies[2].contains("Zwei"), "{}", task.bodies[2]);
    let answers = task.events("model.completed");
    let refused: Vec<_> = answers
        .iter()
        .map(|data| data["refused"]["code"].as_str())
        .collect();
    let mismatch = Some("output_mismatch");
    assert_eq!(refused, [None, mismatch, mismatch, None]);
}

#[tokio::test]
async fn a_streamed_reask_is_the_same_request_again() {
    for wire in [CHAT, RESPONSES, MESSAGES, GENERATE_CONTENT, OPENROUTER] {
        cut(wire, true).await;
    }
}

#[tokio::test]
async fn a_reask_is_the_same_request_again() {
    for wire in [CHAT, RESPONSES, MESSAGES, GENERATE_CONTENT, OPENROUTER] {
        cut(wire, false).await;
    }
}
