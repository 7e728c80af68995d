use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    command::Next,
    event::EffectClass,
    json::Json,
    rules::{
        Cause, Outcome, decide,
        fixtures::{self, after, id, new_task, session},
        submit::submit,
    },
    time::Micros,
};

fn task() -> TaskId {
    id(200)
}

/// A log from a short hand: `m1` and `M1` begin and end model call 1, `t2` is a call that may begin,
/// `q2` one that waits, `r2` one that is refused, `a2` one that somebody is asked about, `y2` the
/// approval of it, `b2` its start, `w2` that it waits for something, `T2` the outcome of call 2, `C2` one
/// that starts a child, `e2` the end of that child, `p2` a call of the machine's own, `s` a signal, `-`
/// an event of the engine.
fn log(text: &str) -> Vec<StoredEvent> {
    let words = text.split_whitespace();
    let events: Vec<NewEvent> = words.map(event).collect();
    numbered(events)
}

fn event(word: &str) -> NewEvent {
    let (letter, number) = word.split_at(1);
    let number = || number.parse::<u32>().unwrap();
    let tool = |status| Some((StepKind::Tool, status));
    let (kind, step) = match letter {
        "m" => (
            "model.started",
            Some((StepKind::Model, StepStatus::Started)),
        ),
        "M" => (
            "model.completed",
            Some((StepKind::Model, StepStatus::Completed)),
        ),
        "t" | "p" => ("tool.called", tool(StepStatus::Started)),
        "q" => ("tool.called", tool(StepStatus::Queued)),
        "r" => ("tool.called", tool(StepStatus::Failed)),
        "T" | "C" => ("tool.completed", tool(StepStatus::Completed)),
        "a" => ("tool.called", tool(StepStatus::Waiting)),
        "y" => ("step.approved", tool(StepStatus::Queued)),
        "b" => ("tool.started", tool(StepStatus::Started)),
        "w" => ("tool.waiting", tool(StepStatus::Waiting)),
        "s" => ("task.signalled", None),
        "e" => {
            let child = id(u8::try_from(number()).unwrap());
            return TaskEvent::ChildEnded(ChildEnd {
                child,
                state: StateName::Completed,
                result: None,
                stored: None,
                error: None,
                used: Usage::default(),
            })
            .envelope();
        }
        _ => ("task.leased", None),
    };
    let body = match letter {
        "C" => {
            let child = id(u8::try_from(number()).unwrap()).to_string();
            json!({"type": kind, "v": 1, "output": {"task": "x"}, "child": {"task": child}})
        }
        "p" => json!({"type": kind, "v": 1, "initiator": "machine"}),
        _ => json!({"type": kind, "v": 1}),
    };
    NewEvent {
        kind: kind.to_owned(),
        step: step.map(|(kind, status)| StepMark {
            number: number(),
            kind,
            status,
            effect: EffectClass::Pure,
        }),
        usage: Usage {
            input_tokens: 3,
            ..Usage::default()
        },
        blobs: Vec::new(),
        body: body.to_string().into(),
    }
}

fn numbered(events: Vec<NewEvent>) -> Vec<StoredEvent> {
    let stored = |(seq, event)| StoredEvent {
        seq,
        at: Micros(1),
        event,
    };
    (1..).zip(events).map(stored).collect()
}

/// The log of the new task.
fn copy(log: &[StoredEvent], fork: &Fork) -> Vec<StoredEvent> {
    let rows = log
        .iter()
        .map(|event| (event.seq, event.event.kind.as_str()));
    let taken: Vec<u64> = taken(fork, rows).collect();
    let of = |seq: &u64| {
        let found = log.iter().find(|event| event.seq == *seq);
        copied(&found.unwrap().event)
    };
    let first = event("-");
    let own = own_events(fork);
    let own = own.iter().map(TaskEvent::envelope);
    let events = std::iter::once(first)
        .chain(taken.iter().map(of))
        .chain(own);
    numbered(events.collect())
}

