use serde_json::json;

use super::*;
use crate::{
    Event, Usage,
    event::{
        ChildResult, FinishReason, Handle, MessageAdded, ModelCompleted, ModelStarted, Purpose,
        RunStarted, SignalReceived, ToolCalled, ToolCompleted, ToolFailed, ToolStarted,
        ToolWaiting,
    },
    model::Message,
    planner::React,
    run::{Limits, Next, RunConfig},
    tool::Effect,
};

fn started(limits: Limits) -> Event {
    let model = std::sync::Arc::new(crate::model::scripted::Scripted::new(std::sync::Arc::new(
        crate::model::scripted::Script::parse("[[turn]]\nanswer = 'x'").unwrap(),
    )));
    let agent = crate::Agent::builder(model).limits(limits).build().unwrap();
    let config: RunConfig = agent.config().clone();
    let goal = "go".to_owned();
    Event::RunStarted(RunStarted {
        goal,
        images: Vec::new(),
        config,
    })
}

fn answered(step: u32, calls: u32) -> Event {
    Event::ModelCompleted(ModelCompleted {
        step: StepId(step),
        name: "m".into(),
        output: "words".into(),
        calls,
        usage: Usage::default(),
        finish: FinishReason::Stop,
        parts: None,
        request_id: None,
        purpose: Default::default(),
        answer: None,
        refused: None,
        tools_left_out: Vec::new(),
        claimed_usage: None,
    })
}

fn called(step: u32, effect: Effect, decision: GateDecision) -> Event {
    Event::ToolCalled(ToolCalled {
        step: StepId(step),
        provider_id: format!("p{step}"),
        name: "act".into(),
        input: json!({"n": step}),
        effect,
        resources: None,
        key: None,
        initiator: Default::default(),
        purpose: None,
        decision,
    })
}

fn ask(until_micros: Option<i64>) -> GateDecision {
    let reason = "it acts".to_owned();
    GateDecision::Ask {
        reason,
        until_micros,
        tool_digest: None,
        escalation: None,
        preview: None,
    }
}

fn approved(step: u32, input: Option<Value>) -> Event {
    let (step, by) = (StepId(step), None);
    Event::ToolApproved(ToolApproved { step, input, by })
}

fn denied(step: u32) -> Event {
    Event::ToolDenied(ToolDenied {
        step: StepId(step),
        reason: "not today".into(),
        by: Some("ann".into()),
    })
}

fn begun(step: u32) -> Event {
    let step = StepId(step);
    Event::ToolStarted(ToolStarted {
        step,
        attempt: 1,
        key: None,
    })
}

fn returned(step: u32, output: Value) -> Event {
    Event::ToolCompleted(ToolCompleted {
        step: StepId(step),
        output,
        handle: None,
        files: vec![],
        child: None,
        parts: Vec::new(),
    })
}

fn failed(step: u32) -> Event {
    Event::ToolFailed(ToolFailed {
        step: StepId(step),
        error: Failure::last("x", "it failed"),
    })
}

fn waiting(step: u32, wait: CallWait) -> Event {
    let step = StepId(step);
    Event::ToolWaiting(ToolWaiting { step, wait })
}

fn for_signal(name: &str, until_micros: Option<i64>) -> CallWait {
    CallWait::Signal {
        name: name.into(),
        prompt: None,
        until_micros,
        resume: None,
    }
}

fn for_children(tasks: &[&str], until_micros: Option<i64>) -> CallWait {
    let tasks = tasks.iter().map(ToString::to_string).collect();
    CallWait::Children {
        tasks,
        until_micros,
    }
}

fn signal(name: &str, payload: Value) -> Event {
    let name = name.to_owned();
    Event::SignalReceived(SignalReceived { name, payload })
}

fn child(step: u32, task: &str, reserved_tokens: Option<u64>) -> Event {
    Event::ToolCompleted(ToolCompleted {
        step: StepId(step),
        output: json!({"task": task}),
        handle: None,
        files: vec![],
        child: Some(ChildStarted {
            task: task.into(),
            reserved_tokens,
            reserved_cost_micros: reserved_tokens.map(|tokens| tokens * 10),
        }),
        parts: Vec::new(),
    })
}

