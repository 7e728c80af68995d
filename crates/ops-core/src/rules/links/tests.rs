use super::*;
use crate::{
    actor::Actor,
    command::{Next, TaskAction},
    event::{TaskError, Usage},
    json::Json,
    rules::{
        Cause, decide,
        fixtures::{after, next, ready, running},
    },
    task::{Relations, WaitRequest},
    time::{Micros, SECOND},
};

const ALL: Relations = Relations {
    parent: true,
    children: true,
    approvals: true,
    key: true,
};

fn asked(action: TaskAction) -> Cause {
    Cause::Task(action.by(Actor::Local))
}

/// The names of what follows a cause.
fn follows(before: &Lifecycle, cause: Cause) -> Vec<&'static str> {
    let transition = decide(before, cause, Micros(9)).unwrap();
    let follows = follow(before, &transition.after, transition.outcome.as_ref(), None);
    follows
        .iter()
        .map(|follow| match follow {
            Follow::StopChildren => "children",
            Follow::LapseApprovals(Lapse::All) => "approvals",
            Follow::LapseApprovals(Lapse::Overdue) => "overdue",
            Follow::CorrectApprovals { .. } => "dates",
            Follow::NotifyParent(_) => "parent",
            Follow::ReleaseKey => "key",
        })
        .collect()
}

fn linked(mut life: Lifecycle) -> Lifecycle {
    life.relations = ALL;
    life
}

fn complete(life: &Lifecycle) -> Cause {
    let result = Json::null();
    next(life, Next::Complete { result })
}

fn wait(life: &Lifecycle, wait: WaitRequest) -> Cause {
    next(life, Next::Wait(wait))
}

#[test]
fn an_end_concerns_everybody_that_the_task_is_linked_to() {
    let all = ["children", "approvals", "parent", "key"];
    let running = linked(running(1));
    assert_eq!(follows(&running, complete(&running)), all);
    let waiting = WaitRequest::Timer { until: Micros(99) };
    let waiting = after(&running, wait(&running, waiting));
    assert_eq!(follows(&waiting, asked(TaskAction::Cancel)), all);
    let fail = Next::Fail {
        error: TaskError {
            code: "broken".into(),
            message: String::new(),
        },
        retryable: false,
    };
    assert_eq!(follows(&running, next(&running, fail)), all);
}

#[test]
fn a_task_without_links_concerns_nobody() {
    let running = running(1);
    assert!(follows(&running, complete(&running)).is_empty());
    assert!(follows(&running, asked(TaskAction::Cancel)).is_empty());
}

#[test]
fn children_stop_once_their_parent_is_being_cancelled() {
    let running = linked(running(1));
    assert_eq!(follows(&running, asked(TaskAction::Cancel)), ["children"]);
    let cancelling = after(&running, asked(TaskAction::Cancel));
    // What is logged meanwhile stops nobody again.
    let signal = TaskAction::Signal {
        name: "x".into(),
        payload: serde_json::Value::Null,
    };
    assert!(follows(&cancelling, asked(signal)).is_empty());
    let confirmed = follows(&cancelling, next(&cancelling, Next::Cancelled));
    assert_eq!(confirmed, ["children", "approvals", "parent", "key"]);
}

#[test]
fn approvals_whose_time_is_over_lapse_when_the_task_waits_no_longer() {
    let running = linked(running(1));
    let asks = WaitRequest::Approval {
        steps: vec![2],
        until: Some(Micros(5)),
    };
    let waiting = after(&running, wait(&running, asks));
    assert_eq!(follows(&waiting, Cause::Wake), ["overdue"]);
    let timer = WaitRequest::Timer { until: Micros(5) };
    let waiting = after(&running, wait(&running, timer));
    assert!(follows(&waiting, Cause::Wake).is_empty());
}

#[test]
fn a_turn_that_is_not_taken_is_passed_on() {
    let fresh = linked(ready(1));
    assert_eq!(follows(&fresh, asked(TaskAction::Pause)), ["key"]);
    // One that has started holds its key while it is paused.
    let running = linked(running(1));
    let back = after(
        &running,
        Cause::Run(crate::RunCommand::release(running.epoch)),
    );
    assert!(follows(&back, asked(TaskAction::Pause)).is_empty());
    let blocked = after(&fresh, Cause::Block { key: "k".into() });
    assert!(follows(&blocked, asked(TaskAction::Pause)).is_empty());
}

#[test]
fn a_parent_is_told_what_became_of_its_child() {
    let mut before = linked(running(1));
    before.children_usage = Usage {
        input_tokens: 5,
        ..Usage::default()
    };
    before.usage.input_tokens = 2;
    let end = |cause: Cause, stored: Option<StoredResult>| {
        let transition = decide(&before, cause, Micros(9)).unwrap();
        let after = &transition.after;
        let follows = follow(&before, after, transition.outcome.as_ref(), stored);
        follows
            .into_iter()
            .find_map(|follow| match follow {
                Follow::NotifyParent(end) => Some(end),
                _ => None,
            })
            .unwrap()
    };
    let result = Json::parse("{\"answer\":1}").unwrap();
    let complete = next(&before, Next::Complete { result });
    let inline = end(complete.clone(), None);
    assert_eq!(inline.result, Some(serde_json::json!({"answer": 1})));
    assert_eq!((inline.child, inline.used.input_tokens), (before.id, 7));
    let stored = StoredResult {
        digest: "d".into(),
        bytes: 9,
    };
    let large = end(complete, Some(stored.clone()));
    assert_eq!((large.result, large.stored), (None, Some(stored)));
}

/// engine/E3: a key that waits for one queue is free for the others.
#[test]
fn the_first_of_each_queue_has_a_turn() {
    let waiter = |n, queue, priority| Waiter {
        task: crate::rules::fixtures::id(n),
        queue,
        priority,
        since: Micros(i64::from(n)),
    };
    let waiters = [
        waiter(1, "a", 5),
        waiter(2, "a", 9),
        waiter(3, "b", 0),
        waiter(4, "b", 0),
        waiter(5, "a", 9),
    ];
    let slice = |from: i64, aged: bool| {
        let mut slices = (from..).map(|second| Micros(second * SECOND));
        slices.find(|at| claim::serves_aged(*at) == aged).unwrap()
    };
    let ids = |ids: [u8; 2]| ids.map(crate::rules::fixtures::id);
    let aged_after = claim::AGED_AFTER / SECOND + 1;
    for (at, expected) in [
        (slice(1, false), [2, 3]),
        (slice(1, true), [2, 3]),
        (slice(aged_after, false), [2, 3]),
        (slice(aged_after, true), [1, 3]),
    ] {
        let is_early = at < Micros(aged_after * SECOND);
        let expected = if is_early { [2, 3] } else { expected };
        assert_eq!(turns(waiters, at), ids(expected), "{at:?}");
    }
}
