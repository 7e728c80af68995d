use proptest::prelude::*;

use super::*;
use crate::{
    id::TenantId,
    json::Json,
    ports::ExpectedSchedule,
    rules::fixtures::id,
    schedule::{CatchUp, ScheduleSpec},
};

const PAUSE: ScheduleChange = ScheduleChange::Pause {
    expected: ExpectedSchedule::Any,
};

fn spec(overlap: Overlap) -> ScheduleSpec {
    ScheduleSpec {
        cron: "* * * * *".into(),
        timezone: "UTC".into(),
        overlap,
        catch_up: CatchUp::Latest,
        template: Json::null(),
    }
}

fn request(overlap: Overlap) -> NewSchedule {
    NewSchedule {
        tenant: TenantId::DEFAULT,
        name: "nightly".parse().unwrap(),
        spec: spec(overlap),
        paused: None,
        next_at: Some(Micros(60)),
        expected: ExpectedSchedule::Any,
    }
}

fn stored(overlap: Overlap) -> Schedule {
    match put(None, request(overlap), Micros(1)).unwrap() {
        Put::Created(schedule) => schedule,
        other => panic!("{other:?}"),
    }
}

fn due(schedule: &Schedule) -> Occasion {
    Occasion::Due {
        due: schedule.next_at.unwrap(),
        next: Some(Micros(120)),
        missed: false,
    }
}

fn fired(
    schedule: &Schedule,
    busy: bool,
    noted: &[i64],
    occasion: Occasion,
    runs: &[(i64, Option<&str>)],
) -> Option<Fired> {
    let found = Found {
        schedule,
        busy,
        noted: noted.iter().map(|at| Micros(*at)).collect(),
    };
    let runs: Vec<_> = runs.iter().map(|(at, why)| (Micros(*at), *why)).collect();
    fire(found, (schedule.revision, occasion), &runs, Micros(99))
}

fn note(due: i64, outcome: RunOutcome) -> Act {
    Act::Note(ScheduleRun {
        due: Micros(due),
        at: Micros(99),
        trigger: Trigger::Due,
        outcome,
    })
}

fn start(run: usize, due: i64) -> Act {
    Act::Start {
        run,
        due: Micros(due),
        cancels: false,
    }
}

#[test]
fn a_run_that_cancels_the_others_starts_while_they_go_on() {
    let schedule = stored(Overlap::CancelOther);
    let runs = [(60, None), (70, None)];
    for busy in [false, true] {
        let acts = fired(&schedule, busy, &[], due(&schedule), &runs);
        let newest = Act::Start {
            run: 1,
            due: Micros(70),
            cancels: busy,
        };
        let expected = [note(60, RunOutcome::Skipped), newest];
        assert_eq!(acts.unwrap().acts, expected);
        // A run that somebody asks for leaves the others alone.
        let asked = fired(&schedule, busy, &[], Occasion::Manual, &[(65, None)]);
        assert_eq!(asked.unwrap().acts, [start(0, 65)]);
    }
}

#[test]
fn what_is_requested_already_changes_nothing() {
    let before = stored(Overlap::Skip);
    assert_eq!((before.revision, before.paused), (1, false));
    let again = put(Some(&before), request(Overlap::Skip), Micros(9)).unwrap();
    assert_eq!(again, Put::Unchanged(before.clone()));
    // Another policy keeps the date, another pattern does not.
    let later = NewSchedule {
        next_at: Some(Micros(777)),
        ..request(Overlap::Allow)
    };
    let Put::Changed(other) = put(Some(&before), later.clone(), Micros(9)).unwrap() else {
        panic!("it is another one");
    };
    assert_eq!((other.next_at, other.revision), (before.next_at, 2));
    assert_eq!((other.created_at, other.updated_at), (Micros(1), Micros(9)));
    let mut dates = later;
    dates.spec.cron = "1 1 * * *".into();
    let Put::Changed(other) = put(Some(&before), dates, Micros(9)).unwrap() else {
        panic!("it is another one");
    };
    assert_eq!(other.next_at, Some(Micros(777)));
}

#[test]
fn a_schedule_that_is_not_as_expected_stays() {
    let before = stored(Overlap::Skip);
    for (known, expected, fits) in [
        (None, ExpectedSchedule::Absent, true),
        (None, ExpectedSchedule::Revision(1), false),
        (Some(&before), ExpectedSchedule::Absent, false),
        (Some(&before), ExpectedSchedule::Revision(1), true),
        (Some(&before), ExpectedSchedule::Revision(2), false),
    ] {
        let request = NewSchedule {
            expected,
            ..request(Overlap::Allow)
        };
        let done = put(known, request, Micros(9));
        assert_eq!(done.is_ok(), fits, "{expected:?}");
        let remove = ScheduleChange::Remove { expected };
        if let Some(known) = known {
            assert_eq!(change(known, remove, Micros(9)).is_ok(), fits);
        }
    }
}

