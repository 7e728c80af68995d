//! Killed while a child works for its parent, and around its beginning and its end.

use std::sync::Arc;

use serde_json::json;

use super::story::{Cost, Held, Kill, Story, StoryReport};
use crate::provider::{CHAT, completion};

/// The first task id in a body.
fn child_in(body: &str) -> &str {
    let at = body.find("task_").expect("a child was begun");
    &body[at..at + "task_".len() + 36]
}

/// A parent that begins a child, waits for it, and passes on what it says. The child writes once.
fn story(stream: bool) -> Story {
    Story {
        wire: CHAT,
        stream,
        // One at a time: so the hits of the crash points are in the order of the story.
        env: vec![("OPSPAWN_CONCURRENCY", "1")],
        input: json!({"goal": "the whole"}),
        script: Arc::new(move |nth, body| {
            let usage = (100 + nth, 10 + nth);
            let say = |words: &str| completion(words, &[], usage, stream);
            let call = |name: &str, arguments| {
                completion(
                    "",
                    &[(&format!("call_{nth}"), name, arguments)],
                    usage,
                    stream,
                )
            };
            match (is_of_child(body), nth) {
                (false, 0) => call("spawn_agent", json!({"goal": "its part"})),
                (false, 1) => call("await_agents", json!({"tasks": [child_in(body)]})),
                (false, _) if body.contains("forty-two") => say("It says forty-two."),
                (false, _) => say("It says nothing."),
                (true, 0) => call("ledger_write", json!({"key": "part"})),
                (true, _) => say("It is forty-two."),
            }
        }),
        is_of_child,
    }
}

fn is_of_child(body: &str) -> bool {
    !body.contains("the whole")
}

/// What holds wherever the kill was.
fn check(told: &StoryReport) {
    let [parent, child] = &told.tasks[..] else {
        panic!("not one child: {told:#?}");
    };
    assert_eq!(parent.task["result"]["answer"], "It says forty-two.");
    assert_eq!(child.task["result"]["answer"], "It is forty-two.");
    assert_eq!(child.task["parent"], parent.task["task_id"]);
    let ends = parent.events("task.child_ended");
    assert_eq!(ends.len(), 1, "{ends:#?}");
    assert_eq!(ends[0]["child"], child.task["task_id"]);
    let losses = parent.history.losses + child.history.losses;
    assert_eq!(losses, 1, "the kill met one run");
    let sum = |key: &str, of: [u64; 2]| {
        assert_eq!(parent.task["children_usage"][key], of[0] + of[1]);
        assert_eq!(child.task["usage"][key], of[0] + of[1]);
    };
    sum("input_tokens", [100, 101]);
    sum("output_tokens", [10, 11]);
}

#[tokio::test]
async fn a_child_in_the_middle_of_a_call_goes_on() {
    for (stream, held) in [
        (true, Held::Begun("It is")),
        (false, Held::Begun("It is")),
        (false, Held::Silence),
    ] {
        let kill = Kill::Request {
            of_child: true,
            nth: 1,
            held,
        };
        let (cost, told) = story(stream).survives(kill).await;
        check(&told);
        assert_eq!(
            cost,
            Cost {
                asked_again: vec![(1, 1)],
                begun_again: vec![(1, 3)],
            }
        );
    }
}

/// The parent's calls are steps 1 to 5, the child's 1 to 3.
#[tokio::test]
async fn wherever_the_kill_is_there_is_one_child_that_ends_once() {
    let again = |task, step| vec![(task, step)];
    for (point, hit, asked_again, begun_again) in [
        // Before the child is begun, and with the call done but not recorded.
        ("run.after_intent", 1, vec![], again(0, 2)),
        ("run.after_effect", 1, vec![], again(0, 2)),
        // Between its beginning and the wait for it.
        ("model.after_intent", 2, vec![], again(0, 3)),
        ("model.after_call", 2, again(0, 1), again(0, 3)),
        ("run.after_intent", 2, vec![], again(0, 4)),
        ("run.after_effect", 2, vec![], again(0, 4)),
        // The child's first call, and its last one.
        ("model.after_intent", 3, vec![], again(1, 1)),
        ("run.before_terminal", 1, again(1, 1), again(1, 3)),
        // The child has ended, and its parent goes on.
        ("model.after_intent", 5, vec![], again(0, 5)),
        ("run.before_terminal", 2, again(0, 2), again(0, 5)),
    ] {
        let (cost, told) = story(false).survives(Kill::Point(point, hit)).await;
        check(&told);
        let asked_again = asked_again
            .into_iter()
            .map(|(task, nth): (usize, u64)| (task, usize::try_from(nth).unwrap()))
            .collect();
        assert_eq!(
            cost,
            Cost {
                asked_again,
                begun_again,
            },
            "{point}:{hit}"
        );
    }
}