fn anew(step: u32) -> Anew {
    Anew {
        step,
        ..Anew::default()
    }
}

fn at(text: &str, step: u32) -> Result<Fork, Refused> {
    rerun(&log(text), task(), anew(step))
}

fn with_input(text: &str, step: u32, input: Value) -> Result<Fork, Refused> {
    let input = Some(input);
    rerun(
        &log(text),
        task(),
        Anew {
            input,
            ..anew(step)
        },
    )
}

fn with_message(text: &str, step: u32, message: &str) -> Result<Fork, Refused> {
    let message = Some(message.to_owned());
    rerun(
        &log(text),
        task(),
        Anew {
            message,
            ..anew(step)
        },
    )
}

//                    1 2 3  4  5  6  7  8  9 10 11 12 13 14 15
const RUN: &str = "- - m1 M1 t2 q3 r4 q5 T2 s T3 T5 m6 M6 -";

#[test]
fn a_model_call_is_cut_off_before_it() {
    let fork = at(RUN, 6).unwrap();
    assert_eq!((fork.until, fork.also, fork.resets), (12, vec![], vec![]));
    let fork = with_message(RUN, 1, "be brief").unwrap();
    assert_eq!((fork.until, fork.note.as_deref()), (2, Some("be brief")));
}

#[test]
fn a_tool_call_keeps_the_outcomes_of_the_calls_before_it() {
    let fork = with_input(RUN, 5, json!({"a": 1})).unwrap();
    assert_eq!(fork.until, 8);
    // The signal may be what call 3 returned.
    assert_eq!(fork.also, [9, 10, 11]);
    assert_eq!(fork.resets, [(5, Some(json!({"a": 1})))]);

    let fork = at(RUN, 3).unwrap();
    assert_eq!((fork.until, fork.also), (8, vec![9]));
    // The refused call stays refused.
    assert_eq!(fork.resets, [(3, None), (5, None)]);
}

#[test]
fn a_refused_call_is_made_anew_with_other_arguments_only() {
    assert_eq!(at(RUN, 4).unwrap().resets, [(5, None)]);
    let fork = with_input(RUN, 4, json!({})).unwrap();
    assert_eq!(fork.resets, [(4, Some(json!({}))), (5, None)]);
}

#[test]
fn requests_that_do_not_fit_the_step_are_refused() {
    let refused = with_input(RUN, 6, json!({})).unwrap_err();
    assert_eq!(refused, Refused::NoArguments(6));
    let refused = with_message(RUN, 5, "hi").unwrap_err();
    assert_eq!(refused, Refused::NoMessage(5));
    let message = |refused: Refused| refused.to_string();
    assert_eq!(
        message(at(RUN, 7).unwrap_err()),
        "the task has no step 7; it has steps 1 to 6"
    );
    assert_eq!(
        message(at("- -", 1).unwrap_err()),
        "the task has no steps yet"
    );
}

#[test]
fn an_approval_stays_with_the_task_that_asked_for_it() {
    let cut = |text: &str| {
        let fork = at(text, 5).unwrap();
        let resets: Vec<u32> = fork.resets.iter().map(|(step, _)| *step).collect();
        (fork.also, resets)
    };
    // Nobody has decided about call 3; somebody has; and it has not begun yet.
    assert_eq!(cut("m1 M1 t2 a3 q4 t5"), (vec![], vec![3, 4, 5]));
    assert_eq!(cut("m1 M1 t2 a3 t4 t5 y3 T4 T2"), (vec![8, 9], vec![3, 5]));
    // It ran, it runs, it waits for something: that stays.
    assert_eq!(cut("m1 M1 t2 a3 t4 t5 y3 b3 T3"), (vec![7, 8, 9], vec![5]));
    assert_eq!(cut("m1 M1 t2 a3 t4 t5 y3 b3"), (vec![7, 8], vec![5]));
    assert_eq!(cut("m1 M1 t2 t3 t4 t5 w3"), (vec![7], vec![5]));
}