fn ended(task: &str, result: ChildResult, used_tokens: u64) -> Event {
    Event::ChildEnded(ChildEnded {
        task: task.into(),
        result,
        used_tokens,
        used_cost_micros: used_tokens * 10,
    })
}

fn completed(output: Value) -> ChildResult {
    let handle = None;
    ChildResult::Completed { output, handle }
}

fn try_fold(events: &[Event]) -> Result<Run, FoldError> {
    let mut run = Run::default();
    for event in events {
        run.apply(event)?;
    }
    Ok(run)
}

fn fold(events: &[Event]) -> Run {
    try_fold(events).unwrap()
}

fn next(run: &Run, now: i64) -> Next {
    run.next(&React, now)
}

/// What the model was told of its calls.
fn result_of(run: &Run) -> Vec<(String, bool)> {
    let messages = run.memory().messages().iter();
    messages
        .filter_map(|message| match &**message {
            Message::Tool {
                content, is_error, ..
            } => Some((content.clone(), *is_error)),
            Message::System { .. } | Message::User { .. } | Message::Assistant { .. } => None,
        })
        .collect()
}

fn asked(effect: Effect, until: Option<i64>) -> Vec<Event> {
    vec![
        started(Limits::default()),
        answered(1, 1),
        called(2, effect, ask(until)),
    ]
}

#[test]
fn a_call_that_was_asked_about_waits_and_runs_once_it_is_approved() {
    let mut log = asked(Effect::Write, Some(50));
    let wait = Wait::Approval {
        steps: vec![StepId(2)],
        until_micros: Some(50),
    };
    assert_eq!(next(&fold(&log), 49), Next::Wait(wait));
    log.push(approved(2, None));
    let run = fold(&log);
    let steps = vec![StepId(2)];
    assert_eq!(next(&run, 99), Next::CallTools { steps });
    assert_eq!(run.in_flight().count(), 0, "it has no intent yet");
    log.extend([begun(2), returned(2, json!("sent"))]);
    assert_eq!(result_of(&fold(&log)), [("sent".to_owned(), false)]);
}

#[test]
fn a_denied_call_is_settled_with_the_person_s_reason() {
    let mut log = asked(Effect::Pure, None);
    log.push(denied(2));
    let run = fold(&log);
    let content = "a person denied this call: not today".to_owned();
    assert_eq!(result_of(&run), [(content, true)]);
    assert!(matches!(next(&run, 0), Next::CallModel { .. }));
}

#[test]
fn nobody_s_word_in_time_settles_the_call_and_a_late_word_changes_nothing() {
    let mut log = asked(Effect::Write, Some(50));
    let Next::Settle {
        step,
        result: Err(failure),
    } = next(&fold(&log), 50)
    else {
        panic!("it is not over")
    };
    assert_eq!(
        (step, failure.code.as_str()),
        (StepId(2), "approval_expired")
    );
    log.push(failed(2));
    let before = fold(&log);
    for late in [approved(2, Some(json!({"n": 9}))), denied(2)] {
        let mut log = log.clone();
        log.push(late);
        assert_eq!(fold(&log), before);
    }
}

#[test]
fn a_word_may_come_at_any_place_after_its_cause() {
    let log = [
        started(Limits::default()),
        answered(1, 3),
        called(2, Effect::Pure, GateDecision::Start),
        called(3, Effect::Write, ask(Some(5))),
        called(4, Effect::Pure, GateDecision::Start),
        waiting(4, for_signal("paid", Some(5))),
        child(2, "task_1", None),
        failed(4),
        failed(3),
        answered(5, 1),
        called(6, Effect::Pure, GateDecision::Start),
        returned(6, json!("x")),
    ];
    for (after, word) in [
        (4, approved(3, None)),
        (4, denied(3)),
        (0, signal("paid", json!(1))),
        (7, ended("task_1", ChildResult::Cancelled, 1)),
    ] {
        for place in after..=log.len() {
            let mut log = log.to_vec();
            log.insert(place, word.clone());
            let run = try_fold(&log).unwrap_or_else(|error| panic!("{place}: {error}"));
            assert_eq!(result_of(&run).len(), 4, "{place}");
        }
    }
    // A person's word stands, whatever the driver thought later.
    let mut log = log.to_vec();
    log.insert(7, denied(3));
    let content = "a person denied this call: not today".to_owned();
    assert_eq!(result_of(&fold(&log))[1], (content, true));
}