#[test]
fn a_pause_drops_the_run_that_waits_and_a_resume_takes_its_own_date() {
    let mut before = stored(Overlap::QueueOne);
    before.waiting = Some(Micros(30));
    let Changed::To(paused) = change(&before, PAUSE, Micros(9)).unwrap() else {
        panic!("it is paused");
    };
    assert_eq!((paused.next_at, paused.waiting), (None, None));
    assert_eq!(passed_over(&before, &paused), Some(Micros(30)));
    let again = change(&paused, PAUSE, Micros(10)).unwrap();
    assert_eq!(again, Changed::Unchanged);
    let next_at = Some(Micros(500));
    let resume = ScheduleChange::Resume {
        next_at,
        expected: ExpectedSchedule::Any,
    };
    let Changed::To(resumed) = change(&paused, resume, Micros(11)).unwrap() else {
        panic!("it is resumed");
    };
    assert_eq!((resumed.next_at, resumed.revision), (next_at, 3));
    assert_eq!(passed_over(&paused, &resumed), None);
    assert!(is_due(&resumed, Micros(500)) && !is_due(&resumed, Micros(499)));
    assert!(!is_due(&paused, Micros(i64::MAX)));
}

#[test]
fn a_fire_is_seen_to_once() {
    let schedule = stored(Overlap::Allow);
    let runs = [(60, None)];
    let first = fired(&schedule, false, &[], due(&schedule), &runs).unwrap();
    assert_eq!(first.acts, [start(0, 60)]);
    assert_eq!(first.next_at, Some(Micros(120)));
    // The date was noted before: the clock was set back.
    let again = fired(&schedule, false, &[60], due(&schedule), &runs).unwrap();
    assert_eq!((again.acts, again.next_at), (vec![], Some(Micros(120))));
    // The schedule has moved on, or is another one.
    let moved = Schedule {
        next_at: first.next_at,
        ..schedule.clone()
    };
    assert_eq!(fired(&moved, false, &[], due(&schedule), &runs), None);
    let changed = Schedule {
        revision: 2,
        ..schedule.clone()
    };
    let found = Found {
        schedule: &changed,
        busy: false,
        noted: BTreeSet::new(),
    };
    assert_eq!(fire(found, (1, due(&schedule)), &[], Micros(99)), None);
}

#[test]
fn what_overlaps_is_skipped_or_waits() {
    let skip = stored(Overlap::Skip);
    let runs = [(60, None), (61, None)];
    let acts = |schedule: &Schedule, busy| {
        let fired = fired(schedule, busy, &[], due(schedule), &runs).unwrap();
        (fired.acts, fired.waiting)
    };
    let skipped = |at| note(at, RunOutcome::Skipped);
    let waits = |at| note(at, RunOutcome::Waiting);
    assert_eq!(acts(&skip, false), (vec![start(0, 60), skipped(61)], None));
    assert_eq!(acts(&skip, true), (vec![skipped(60), skipped(61)], None));
    let mut queue = stored(Overlap::QueueOne);
    let waiting = Some(Micros(61));
    let expected = vec![start(0, 60), waits(61)];
    assert_eq!(acts(&queue, false), (expected, waiting));
    // A newer one takes the place of one that waited.
    queue.waiting = Some(Micros(7));
    let passed = Act::PassOver(Micros(7));
    let expected = vec![skipped(60), passed, waits(61)];
    assert_eq!(acts(&queue, true), (expected, waiting));
}

#[test]
fn a_run_that_waited_starts_once_nothing_goes_on() {
    let mut schedule = stored(Overlap::QueueOne);
    schedule.waiting = Some(Micros(30));
    let waited = Occasion::Waited { due: Micros(30) };
    let runs = [(30, None)];
    assert_eq!(fired(&schedule, true, &[30], waited, &runs), None);
    let done = fired(&schedule, false, &[30], waited, &runs).unwrap();
    assert_eq!(done.acts, [Act::Forget(Micros(30)), start(0, 30)]);
    assert_eq!((done.waiting, done.next_at), (None, schedule.next_at));
    let other = Occasion::Waited { due: Micros(31) };
    assert_eq!(fired(&schedule, false, &[], other, &runs), None);
}