#[test]
fn what_a_dead_letter_had_not_begun_is_judged_anew() {
    let open = |text: &str| {
        let fork = redrive(&log(text), task());
        let resets = fork.resets.iter().map(|(step, _)| *step);
        (fork.step, fork.until, resets.collect::<Vec<_>>())
    };
    assert_eq!(open("m1 M1 t2 a3 q4 a5 y5"), (6, 7, vec![3, 4, 5]));
    assert_eq!(open("m1 M1 a2 y2 b2 T2 m3"), (4, 7, vec![]));
    assert_eq!(open("- -"), (1, 2, vec![]));
    // The last calls of the model are judged anew, whatever the machine did after them.
    assert_eq!(open("m1 M1 a2 a3 p4"), (5, 5, vec![2, 3]));
}

#[test]
fn calls_of_the_machine_belong_to_no_turn() {
    // A probe of call 2 takes number 4, after the outcome of call 3. By numbers alone 2, 3 and 4 are one
    // turn: the cut would come after T3, and a rerun from call 3 would have its outcome and a reset.
    let text = "m1 M1 t2 t3 T3 - p4 T4 T2 m5 M5";
    let fork = at(text, 3).unwrap();
    assert_eq!((fork.until, fork.also), (4, vec![9]));
    assert_eq!(fork.resets, [(3, None)]);
    // Even where nothing lies between: a fork leaves out the events about leases.
    let fork = at("m1 M1 t2 t3 p4 T4 T2 T3", 2).unwrap();
    assert_eq!((fork.until, fork.also), (4, vec![]));
    assert_eq!(fork.resets, [(2, None), (3, None)]);
    // It is no place to go on from.
    assert_eq!(at(text, 4).unwrap_err(), Refused::OfMachine(4));
    // What the machine did before a model call is taken over with the rest.
    assert_eq!(at("p1 T1 m2 M2", 2).unwrap().until, 2);
}

/// E1: the children are in the log, whoever's log it was before.
#[test]
fn e1_a_child_that_had_not_ended_is_no_place_to_cut_after() {
    // Turns spawn, calculator, await: the child ends while call 6 waits.
    let text = "m1 M1 t2 C2 m3 M3 t4 T4 m5 M5 t6 w6 - e2 - T6 m7 M7";
    let refused = |step| Refused::Child {
        child: id(2),
        start: 2,
        step,
    };
    let parent = log(text);
    assert_eq!(at(text, 4).unwrap_err(), refused(4));
    let fork = at(text, 7).unwrap();
    let rerun_of_rerun = copy(&parent, &fork);
    let again = rerun(&rerun_of_rerun, id(201), anew(4));
    assert_eq!(again.unwrap_err(), refused(4));
    // From before the child began it works.
    rerun(&rerun_of_rerun, id(201), anew(1)).unwrap();
    rerun(&rerun_of_rerun, id(201), anew(2)).unwrap();
}

/// E1: the end of a child whose start is done anew would damage the log.
#[test]
fn e1_the_end_of_a_child_that_is_not_taken_over_is_left_out() {
    // One answer: sleep 1 s, spawn. The child ends while call 2 still sleeps.
    let text = "m1 M1 t2 t3 w2 C3 - e3 T2 m4 M4";
    let left_out = |log: &[StoredEvent]| {
        let fork = rerun(log, task(), anew(3)).unwrap();
        let copy = copy(log, &fork);
        copy.iter().all(|event| ended_child(&event.event).is_none())
    };
    let parent = log(text);
    assert!(left_out(&parent));
    let fork = at(text, 4).unwrap();
    assert!(left_out(&copy(&parent, &fork)));
}