fn refused(step: u32) -> Event {
    let error = Failure::last("invalid_arguments", "`n` is missing");
    called(step, Effect::Write, GateDecision::Refuse { error })
}

fn reset(step: u32, input: Option<Value>) -> Event {
    let step = StepId(step);
    Event::ToolReset(ToolReset { step, input })
}

#[test]
fn a_refused_call_that_ended_its_turn_can_be_done_anew() {
    let alone = vec![started(Limits::default()), answered(1, 1), refused(2)];
    let last = vec![
        started(Limits::default()),
        answered(1, 2),
        called(2, Effect::Pure, GateDecision::Start),
        refused(3),
        returned(2, json!("kept")),
    ];
    for (mut log, step) in [(alone, 2), (last, 3)] {
        let before = result_of(&fold(&log));
        log.push(reset(step, Some(json!({"n": 1}))));
        let run = fold(&log);
        let steps = vec![StepId(step)];
        assert_eq!(next(&run, 0), Next::Recheck { steps });
        assert!(result_of(&run).is_empty(), "the turn is open again");
        log.push(called(step, Effect::Write, GateDecision::Queue));
        let steps = vec![StepId(step)];
        assert_eq!(next(&fold(&log), 0), Next::CallTools { steps });
        log.extend([begun(step), returned(step, json!("done"))]);
        let run = fold(&log);
        let result_of = result_of(&run);
        assert_eq!(result_of[..result_of.len() - 1], before[..before.len() - 1]);
        let (content, is_error) = result_of.last().unwrap();
        assert!(content.ends_with("done") && !is_error, "{content}");
        assert!(matches!(next(&run, 0), Next::CallModel { .. }));
    }
}

#[test]
fn a_turn_that_something_followed_stays_closed() {
    let log = vec![started(Limits::default()), answered(1, 1), refused(2)];
    for event in [
        Event::MessageAdded(MessageAdded {
            content: "and now?".into(),
        }),
        Event::ModelStarted(ModelStarted {
            step: StepId(3),
            attempt: 1,
            name: "m".into(),
            reserved_tokens: 0,
            reserved_cost_micros: 0,
            purpose: Purpose::default(),
        }),
    ] {
        let mut log = log.clone();
        log.push(event);
        log.push(reset(2, None));
        assert!(try_fold(&log).is_err());
    }
}

#[test]
fn the_first_word_counts() {
    let mut log = asked(Effect::Write, None);
    log.push(approved(2, None));
    let before = fold(&log);
    for second in [denied(2), approved(2, Some(json!({"n": 9})))] {
        let mut log = log.clone();
        log.push(second);
        assert_eq!(fold(&log), before);
    }
}

#[test]
fn a_word_on_a_call_that_nobody_was_asked_about_is_not_lawful() {
    let log = vec![
        started(Limits::default()),
        answered(1, 1),
        called(2, Effect::Write, GateDecision::Queue),
    ];
    for (event, text) in [
        (approved(2, None), "`tool.approved` of call_2"),
        (denied(3), "`tool.denied` of call_3"),
        (
            Event::ToolReset(ToolReset {
                step: StepId(3),
                input: None,
            }),
            "`tool.reset` of call_3",
        ),
        (
            ended("task_9", ChildResult::Cancelled, 0),
            "`child.ended` of task_9",
        ),
        (
            called(2, Effect::Write, GateDecision::Queue),
            "`tool.called` of call_2",
        ),
    ] {
        let mut log = log.clone();
        log.push(event);
        let error = try_fold(&log).unwrap_err().to_string();
        assert_eq!(error, format!("{text} cannot follow the events before it"));
    }
}