#[test]
fn a_run_that_is_asked_for_starts_whatever_goes_on() {
    let mut schedule = stored(Overlap::Skip);
    schedule.waiting = Some(Micros(30));
    let done = fired(&schedule, true, &[5], Occasion::Manual, &[(5, None)]).unwrap();
    assert_eq!(
        (done.trigger, done.acts),
        (Trigger::Manual, vec![start(0, 5)])
    );
    assert_eq!(done.waiting, Some(Micros(30)));
}

#[test]
fn missed_and_refused_runs_are_noted() {
    let schedule = stored(Overlap::Allow);
    let missed = Occasion::Due {
        due: Micros(60),
        next: None,
        missed: true,
    };
    let runs = [(90, Some("no such task type"))];
    let refused = note(90, RunOutcome::Refused("no such task type".into()));
    let done = fired(&schedule, false, &[], missed, &runs).unwrap();
    let first = note(60, RunOutcome::Missed);
    assert_eq!(done.acts, [first, refused.clone()]);
    let again = fired(&schedule, false, &[60], missed, &runs).unwrap();
    assert_eq!(again.acts, [refused]);
    assert_eq!(
        started(Err(StoreError::IdempotencyMismatch)),
        RunOutcome::Refused("the idempotency key belongs to another request".into())
    );
}

#[test]
fn old_runs_are_forgotten_unless_they_matter() {
    let task = RunOutcome::Started(id(1));
    for (outcome, newer, goes_on, forgotten) in [
        (&task, 99, false, false),
        (&task, 100, false, true),
        (&task, 100, true, false),
        (&RunOutcome::Waiting, 10_000, false, false),
        (&RunOutcome::Skipped, 99, false, false),
        (&RunOutcome::Skipped, 100, false, true),
        (&RunOutcome::Missed, 100, true, true),
    ] {
        assert_eq!(
            is_forgotten(outcome, newer, goes_on),
            forgotten,
            "{outcome:?} {newer}"
        );
    }
}

proptest! {
    /// However fires and ends follow each other: each date of the clock has one note, at most one run
    /// waits, and with `skip` and `queue_one` at most one task goes on.
    #[test]
    fn each_date_is_noted_once(
        overlap in prop_oneof![
            Just(Overlap::Skip), Just(Overlap::QueueOne), Just(Overlap::Allow),
            Just(Overlap::CancelOther)
        ],
        steps in proptest::collection::vec((1_usize..4, any::<bool>(), any::<bool>()), 1..20),
    ) {
        let mut schedule = stored(overlap);
        let mut notes: std::collections::BTreeMap<Micros, RunOutcome> = Default::default();
        let mut going_on = 0_u32;
        for (count, ends, back) in steps {
            let first = schedule.next_at.unwrap();
            let dates: Vec<(Micros, Option<&str>)> =
                (0..count).map(|n| (first.plus(10 * i64::try_from(n).unwrap()), None)).collect();
            // A clock that was set back finds dates that were seen to.
            let next = if back { first } else { dates.last().unwrap().0.plus(10) };
            let occasion = Occasion::Due { due: first, next: Some(next), missed: false };
            let waited = schedule.waiting.map(|due| (Occasion::Waited { due }, vec![(due, None)]));
            for (occasion, runs) in std::iter::once((occasion, dates)).chain(waited) {
                let noted = super::dates(occasion, &runs)
                    .into_iter().filter(|due| notes.contains_key(due)).collect();
                let found = Found { schedule: &schedule, busy: going_on > 0, noted };
                let Some(fired) = fire(found, (1, occasion), &runs, Micros(99)) else { continue };
                for act in fired.acts {
                    match act {
                        Act::Note(run) => prop_assert_eq!(notes.insert(run.due, run.outcome), None),
                        Act::Start { run, due, cancels } => {
                            prop_assert_eq!(runs[run].0, due);
                            prop_assert!(!cancels || overlap == Overlap::CancelOther);
                            going_on = if cancels { 1 } else { going_on + 1 };
                            prop_assert_eq!(notes.insert(due, RunOutcome::Started(id(1))), None);
                        }
                        Act::Forget(due) => {
                            prop_assert_eq!(notes.remove(&due), Some(RunOutcome::Waiting));
                        }
                        Act::PassOver(due) => {
                            let before = notes.insert(due, RunOutcome::Skipped);
                            prop_assert_eq!(before, Some(RunOutcome::Waiting));
                        }
                    }
                }
                schedule.next_at = fired.next_at;
                schedule.waiting = fired.waiting;
                let waiting = notes.values().filter(|run| **run == RunOutcome::Waiting).count();
                prop_assert_eq!(waiting, usize::from(schedule.waiting.is_some()));
                prop_assert!(overlap == Overlap::Allow || going_on <= 1);
            }
            if ends {
                going_on = 0;
            }
        }
    }
}
