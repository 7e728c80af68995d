//! Answers that no model should give.

use std::sync::Arc;

use agentkit::{
    Event,
    drive::{MemoryRecorder, Stop},
    event::{FinishReason, GateDecision},
    model::{Message, Response, ResponseCall},
    run::Limits,
};
use serde_json::json;

use crate::chain::{CannedModel, agent, run, said};

/// Asks for calls of `look` with these ids and arguments.
fn looks(calls: &[(&str, &str)]) -> Response {
    let call = |(id, arguments): &(&str, &str)| ResponseCall {
        provider_id: (*id).to_owned(),
        name: "look".to_owned(),
        arguments: (*arguments).to_owned(),
    };
    Response {
        calls: calls.iter().map(call).collect(),
        finish: FinishReason::ToolCalls,
        ..said("")
    }
}

fn decisions(log: &MemoryRecorder) -> Vec<String> {
    let events = log.events().into_iter();
    events
        .filter_map(|event| match event {
            Event::ToolCalled(called) => Some(match called.decision {
                GateDecision::Refuse { error } => error.message,
                GateDecision::Start | GateDecision::Queue | GateDecision::Ask { .. } => {
                    "runs".to_owned()
                }
            }),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn a_call_that_was_cut_before_its_arguments_does_not_run() {
    let cut = Response {
        finish: FinishReason::Length,
        ..looks(&[("a", "{}"), ("b", "")])
    };
    let one = CannedModel::new("a/one", vec![Ok(cut), Ok(said("done"))]);
    let log = Arc::new(MemoryRecorder::default());
    let stop = run(&agent(&[&one], Limits::default()), &log).await;
    assert_eq!(stop, Stop::Completed(json!("done")));
    let [first, second] = &*decisions(&log) else {
        panic!("two calls")
    };
    assert_eq!(first, "runs");
    assert!(second.contains("cut"), "{second}");
}

#[tokio::test]
async fn of_too_many_calls_none_is_left_out_silently() {
    let many = vec![("", "{}"); 130];
    let one = CannedModel::new("a/one", vec![Ok(looks(&many)), Ok(said("done"))]);
    let log = Arc::new(MemoryRecorder::default());
    let limits = Limits {
        max_steps: 1_000,
        ..Limits::default()
    };
    let stop = run(&agent(&[&one], limits), &log).await;
    assert_eq!(stop, Stop::Completed(json!("done")));
    let decisions = decisions(&log);
    assert_eq!(decisions.len(), 128);
    assert!(decisions[..127].iter().all(|decision| decision == "runs"));
    let last = decisions.last().unwrap();
    assert!(last.contains("130 calls") && last.contains("128"), "{last}");
}

#[tokio::test]
async fn calls_with_equal_ids_are_told_apart() {
    // Within an answer, and from one answer to the next.
    let one = CannedModel::new(
        "a/one",
        vec![
            Ok(looks(&[("call_0", "{}"), ("call_0", "{}")])),
            Ok(looks(&[("call_0", "{}"), ("call_1", "{}")])),
            Ok(said("done")),
        ],
    );
    let log = Arc::new(MemoryRecorder::default());
    let stop = run(&agent(&[&one], Limits::default()), &log).await;
    assert_eq!(stop, Stop::Completed(json!("done")));
    let asked = one.asked.lock().unwrap();
    let (mut calls, mut results) = (Vec::new(), Vec::new());
    for message in &asked.last().unwrap().messages {
        match &**message {
            Message::Assistant { calls: made, .. } => {
                calls.extend(made.iter().map(|call| call.provider_id.as_str()));
            }
            Message::Tool { provider_id, .. } => results.push(provider_id.as_str()),
            Message::System { .. } | Message::User { .. } => {}
        }
    }
    // Without one, a call has ours, by its step.
    assert_eq!(calls, ["call_0", "", "", "call_1"]);
    assert_eq!(results, calls);
}