#[test]
fn the_model_is_told_that_a_person_changed_the_arguments() {
    let mut log = asked(Effect::Write, None);
    log.push(approved(2, Some(json!({"n": 3}))));
    let run = fold(&log);
    assert_eq!(run.call(StepId(2)).unwrap().call.input, json!({"n": 3}));
    log.extend([begun(2), returned(2, json!("sent"))]);
    let content = "a person changed the arguments of this call to {\"n\":3}\nsent".to_owned();
    assert_eq!(result_of(&fold(&log)), [(content, false)]);

    let mut log = asked(Effect::Write, None);
    log.push(approved(2, Some(json!({"n": 2}))));
    log.extend([begun(2), returned(2, json!("sent"))]);
    let content = "sent".to_owned();
    assert_eq!(
        result_of(&fold(&log)),
        [(content, false)],
        "the same as before"
    );
}

#[test]
fn a_write_that_may_not_run_yet_holds_up_what_comes_after_it() {
    for (effect, expected) in [
        (Effect::Write, vec![2]),
        (Effect::Pure, vec![2, 4]),
        (Effect::Idempotent, vec![2, 4]),
    ] {
        let mut log = vec![
            started(Limits::default()),
            answered(1, 4),
            called(2, Effect::Pure, GateDecision::Queue),
            called(3, effect, ask(None)),
            called(4, Effect::Pure, GateDecision::Queue),
            called(5, Effect::Write, GateDecision::Queue),
        ];
        let steps = |list: &[u32]| list.iter().copied().map(StepId).collect::<Vec<_>>();
        let batch = Next::CallTools {
            steps: steps(&expected),
        };
        assert_eq!(next(&fold(&log), 0), batch, "{effect:?}");
        log.extend(expected.iter().map(|step| begun(*step)));
        log.extend(expected.iter().map(|step| returned(*step, json!("x"))));
        if effect == Effect::Write {
            let wait = Wait::Approval {
                steps: steps(&[3]),
                until_micros: None,
            };
            assert_eq!(next(&fold(&log), 0), Next::Wait(wait));
            log.push(approved(3, None));
            let steps = steps(&[3]);
            assert_eq!(next(&fold(&log), 0), Next::CallTools { steps });
        } else {
            let steps = steps(&[5]);
            assert_eq!(next(&fold(&log), 0), Next::CallTools { steps });
        }
    }
}

