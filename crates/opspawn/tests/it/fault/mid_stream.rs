//! Killed in the middle of an answer, some of whose words were there already.

use std::sync::Arc;

use serde_json::json;

use super::story::{Cost, Held, Kill, Story};
use crate::provider::{CHAT, GENERATE_CONTENT, MESSAGES, OPENROUTER, RESPONSES, Wire};

/// A write, then an answer.
fn story(wire: Wire, stream: bool) -> Story {
    Story {
        wire,
        stream,
        env: vec![],
        input: json!({"goal": "write it down"}),
        script: Arc::new(move |nth, _| match nth {
            0 => wire.writes("once", stream),
            _ => wire.says(["Grü", "ße 😀"], stream),
        }),
        is_of_child: |_| false,
    }
}

/// The answer is cut in the middle.
async fn cut(wire: Wire, stream: bool) {
    let kill = Kill::Request {
        of_child: false,
        nth: 1,
        held: Held::Shown("Grü"),
    };
    let (cost, told) = story(wire, stream).survives(kill).await;
    let task = &told.tasks[0];
    assert_eq!(task.task["result"]["answer"], "Grüße 😀");
    let last = task.steps.last().unwrap();
    assert_eq!(
        (&last["kind"], &last["attempt"]),
        (&json!("model"), &json!(2))
    );
    assert_eq!(
        cost,
        Cost {
            asked_again: vec![(0, 1)],
            begun_again: vec![(0, last["step"].as_u64().unwrap())],
        }
    );
    assert_eq!(task.history.losses, 1);
    // The provider counts 100 and 40 for each call; what was cut off counts nowhere.
    let usage = &task.task["usage"];
    assert_eq!(
        (&usage["input_tokens"], &usage["output_tokens"]),
        (&json!(200), &json!(80))
    );
}

#[tokio::test]
async fn a_stream_that_had_begun_is_asked_for_again() {
    for wire in [CHAT, RESPONSES, MESSAGES, GENERATE_CONTENT, OPENROUTER] {
        cut(wire, true).await;
    }
}

#[tokio::test]
async fn an_answer_that_had_begun_is_asked_for_again() {
    for wire in [CHAT, RESPONSES, MESSAGES, GENERATE_CONTENT, OPENROUTER] {
        cut(wire, false).await;
    }
}

/// The write itself is cut, in the middle of its arguments where they come in pieces.
#[tokio::test]
async fn a_call_that_had_begun_to_come_is_made_once() {
    for (wire, words) in [
        (CHAT, "{\"key"),
        (RESPONSES, "{\"key"),
        (MESSAGES, "{\"key"),
        (GENERATE_CONTENT, "Grü"),
        (OPENROUTER, "{\"key"),
    ] {
        for stream in [true, false] {
            let kill = Kill::Request {
                of_child: false,
                nth: 0,
                held: Held::Begun(words),
            };
            let (cost, told) = story(wire, stream).survives(kill).await;
            assert_eq!(told.tasks[0].task["result"]["answer"], "Grüße 😀");
            assert_eq!(
                cost,
                Cost {
                    asked_again: vec![(0, 0)],
                    begun_again: vec![(0, 1)],
                }
            );
        }
    }
}
