use ops_core::{
    Micros,
    event::{EffectClass, NewEvent, Usage},
};
use serde_json::json;

use super::*;

fn task() -> TaskId {
    TaskId::new(Micros(1), [1; 10])
}

/// A log from a short hand: `m1` and `M1` begin and end model call 1, `t2` is a call that may begin,
/// `q2` one that waits, `r2` one that is refused, `a2` one that somebody is asked about, `y2` the
/// approval of it, `b2` its start, `w2` that it waits for something, `T2` the outcome of call 2, `s` a
/// signal, `-` an event of the engine.
fn log(text: &str) -> Vec<StoredEvent> {
    let event = |(index, word): (usize, &str)| {
        let (letter, number) = word.split_at(1);
        let (kind, step) = match letter {
            "m" => (
                "model.started",
                Some((StepKind::Model, StepStatus::Started)),
            ),
            "M" => (
                "model.completed",
                Some((StepKind::Model, StepStatus::Completed)),
            ),
            "t" => ("tool.called", Some((StepKind::Tool, StepStatus::Started))),
            "q" => ("tool.called", Some((StepKind::Tool, StepStatus::Queued))),
            "r" => ("tool.called", Some((StepKind::Tool, StepStatus::Failed))),
            "T" => (
                "tool.completed",
                Some((StepKind::Tool, StepStatus::Completed)),
            ),
            "a" => ("tool.called", Some((StepKind::Tool, StepStatus::Waiting))),
            "y" => ("step.approved", Some((StepKind::Tool, StepStatus::Queued))),
            "b" => ("tool.started", Some((StepKind::Tool, StepStatus::Started))),
            "w" => ("tool.waiting", Some((StepKind::Tool, StepStatus::Waiting))),
            "s" => ("task.signalled", None),
            _ => ("task.leased", None),
        };
        StoredEvent {
            seq: index as u64 + 1,
            at: Micros(1),
            event: NewEvent {
                kind: kind.to_owned(),
                step: step.map(|(kind, status)| StepMark {
                    number: number.parse().unwrap(),
                    kind,
                    status,
                    effect: EffectClass::Pure,
                }),
                usage: Usage::default(),
                blobs: Vec::new(),
                body: b"{}".to_vec().into(),
            },
        }
    };
    text.split_whitespace().enumerate().map(event).collect()
}

fn at(text: &str, step: u32, rerun: &Rerun) -> Result<Fork, Error> {
    cut(&log(text), task(), step, rerun)
}

//                    1 2 3  4  5  6  7  8  9 10 11 12 13 14 15
const RUN: &str = "- - m1 M1 t2 q3 r4 q5 T2 s0 T3 T5 m6 M6 -";

#[test]
fn a_model_call_is_cut_off_before_it() {
    let fork = at(RUN, 6, &Rerun::default()).unwrap();
    assert_eq!((fork.until, fork.also, fork.resets), (12, vec![], vec![]));
    let message = Rerun {
        message: Some("be brief".into()),
        ..Rerun::default()
    };
    let fork = at(RUN, 1, &message).unwrap();
    assert_eq!((fork.until, fork.note.as_deref()), (2, Some("be brief")));
}

#[test]
fn a_tool_call_keeps_the_outcomes_of_the_calls_before_it() {
    let input = Rerun {
        input: Some(json!({"a": 1})),
        ..Rerun::default()
    };
    let fork = at(RUN, 5, &input).unwrap();
    assert_eq!(fork.until, 8);
    // The signal may be what call 3 returned.
    assert_eq!(fork.also, [9, 10, 11]);
    assert_eq!(fork.resets, [(5, Some(json!({"a": 1})))]);

    let fork = at(RUN, 3, &Rerun::default()).unwrap();
    assert_eq!((fork.until, fork.also), (8, vec![9]));
    // The refused call stays refused.
    assert_eq!(fork.resets, [(3, None), (5, None)]);
}

#[test]
fn a_refused_call_is_made_anew_with_other_arguments_only() {
    let fork = at(RUN, 4, &Rerun::default()).unwrap();
    assert_eq!(fork.resets, [(5, None)]);
    let input = Rerun {
        input: Some(json!({})),
        ..Rerun::default()
    };
    let fork = at(RUN, 4, &input).unwrap();
    assert_eq!(fork.resets, [(4, Some(json!({}))), (5, None)]);
}

#[test]
fn wishes_that_do_not_fit_the_step_are_refused() {
    let code = |step, rerun: &Rerun| at(RUN, step, rerun).unwrap_err().code;
    let input = Rerun {
        input: Some(json!({})),
        ..Rerun::default()
    };
    let message = Rerun {
        message: Some("hi".into()),
        ..Rerun::default()
    };
    assert_eq!(code(6, &input), Code::InvalidBody);
    assert_eq!(code(5, &message), Code::InvalidBody);
    assert_eq!(code(0, &input), Code::CannotRerun);
    let error = at(RUN, 7, &input).unwrap_err();
    assert_eq!(error.message, "the task has no step 7; it has steps 1 to 6");
    let error = at("- -", 1, &input).unwrap_err();
    assert_eq!(error.message, "the task has no steps yet");
}

#[test]
fn an_approval_stays_with_the_task_that_asked_for_it() {
    let cut = |text: &str| {
        let fork = at(text, 5, &Rerun::default()).unwrap();
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
        let log = log(text);
        let steps = log.iter().filter_map(|event| event.event.step);
        let last = steps.map(|mark| mark.number).max().unwrap();
        open_calls(&log, &turn_of(&log, last + 1))
    };
    assert_eq!(open("m1 M1 t2 a3 q4 a5 y5"), [3, 4, 5]);
    assert!(open("m1 M1 a2 y2 b2 T2 m3").is_empty());
}