#[test]
fn a_call_whose_arguments_a_person_changed_may_touch_anything() {
    let of = |step: u32, resources: Resources, decision: GateDecision| {
        let Event::ToolCalled(mut call) = called(step, Effect::Idempotent, decision) else {
            unreachable!()
        };
        call.resources = Some(resources);
        Event::ToolCalled(call)
    };
    let file = |name: &str| Resources::writes([crate::tool::Resource::file(name)]);
    let log = vec![
        started(Limits::default()),
        answered(1, 2),
        of(2, file("a"), ask(None)),
        of(3, file("b"), GateDecision::Queue),
    ];
    let begins = |event: Event| {
        let mut log = log.clone();
        log.push(event);
        match next(&fold(&log), 0) {
            Next::CallTools { steps } => steps,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(begins(approved(2, None)), [StepId(2), StepId(3)]);
    assert_eq!(
        begins(approved(2, Some(json!({"n": 2})))),
        [StepId(2), StepId(3)],
        "the same as before"
    );
    assert_eq!(begins(approved(2, Some(json!({"n": 9})))), [StepId(2)]);
}

#[test]
fn one_signal_settles_one_call_whichever_came_first() {
    let calls = [
        started(Limits::default()),
        answered(1, 2),
        called(2, Effect::Pure, GateDecision::Start),
        called(3, Effect::Pure, GateDecision::Start),
    ];
    let waits = [
        waiting(2, for_signal("paid", None)),
        waiting(3, for_signal("paid", None)),
    ];
    let signals = [
        signal("other", json!(0)),
        signal("paid", json!({"n": 1})),
        signal("paid", json!("two")),
    ];
    for order in [[&waits[..], &signals[..]], [&signals[..], &waits[..]]] {
        let mut log = calls.to_vec();
        log.extend(order.concat());
        for (step, payload) in [(2, json!({"n": 1})), (3, json!("two"))] {
            let result = Ok(payload.clone());
            let settle = Next::Settle {
                step: StepId(step),
                result,
            };
            assert_eq!(next(&fold(&log), 0), settle);
            log.push(returned(step, payload));
        }
        let run = fold(&log);
        assert_eq!(
            result_of(&run),
            [("{\"n\":1}".to_owned(), false), ("two".to_owned(), false)]
        );
        assert!(matches!(next(&run, 0), Next::CallModel { .. }));
        // What nobody took stays for whoever waits for it later.
        log.extend([
            answered(4, 1),
            called(5, Effect::Pure, GateDecision::Start),
            waiting(5, for_signal("other", Some(0))),
        ]);
        let settle = Next::Settle {
            step: StepId(5),
            result: Ok(json!(0)),
        };
        assert_eq!(
            next(&fold(&log), 9),
            settle,
            "an answer counts, however late"
        );
    }
}

#[test]
fn a_signal_that_comes_while_its_call_times_out_is_kept_for_the_next_one() {
    let log = vec![
        started(Limits::default()),
        answered(1, 1),
        called(2, Effect::Pure, GateDecision::Start),
        waiting(2, for_signal("paid", Some(10))),
        signal("paid", json!("late")),
        failed(2),
        answered(3, 1),
        called(4, Effect::Pure, GateDecision::Start),
        waiting(4, for_signal("paid", Some(10))),
    ];
    let settle = Next::Settle {
        step: StepId(4),
        result: Ok(json!("late")),
    };
    assert_eq!(next(&fold(&log), 99), settle);
    let without = fold(&log[..4]);
    let Next::Settle {
        result: Err(failure),
        ..
    } = next(&without, 10)
    else {
        panic!("it is not over")
    };
    assert_eq!(failure.code, "signal_timeout");
    assert!(matches!(next(&without, 9), Next::Wait(Wait::Signal { .. })));
}

#[test]
fn children_are_awaited_together_and_told_in_order() {
    let mut log = vec![
        started(Limits::default()),
        answered(1, 3),
        called(2, Effect::Pure, GateDecision::Start),
        called(3, Effect::Pure, GateDecision::Start),
        called(4, Effect::Pure, GateDecision::Start),
        child(2, "a", None),
        child(3, "b", None),
        ended("b", completed(json!(2)), 0),
        child(4, "c", None),
        answered(5, 1),
        called(6, Effect::Pure, GateDecision::Start),
        waiting(6, for_children(&["c", "b", "a"], Some(70))),
    ];
    let wait = Wait::Children {
        tasks: vec!["a".into(), "c".into()],
        until_micros: Some(70),
    };
    assert_eq!(next(&fold(&log), 0), Next::Wait(wait));
    let Next::Settle {
        result: Err(failure),
        ..
    } = next(&fold(&log), 70)
    else {
        panic!("it is not over")
    };
    assert_eq!(failure.code, "children_timeout");
    assert!(failure.message.contains("in time: c, a;"), "{failure}");

    let handle = Handle {
        digest: "d1".into(),
        bytes: 99,
    };
    let large = ChildResult::Completed {
        output: json!("begin"),
        handle: Some(handle.clone()),
    };
    let error = Failure::last("step_limit", "no answer");
    log.extend([
        ended("a", large, 0),
        ended("c", ChildResult::Failed { error }, 0),
    ]);
    let Next::Settle {
        step,
        result: Ok(result),
    } = next(&fold(&log), 99)
    else {
        panic!("not settled")
    };
    let expected = json!([
        {"task": "c", "status": "failed", "error": {"code": "step_limit", "message": "no answer"}},
        {"task": "b", "status": "completed", "output": 2},
        {"task": "a", "status": "completed", "output": "begin", "handle": "call_2", "bytes": 99,
         "note": "output is the beginning; use read_result with this handle to read the rest"},
    ]);
    assert_eq!((step, &result), (StepId(6), &expected));
    log.push(returned(6, result));
    let run = fold(&log);
    assert_eq!(
        run.results().get(&StepId(2)),
        Some(&handle),
        "read_result finds it"
    );
}

#[test]
fn a_child_counts_against_the_budget_with_its_share_and_then_with_what_it_used() {
    let mut log = vec![
        started(Limits::default()),
        answered(1, 1),
        called(2, Effect::Pure, GateDecision::Start),
        child(2, "a", Some(500)),
    ];
    assert_eq!(fold(&log).charged_tokens(), 500);
    assert_eq!(fold(&log).charged_cost_micros(), 5_000);
    log.push(ended("a", completed(json!("first")), 120));
    assert_eq!(fold(&log).charged_tokens(), 120);
    assert_eq!(fold(&log).charged_cost_micros(), 1_200);
    // Somebody has it run again: what it used counts, and what the model may have read stands.
    log.push(ended("a", completed(json!("second")), 300));
    let run = fold(&log);
    assert_eq!(run.charged_tokens(), 300);
    assert_eq!(run.charged_cost_micros(), 3_000);
    assert_eq!(run.children()["a"].result, Some(completed(json!("first"))));
}

#[test]
fn a_sleeping_call_goes_on_at_its_time() {
    let log = [
        started(Limits::default()),
        answered(1, 1),
        called(2, Effect::Pure, GateDecision::Start),
        waiting(
            2,
            CallWait::Time {
                until_micros: 50,
                length_micros: None,
            },
        ),
    ];
    let run = fold(&log);
    let wait = Wait::Timer { until_micros: 50 };
    assert_eq!(next(&run, 49), Next::Wait(wait));
    let settle = Next::Settle {
        step: StepId(2),
        result: Ok(json!({"now": "1970-01-01T00:00:01Z"})),
    };
    assert_eq!(next(&run, 1_000_000), settle);
}

/// engine/E4: the clock stood at 1,000 and was set back to 100.
#[test]
fn what_was_to_come_by_a_wrong_clock_comes_as_much_sooner() {
    let limits = Limits {
        deadline_micros: Some(1_900),
        ..Limits::default()
    };
    let begins = |step| called(step, Effect::Pure, GateDecision::Start);
    let time = |until_micros, length_micros| CallWait::Time {
        until_micros,
        length_micros,
    };
    let log = |wait| {
        fold(&[
            started(limits.clone()),
            answered(1, 1),
            begins(2),
            waiting(2, wait),
        ])
    };
    let until = |mut run: Run| {
        run.clock_corrected(1_000, 100);
        match next(&run, 100) {
            Next::Wait(
                Wait::Timer { until_micros: at }
                | Wait::Signal {
                    until_micros: Some(at),
                    ..
                },
            ) => at,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(until(log(time(1_003, Some(3)))), 103);
    assert_eq!(until(log(for_signal("s", Some(1_050)))), 150);
    // The deadline is corrected as well, and comes before a date that the model asked for.
    assert_eq!(until(log(time(5_000, None))), 1_000);
    // A time that was made before the clock was ahead was right.
    assert_eq!(until(log(for_signal("s", Some(700)))), 700);
    let mut run = fold(&asked(Effect::Write, Some(1_020)));
    run.clock_corrected(1_000, 100);
    let expected = Wait::Approval {
        steps: vec![StepId(2)],
        until_micros: Some(120),
    };
    assert_eq!(next(&run, 100), Next::Wait(expected));
}

#[test]
fn the_wait_names_the_first_kind_and_the_first_time() {
    let waits: [Event; 4] = [
        called(2, Effect::Pure, ask(Some(90))),
        waiting(3, for_signal("s", Some(80))),
        waiting(4, for_children(&["a"], Some(70))),
        waiting(
            5,
            CallWait::Time {
                until_micros: 60,
                length_micros: None,
            },
        ),
    ];
    let open = |from: usize, deadline_micros: Option<i64>| {
        let mut log = vec![
            started(Limits {
                deadline_micros,
                ..Limits::default()
            }),
            answered(1, 1),
            called(10, Effect::Pure, GateDecision::Start),
            child(10, "a", None),
            answered(11, 4),
        ];
        let begins = |step| called(step, Effect::Pure, GateDecision::Start);
        for (step, wait) in (2..).zip(&waits).skip(from) {
            if step > 2 {
                log.push(begins(step));
            }
            log.push(wait.clone());
        }
        let Next::Wait(wait) = next(&fold(&log), 0) else {
            panic!("it does not wait")
        };
        wait
    };
    for (from, until) in [
        (None, Some(60)),
        (Some(55), Some(55)),
        (Some(500), Some(60)),
    ]
    .into_iter()
    .flat_map(|(deadline, until)| (0..4).map(move |from| ((from, deadline), until)))
    {
        let (from, deadline) = from;
        let until_micros = until;
        let expected = match from {
            0 => Wait::Approval {
                steps: vec![StepId(2)],
                until_micros,
            },
            1 => Wait::Signal {
                names: vec!["s".into()],
                until_micros,
            },
            2 => Wait::Children {
                tasks: vec!["a".into()],
                until_micros,
            },
            _ => Wait::Timer {
                until_micros: until.unwrap(),
            },
        };
        assert_eq!(open(from, deadline), expected);
    }
}

#[test]
fn at_its_deadline_a_waiting_run_learns_that_its_time_is_over() {
    let limits = Limits {
        deadline_micros: Some(40),
        ..Limits::default()
    };
    let log = [
        started(limits),
        answered(1, 1),
        called(2, Effect::Pure, ask(None)),
    ];
    let run = fold(&log);
    let Next::Wait(Wait::Approval { until_micros, .. }) = next(&run, 0) else {
        panic!("it does not wait")
    };
    assert_eq!(until_micros, Some(40));
    assert!(matches!(next(&run, 40), Next::Done(_)));
}

#[test]
fn a_reset_call_of_a_fork_is_judged_anew() {
    let reset = |step: u32, input: Option<Value>| {
        let step = StepId(step);
        Event::ToolReset(ToolReset { step, input })
    };
    // The other run had the approval and the result; this one has neither.
    let mut log = asked(Effect::Write, None);
    log.push(called(3, Effect::Write, GateDecision::Queue));
    log[1] = answered(1, 2);
    log.extend([approved(2, None), begun(2), returned(2, json!("sent"))]);
    log.extend([reset(2, Some(json!({"n": 7}))), reset(3, None)]);
    let run = fold(&log);
    let steps = vec![StepId(2), StepId(3)];
    assert_eq!(next(&run, 0), Next::Recheck { steps });
    assert_eq!(run.in_doubt(), []);
    let Event::ToolCalled(mut again) = called(2, Effect::Write, ask(None)) else {
        unreachable!()
    };
    again.input = json!({"n": 7});
    log.push(Event::ToolCalled(again));
    log.push(called(3, Effect::Write, GateDecision::Queue));
    assert!(matches!(
        next(&fold(&log), 0),
        Next::Wait(Wait::Approval { .. })
    ));
    log.extend([approved(2, None), begun(2), returned(2, json!("ok"))]);
    log.extend([begun(3), returned(3, json!("ok too"))]);
    let run = fold(&log);
    let first = "a person changed the arguments of this call to {\"n\":7}\nok".to_owned();
    assert_eq!(
        result_of(&run),
        [(first, false), ("ok too".to_owned(), false)]
    );
    let asked_for = run.memory().messages().iter().find_map(|m| match &**m {
        Message::Assistant { calls, .. } => Some(calls.len()),
        Message::System { .. } | Message::User { .. } | Message::Tool { .. } => None,
    });
    assert_eq!(asked_for, Some(2), "the model asked once for each");
}

#[test]
fn an_added_message_is_read_after_the_results_and_reopens_an_answered_run() {
    let added = Event::MessageAdded(MessageAdded {
        content: "in euros".into(),
    });
    let log = [
        started(Limits::default()),
        answered(1, 1),
        called(2, Effect::Pure, GateDecision::Start),
        added.clone(),
        returned(2, json!("5")),
    ];
    let run = fold(&log);
    let last_two = &run.memory().messages()[2..];
    assert!(
        matches!(&*last_two[0], Message::Tool { .. }),
        "{last_two:?}"
    );
    let user = Message::user("in euros");
    assert_eq!(*last_two[1], user);

    let log = [started(Limits::default()), answered(1, 0), added];
    assert!(matches!(next(&fold(&log[..2]), 0), Next::Done(_)));
    let run = fold(&log);
    assert_eq!(**run.memory().messages().last().unwrap(), user);
    assert!(matches!(next(&run, 0), Next::CallModel { .. }));
}