/// A dead letter whose children went on is not lost: the run hears that they were stopped.
#[test]
fn a_dead_letter_with_children_that_have_not_ended_goes_on_without_them() {
    let fork = redrive(&log("m1 M1 t2 C2 t3 C3 e3 m4"), task());
    assert_eq!(fork.lost, [child_end(id(2), None)]);
    assert_eq!(fork.lost[0].state, StateName::Cancelled);
    let own: Vec<_> = own_events(&fork).iter().map(TaskEvent::kind).collect();
    assert_eq!(own, ["task.forked", "task.child_ended"]);
    assert_eq!(redrive(&log("m1 M1 t2 C2 m3 e2"), task()).lost, []);
}

#[test]
fn a_child_that_ended_after_its_parent_is_told_as_it_ended() {
    let ended = |next: Option<Next>| {
        let mut new = new_task(2);
        new.retry.max_attempts = 1;
        let fresh = submit(&new, 0, Micros(1)).life;
        let session = session();
        let running = after(&fresh, Cause::Claim { session });
        let (life, outcome) = match next {
            Some(next) => {
                let cause = fixtures::next(&running, next);
                let done = decide(&running, cause, Micros(9)).unwrap();
                (done.after, done.outcome)
            }
            None => (running, None),
        };
        let result = match outcome {
            Some(Outcome::Result(result)) => Some(result),
            Some(Outcome::Error(_)) | None => None,
        };
        let record = TaskRecord {
            task: new.task,
            life,
            result,
            in_force: None,
            left_out: crate::ports::LeftOut::default(),
        };
        child_end(id(2), Some(&record))
    };
    let complete = |text: &str| {
        let result = Json::parse(text).unwrap();
        ended(Some(Next::Complete { result }))
    };
    let small = complete(r#"{"answer":"42"}"#);
    assert_eq!(
        (small.state, small.result),
        (StateName::Completed, Some(json!({"answer": "42"})))
    );
    let large = complete(&format!("\"{}\"", "x".repeat(9_000)));
    assert_eq!((large.state, large.result), (StateName::Failed, None));
    assert!(large.error.unwrap().message.contains("9002 bytes"));
    let error = TaskError {
        code: "broken".into(),
        message: "so it is".into(),
    };
    let failed = ended(Some(Next::Fail {
        error: error.clone(),
        retryable: false,
    }));
    assert_eq!(
        (failed.state, failed.error),
        (StateName::Failed, Some(error))
    );
    assert_eq!(ended(None).state, StateName::Cancelled);
}

#[test]
fn events_about_leases_and_states_are_not_copied() {
    for kind in TaskEvent::TYPES {
        let told = [
            "task.signalled",
            "task.child_ended",
            "task.noted",
            "task.clock_corrected",
        ]
        .contains(&kind);
        assert_eq!(is_copied(kind), told || kind.starts_with("step."), "{kind}");
    }
    assert!(is_copied("model.completed"));
}

/// How a call of a random run went.
#[derive(Debug, Clone, Copy)]
enum Call {
    Plain,
    /// It started a child, which ends at the end of so many turns after this one, if it does.
    Spawns(usize),
    Refused,
    Waits,
}

/// A random log of whole turns: calls end in any order, the machine calls in between, and children end
/// whenever they like.
fn run(turns: &[(Vec<(Call, u8)>, bool)]) -> String {
    let mut text = vec!["-".to_owned(), "-".to_owned()];
    let (mut step, mut ends): (u32, Vec<(usize, u32)>) = (0, Vec::new());
    for (turn, (calls, probes)) in turns.iter().enumerate() {
        step += 1;
        text.extend([format!("m{step}"), format!("M{step}")]);
        let numbered: Vec<_> = (step + 1..).zip(calls).collect();
        for (number, (call, _)) in &numbered {
            text.push(match call {
                Call::Refused => format!("r{number}"),
                Call::Plain | Call::Spawns(_) | Call::Waits => format!("t{number}"),
            });
        }
        step += u32::try_from(calls.len()).unwrap();
        if *probes {
            step += 1;
            text.extend([format!("p{step}"), format!("T{step}")]);
        }
        let mut outcomes = numbered;
        outcomes.sort_by_key(|(_, (_, order))| *order);
        for (number, (call, _)) in outcomes {
            match call {
                Call::Plain => text.push(format!("T{number}")),
                Call::Spawns(later) => {
                    text.push(format!("C{number}"));
                    ends.push((turn + later, number));
                    if *later == 0 {
                        text.push(format!("e{number}"));
                    }
                }
                Call::Refused => {}
                Call::Waits => {
                    text.extend([format!("w{number}"), "s".into(), format!("T{number}")])
                }
            }
        }
        let ended = ends.iter().filter(|(at, _)| *at == turn && *at > 0);
        let ended: Vec<String> = ended.map(|(_, number)| format!("e{number}")).collect();
        for end in ended {
            if !text.contains(&end) {
                text.push(end);
            }
        }
        text.push("-".to_owned());
    }
    text.join(" ")
}

fn calls() -> impl Strategy<Value = (Vec<(Call, u8)>, bool)> {
    let call = prop_oneof![
        3 => Just(Call::Plain),
        3 => (0_usize..4).prop_map(Call::Spawns),
        1 => Just(Call::Refused),
        2 => Just(Call::Waits),
    ];
    (
        proptest::collection::vec((call, any::<u8>()), 0..4),
        any::<bool>(),
    )
}

proptest! {
    #[test]
    fn what_is_taken_over_is_whole(turns in proptest::collection::vec(calls(), 1..6)) {
        let text = run(&turns);
        let old = log(&text);
        let last = Steps::of(&old).last().unwrap();
        for step in 1..=last {
            let Ok(fork) = rerun(&old, task(), anew(step)) else { continue };
            prop_assert!(fork.also.is_sorted() && fork.also.iter().all(|seq| *seq > fork.until));
            let new = copy(&old, &fork);
            prop_assert!(new.iter().map(|event| event.seq).eq(1..=new.len() as u64));
            let started: Vec<TaskId> =
                new.iter().filter_map(|event| started_child(&event.event)).map(|(_, task)| task).collect();
            let ended: Vec<TaskId> =
                new.iter().filter_map(|event| ended_child(&event.event)).collect();
            for child in &started {
                prop_assert!(ended.contains(child), "{text} at {step}: no end of {child}");
            }
            for child in &ended {
                prop_assert!(started.contains(child), "{text} at {step}: no start of {child}");
            }
            // Nothing of a step that is done anew but that the model asked for it.
            for event in &new[..new.len() - own_events(&fork).len()] {
                let Some(mark) = event.event.step else { continue };
                let is_outcome = mark.status == StepStatus::Completed;
                prop_assert!(mark.number < step || !is_outcome, "{text} at {step}: {mark:?}");
                prop_assert_eq!(event.event.usage, Usage::default());
            }
        }
    }

    /// E1: a log that was copied says the same of an earlier step as the log that it was copied from.
    #[test]
    fn e1_a_fork_of_a_fork_is_the_fork_of_the_original(
        turns in proptest::collection::vec(calls(), 2..6),
    ) {
        let text = run(&turns);
        let old = log(&text);
        let steps = Steps::of(&old);
        let models: Vec<u32> = steps.firsts.iter()
            .filter(|first| first.mark.kind == StepKind::Model)
            .map(|first| first.mark.number)
            .collect();
        for later in &models[1..] {
            let Ok(first) = rerun(&old, task(), anew(*later)) else { continue };
            let once = copy(&old, &first);
            for earlier in 1..*later {
                let (direct, second) = (
                    rerun(&old, task(), anew(earlier)),
                    rerun(&once, task(), anew(earlier)),
                );
                match (direct, second) {
                    (Ok(direct), Ok(second)) => {
                        let bodies = |log: &[StoredEvent], fork: &Fork| -> Vec<_> {
                            copy(log, fork).into_iter().map(|event| event.event.body).collect()
                        };
                        prop_assert_eq!(bodies(&old, &direct), bodies(&once, &second));
                    }
                    (direct, second) => prop_assert_eq!(direct.err(), second.err(), "{} {}", text, earlier),
                }
            }
        }
    }
}
