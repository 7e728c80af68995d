use super::*;
use crate::{
    event::{NewEvent, TaskError},
    json::Json,
    rules::{
        Cause, decide,
        fixtures::{event, running},
    },
    task::WaitRequest,
    time::Micros,
};

fn no_digest(_: &[u8]) -> Digest {
    [0; 32]
}

fn fail(retryable: bool) -> Next {
    let error = TaskError {
        code: "broken".into(),
        message: "it broke".into(),
    };
    Next::Fail { error, retryable }
}

/// What the log has of an append, and the task after it.
fn commit(append: &Append) -> (Vec<NewEvent>, Lifecycle) {
    let before = running(1);
    let cause = Cause::Run(crate::RunCommand::append(before.epoch, append.clone()));
    let transition = decide(&before, cause, Micros(9)).unwrap();
    (transition.events, transition.after)
}

fn append(events: Vec<NewEvent>, next: Next) -> Append {
    Append::new(running(1).seq, events, next)
}

fn recorded(events: &[NewEvent]) -> Vec<Recorded<'_>> {
    let recorded = events.iter().map(|event| Recorded {
        epoch: 1,
        kind: &event.kind,
        step: event.step,
        body: Body::Inline(&event.body),
    });
    recorded.collect()
}

/// Whether an append is taken for one that was committed, whose result this is.
fn repeats(given: &Append, committed: &Append, result: Option<&str>) -> bool {
    let (log, life) = commit(committed);
    let Some(range) = candidates(&life, given) else {
        return false;
    };
    let from = given.expected_seq + 1;
    let first = usize::try_from(range.start() - from).unwrap();
    let last = usize::try_from(range.end() - from).unwrap();
    let stored = recorded(&log[first..=last]);
    let result = result.map(|text| Body::Inline(text.as_bytes()));
    is_duplicate((1, given), &stored, result, no_digest)
}

#[test]
fn every_append_repeats_itself_and_no_other() {
    let one = || vec![event(1, "{}")];
    let complete = |text: &str| Next::Complete {
        result: Json::parse(text).unwrap(),
    };
    let wait = |until| {
        Next::Wait(WaitRequest::Timer {
            until: Micros(until),
        })
    };
    let appends = [
        append(one(), Next::Continue),
        append(vec![event(1, "{\"a\":1}")], Next::Continue),
        append(vec![event(2, "{}")], Next::Continue),
        append(vec![event(1, "{}"), event(2, "{}")], Next::Continue),
        append(one(), complete("1")),
        append(one(), complete("2")),
        append(one(), fail(false)),
        append(one(), fail(true)),
        append(one(), wait(50)),
        append(one(), wait(60)),
        append(Vec::new(), wait(60)),
    ];
    for (index, given) in appends.iter().enumerate() {
        for (other, committed) in appends.iter().enumerate() {
            let result = match &committed.next {
                Next::Complete { result } => Some(result.as_str()),
                _ => None,
            };
            // The first events of a longer append are those of a shorter one that goes on.
            let prefix =
                given.next == Next::Continue && committed.events.starts_with(&given.events);
            assert_eq!(
                repeats(given, committed, result),
                index == other || prefix,
                "{index} {other}"
            );
        }
    }
}

#[test]
fn an_append_of_another_epoch_repeats_nothing() {
    let given = append(vec![event(1, "{}")], Next::Continue);
    let (log, _) = commit(&given);
    let mut stored = recorded(&log);
    assert!(is_duplicate((1, &given), &stored, None, no_digest));
    assert!(!is_duplicate((2, &given), &stored, None, no_digest));
    stored[0].epoch = 2;
    assert!(!is_duplicate((1, &given), &stored, None, no_digest));
    assert!(
        !is_duplicate((1, &given), &[], None, no_digest),
        "it is gone"
    );
}

#[test]
fn large_bodies_are_compared_by_their_digest() {
    let given = append(vec![event(1, "{}")], Next::Continue);
    let (log, _) = commit(&given);
    let mut stored = recorded(&log);
    stored[0].body = Body::Stored([0; 32]);
    assert!(is_duplicate((1, &given), &stored, None, no_digest));
    stored[0].body = Body::Stored([1; 32]);
    assert!(!is_duplicate((1, &given), &stored, None, no_digest));
}

#[test]
fn nothing_is_compared_that_cannot_have_been_committed() {
    let life = running(1);
    let ahead = Append::new(life.seq, vec![event(1, "{}")], Next::Continue);
    assert_eq!(candidates(&life, &ahead), None);
    let empty = Append::new(life.seq - 1, Vec::new(), Next::Continue);
    assert_eq!(candidates(&life, &empty), None);
    let long = Append::new(life.seq - 1, vec![event(1, "{}"); 2], Next::Continue);
    assert_eq!(candidates(&life, &long), None, "the log is shorter");
    let fits = Append::new(life.seq - 1, vec![event(1, "{}")], Next::Continue);
    assert_eq!(candidates(&life, &fits), Some(life.seq..=life.seq));
    let absurd = Append::new(life.seq - 1, Vec::new(), fail(true));
    assert_eq!(candidates(&life, &absurd), Some(life.seq..=life.seq));
}
