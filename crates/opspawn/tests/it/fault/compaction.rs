//! Killed while a conversation that grew too large is summed up, and right after it.

use std::sync::Arc;

use serde_json::json;

use super::story::{Cost, Held, Kill, Story, StoryReport};
use crate::provider::{CHAT, completion};

/// The request that sums up, from 0.
const SUMMARY: usize = 2;
/// The step of it: after two model calls with a tool call each.
const STEP: u64 = 5;

/// Two long exchanges, a summary of the first, one more write, and the answer.
fn story(stream: bool) -> Story {
    let long = |word: &str| format!("{word} ").repeat(16_000 / (word.len() + 1));
    let writes = |key: &str| ("ledger_write", json!({"key": key}));
    Story {
        wire: CHAT,
        stream,
        env: vec![
            ("OPSPAWN_CONTEXT_TOKENS", "13000"),
            ("OPSPAWN_MEMORY_KEEP_EXCHANGES", "1"),
        ],
        input: json!({"goal": "write at length"}),
        script: Arc::new(move |nth, body| {
            let (words, call) = match nth {
                0 => (long("alpha"), Some(writes("first"))),
                1 => (long("beta"), Some(writes("second"))),
                SUMMARY => ("The first was written.".to_owned(), None),
                3 => ("One more.".to_owned(), Some(writes("third"))),
                _ => ("All three are written.".to_owned(), None),
            };
            let id = format!("call_{nth}");
            let calls: Vec<_> = call
                .into_iter()
                .map(|(name, arguments)| (&*id, name, arguments))
                .collect();
            completion(&words, &calls, (body.len() / 4, 10 + nth), stream)
        }),
        is_of_child: |_| false,
    }
}

/// What holds wherever the kill was.
fn check(told: &StoryReport) {
    let task = &told.tasks[0];
    assert_eq!(task.task["result"]["answer"], "All three are written.");
    let opened = task.events("segment.opened");
    let changes: Vec<_> = opened.iter().map(|data| &data["change"]).collect();
    assert_eq!(changes, ["summarised"], "{opened:#?}");
    assert_eq!(task.history.losses, 1);
    let step = &task.steps[usize::try_from(STEP).unwrap() - 1];
    assert_eq!(step["output"], "The first was written.", "{step:#}");
    let summary = &task.bodies[SUMMARY];
    assert!(summary.contains("You keep the notes"), "{summary}");
    let last = task.bodies.last().unwrap();
    assert!(last.contains("The first was written."), "{last}");
    assert!(!last.contains("alpha"), "{last}");
}

/// The summary is asked for once more, and its step begins once more.
fn once_more() -> Cost {
    Cost {
        asked_again: vec![(0, SUMMARY)],
        begun_again: vec![(0, STEP)],
    }
}

#[tokio::test]
async fn a_summary_under_way_is_asked_for_again() {
    for stream in [true, false] {
        for held in [Held::Begun("The first"), Held::Silence] {
            let kill = Kill::Request {
                of_child: false,
                nth: SUMMARY,
                held,
            };
            let (cost, told) = story(stream).survives(kill).await;
            check(&told);
            assert_eq!(cost, once_more());
        }
    }
}

#[tokio::test]
async fn a_summary_that_was_given_but_not_recorded_is_asked_for_again() {
    let (cost, told) = story(false)
        .survives(Kill::Point("model.after_call", 3))
        .await;
    check(&told);
    assert_eq!(cost, once_more());
}

#[tokio::test]
async fn a_summary_that_was_not_asked_for_yet_is_asked_for_once() {
    let kill = Kill::Point("model.after_intent", 3);
    let (cost, told) = story(false).survives(kill).await;
    check(&told);
    assert_eq!(
        cost,
        Cost {
            asked_again: vec![],
            begun_again: vec![(0, STEP)],
        }
    );
}

/// Its record is on disk with the intent of the call that follows it.
#[tokio::test]
async fn a_summary_that_was_recorded_is_not_asked_for_again() {
    let kill = Kill::Point("model.after_intent", 4);
    let (cost, told) = story(false).survives(kill).await;
    check(&told);
    assert_eq!(
        cost,
        Cost {
            asked_again: vec![],
            begun_again: vec![(0, STEP + 1)],
        }
    );
}
